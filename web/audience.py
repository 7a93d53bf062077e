"""Who watches what through this process, and how many may: of all streams together, and of each one.

A viewer takes a seat before anything is made for it, whatever it watches with, and leaves it at the end. One who finds
none is refused in a line, told when to come again, and counted with the limit that was met.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Any, Final

from streamer.metrics import Number
from web.problems import Refused

MAX_VIEWERS: Final = 64
MAX_PICTURES: Final = 16  # each is drawn and encoded in this process
RETRY_AFTER_S: Final = 10


class With(StrEnum):
    """What a viewer watches with."""

    WEBRTC = "webrtc"
    PICTURES = "pictures"  # MJPEG and snapshots


class Seat:
    """One viewer's; `leave` gives it back, any number of times."""

    def __init__(self, audience: Audience, stream: str, by: With) -> None:
        self._audience, self._of = audience, (stream, by)
        self._taken = True

    def leave(self) -> None:
        if self._taken:
            self._taken = False
            self._audience._seats[self._of] -= 1


class Audience:
    """The seats: at most `most` of all streams, `most_of_one` of each (None: as many), and `most_pictures` of those who
    watch with pictures. One thread at a time."""

    def __init__(
        self, most: int = MAX_VIEWERS, most_of_one: int | None = None, most_pictures: int = MAX_PICTURES
    ) -> None:
        self._most, self._most_of_one, self._most_pictures = most, most_of_one, most_pictures
        self._seats: Counter[tuple[str, With]] = Counter()
        self._refused = Number(
            "sightline_web_viewers_refused_total",
            "Viewers who found no seat, by the limit that was met",
            "counter",
            ("stream", "with", "limit"),
        )

    def take(self, stream: str, by: With) -> Seat:
        """A seat, for a stream that there is. Raises Refused 503 where there is none left."""
        if self.watching() >= self._most:
            self._refuse(stream, by, "all", f"{self._most} viewers are watching, which is all")
        if self._most_of_one is not None and self.watching(stream) >= self._most_of_one:
            self._refuse(stream, by, "stream", f"{self._most_of_one} viewers watch this stream, which is all")
        if by is With.PICTURES and self.watching(by=by) >= self._most_pictures:
            self._refuse(
                stream, by, "pictures", f"{self._most_pictures} watch burned-in pictures, which is all"
            )
        self._seats[stream, by] += 1
        return Seat(self, stream, by)

    def watching(self, stream: str | None = None, by: With | None = None) -> int:
        """How many seats are taken; of this stream, with this."""
        return sum(n for (of, w), n in self._seats.items() if stream in (None, of) and by in (None, w))

    def families(self) -> list[dict[str, Any]]:
        """What is counted, for /metrics."""
        return [self._refused.snapshot()]

    def _refuse(self, stream: str, by: With, limit: str, what: str) -> None:
        self._refused.add(1, stream, by, limit)
        raise Refused(
            503,
            f"{what} this server is told to serve",
            where=f"stream {stream}",
            mend="ask again in a moment",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
