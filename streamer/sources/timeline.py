"""Time stamps as cameras send them (missing, repeated, jumping, starting anew) made into ones that only grow.

Everything after the source relies on that: tracks, overlays matched by time stamp, and the encoder.
"""

from __future__ import annotations

import threading
from fractions import Fraction

from streamer.clock import Clock

# A step back of more than this is a new start of the camera's clock, not a frame out of order.
RESTART_S = 1.0
# A leap forward of more than this is a wrong stamp (a camera that set its clock), not a pause in the picture.
LEAP_S = 60.0
# Paced playback that fell behind by more than this goes on from now instead of rushing to catch up.
MAX_LAG_S = 1.0


class Timeline:
    """Maps each decoded frame's pts to a strictly growing pts in the same `time_base`.

    `frame_s` is the nominal time between frames, in seconds, used where a stamp is missing or makes no sense.
    """

    def __init__(self, time_base: Fraction, frame_s: float) -> None:
        if time_base <= 0:
            raise ValueError(f"time_base {time_base} is not positive")
        self._per_s = 1 / time_base
        self._step = max(1, round(frame_s * self._per_s))
        self._offset = 0
        self._last: int | None = None
        self._restarting = False

    def restart(self) -> None:
        """The next stamp begins a new round (a file played again): it follows the last one by one frame."""
        self._restarting = self._last is not None

    def stamp(self, pts: int | None) -> int:
        """The monotone pts for a frame whose own is `pts` (None: estimated from the frame before)."""
        if self._last is None:
            self._last = pts if pts is not None else 0
            return self._last
        follows = self._last + self._step
        if pts is None:
            # A missing first stamp of a new round leaves the round's offset to the next one that has it.
            self._last = follows
            return follows
        own = pts + self._offset
        back, leap = RESTART_S * self._per_s, LEAP_S * self._per_s
        if self._restarting or own < self._last - back or own > self._last + leap:
            self._offset = follows - pts
            self._restarting = False
            own = follows
        self._last = max(own, self._last + 1)
        return self._last


class Thinner:
    """Keeps at most `max_fps` frames a second of stream time, evenly, without drifting from the wanted rate."""

    def __init__(self, max_fps: float | None) -> None:
        if max_fps is not None and max_fps <= 0:
            raise ValueError(f"max_fps {max_fps} is not positive")
        self._gap_s = None if max_fps is None else 1.0 / max_fps
        self._due_s: float | None = None

    def keeps(self, time_s: float) -> bool:
        """Whether the frame at `time_s` (seconds of stream time, growing) is one to analyse."""
        if self._gap_s is None:
            return True
        if self._due_s is None:
            self._due_s = time_s
        # A hair of slack: stamps are rounded, and 12.5 of 25 must be every second frame, not two of five.
        if time_s < self._due_s - 0.02 * self._gap_s:
            return False
        behind = time_s - self._due_s > self._gap_s
        self._due_s = (time_s if behind else self._due_s) + self._gap_s
        return True


class Pace:
    """Holds frames back until they are due: the first is due at once, the others by their stream time."""

    def __init__(self, clock: Clock, cancelled: threading.Event) -> None:
        self._clock = clock
        self._cancelled = cancelled
        self._zero_s: float | None = None

    def wait_for(self, time_s: float) -> bool:
        """Wait until the frame at `time_s` of stream time is due; True if cancelled meanwhile."""
        now_s = self._clock.monotonic_ns() / 1e9
        if self._zero_s is None or now_s - (self._zero_s + time_s) > MAX_LAG_S:
            self._zero_s = now_s - time_s
        early_s = self._zero_s + time_s - now_s
        return self._clock.wait(self._cancelled, early_s) if early_s > 0 else self._cancelled.is_set()
