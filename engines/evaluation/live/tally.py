"""Counts of one kind of event over the last minutes of a stream: events are too rare for a window of half a minute."""

from __future__ import annotations

from collections import deque

from streamer.accuracy import EventScore

KEPT_S = 600.0
MOST_KEPT = 1000


class Tally:
    """What was told, and what was there to be told, each with the stream's time; the oldest are forgotten."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, bool]] = deque(maxlen=MOST_KEPT)
        self._there: deque[tuple[float, int | None]] = deque(maxlen=MOST_KEPT)

    def told(self, time_s: float, *, right: bool) -> None:
        """An event was told, rightly or not."""
        self._told.append((time_s, right))

    def there(self, time_s: float, delay_frames: int | None) -> None:
        """Something happened, and was noticed so many frames later, or (None) not at all."""
        self._there.append((time_s, delay_frames))

    def score(self, now_s: float) -> EventScore:
        """The last KEPT_S seconds before `now_s`."""
        for kept in (self._told, self._there):
            while kept and now_s - kept[0][0] > KEPT_S:
                kept.popleft()
        delays = [delay for _, delay in self._there if delay is not None]
        return EventScore(
            told=len(self._told),
            right=sum(right for _, right in self._told),
            there=len(self._there),
            noticed=len(delays),
            delay_frames=sum(delays) / len(delays) if delays else None,
        )
