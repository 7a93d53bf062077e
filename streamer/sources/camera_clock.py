"""The camera's clock as its sender reports tell it, and no more believed than it deserves.

Each RTCP sender report says which Unix time belongs to which RTP time stamp (RFC 3550, 6.4.1). Between reports the one
follows from the other; now and then a busy camera or a restreamer sends a report that is seconds or minutes off, and
the next one mends it. Events that were dated by such a report would lie in another part of the recording.
"""

from __future__ import annotations

from typing import Final

# Two clocks that agree to this are one: a report's own rounding, and a little drift.
LEAP_NS: Final = 1_000_000_000
# So long, in stamps, another time must be told before it is believed: reports come every 5 s or so.
SETTLE_NS: Final = 12_000_000_000


class CameraClock:
    """Unix time of each packet, in ns, from what was told of it. One for each connection; for one thread.

    A report that moves the clock against the time stamps by more than a second is not followed until what it says has
    stood for twelve. Where the stamps themselves have jumped, what fits the time of arrival is taken.
    """

    def __init__(self) -> None:
        self._origin_ns: int | None = None  # Unix time at stamp 0, as it is believed
        self._late_ns = 0  # Unix time told minus this host's at arrival, when it was last believed
        self._doubted: tuple[int, int] | None = None  # another origin, and the stamp it was first told at

    def wall_ns(self, told_ns: int, stamp_ns: int, arrival_wall_ns: int) -> int:
        """The time to go by: `told_ns`, by the report in force, or what is believed of the stamp `stamp_ns`."""
        origin_ns = told_ns - stamp_ns
        if self._origin_ns is None or abs(origin_ns - self._origin_ns) <= LEAP_NS:
            return self._believe(told_ns, stamp_ns, arrival_wall_ns)
        kept_ns = self._origin_ns + stamp_ns
        expected_ns = arrival_wall_ns + self._late_ns
        if abs(told_ns - expected_ns) <= abs(kept_ns - expected_ns):  # the stamps have jumped, not the clock
            return self._believe(told_ns, stamp_ns, arrival_wall_ns)
        if self._doubted is None or abs(self._doubted[0] - origin_ns) > LEAP_NS:
            self._doubted = origin_ns, stamp_ns
        if stamp_ns - self._doubted[1] >= SETTLE_NS:
            return self._believe(told_ns, stamp_ns, arrival_wall_ns)
        return kept_ns

    def _believe(self, told_ns: int, stamp_ns: int, arrival_wall_ns: int) -> int:
        self._origin_ns, self._late_ns = told_ns - stamp_ns, told_ns - arrival_wall_ns
        self._doubted = None
        return told_ns
