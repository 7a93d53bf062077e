"""Gets a thread out of a blocked FFmpeg call: at a deadline, or at once when another thread closes the source.

PyAV arms FFmpeg's interrupt callback with a timeout that it restarts for each packet of any stream and that no other
thread can cut short. The callback reads the time through the module global `av.container.core.time`; putting a clock
there that leaps forward on a thread whose guard has tripped makes FFmpeg leave its poll within 100 ms. Threads
without a guard read the real time. A test pins this seam; should it move, `install` says so by returning False, and
PyAV's own timeouts still end every call.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import av.container.core as av_core

_LEAP_S = 1e7
_local = threading.local()
_leaps = itertools.count(1)


class Guard:
    """One source's way out. `within(seconds)` guards a block on the calling thread; `cancel` trips it from any."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._expires_s = 0.0
        self.fired = False  # whether FFmpeg was made to leave the block that was guarded last

    @property
    def cancelled(self) -> threading.Event:
        """Set once by `cancel`, never cleared: pacing waits on it too."""
        return self._cancelled

    def cancel(self) -> None:
        """Make the guarded call, now or later, end soon. Any thread, any number of times."""
        self._cancelled.set()

    @property
    def tripped(self) -> bool:
        return self._cancelled.is_set() or time.monotonic() > self._expires_s

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Guard the FFmpeg calls in this block; they fail with `av.error.ExitError` when tripped."""
        before = getattr(_local, "guard", None)
        self._expires_s = time.monotonic() + seconds
        self.fired = False
        _local.guard = self
        try:
            yield
        finally:
            _local.guard = before


class _LeapingClock:
    """Stands for the `time` module in PyAV's interrupt callback (`monotonic` is all that it uses)."""

    @staticmethod
    def monotonic() -> float:
        guard: Guard | None = getattr(_local, "guard", None)
        if guard is not None and guard.tripped:
            guard.fired = True
            # Each reading leaps further than the one before: PyAV may take the start of its timeout from the
            # first and compare it with the next.
            return time.monotonic() + _LEAP_S * next(_leaps)
        return time.monotonic()


def install() -> bool:
    """Put the clock in its place (once per process, idempotent). False: this PyAV has no such seam."""
    if isinstance(getattr(av_core, "time", None), _LeapingClock):
        return True
    if not hasattr(av_core, "time"):
        return False
    av_core.time = _LeapingClock()
    return True
