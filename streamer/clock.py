"""Time is an argument: whoever needs it is given a clock, so tests never sleep."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Two times: one that only grows and stays on this host, one that the world shares."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; meaningless on another host."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set or `timeout_s` passed; True if it was set. Pacing and back-off use this."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s if timeout_s > 0 else 0)


class FakeClock:
    """A clock that moves only when told to; `wait` moves it at once instead of blocking.

    A product file, not a test file: replay uses it too.
    """

    def __init__(self, start_ns: int = 1_000_000_000, wall_start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = start_ns
        self._wall_offset_ns = wall_start_ns - start_ns
        self._lock = threading.Lock()

    def monotonic_ns(self) -> int:
        with self._lock:
            return self._now_ns

    def wall_ns(self) -> int:
        with self._lock:
            return self._now_ns + self._wall_offset_ns

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if event.is_set():
            return True
        self.advance(timeout_s)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Move both times forward by `seconds` (negative is ignored)."""
        with self._lock:
            self._now_ns += max(0, int(seconds * 1e9))
