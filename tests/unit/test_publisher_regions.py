"""Zones and lines through the publisher: what it counts, and that an epoch's end closes what is open."""

from __future__ import annotations

from streamer.clock import FakeClock
from streamer.config import StreamConfig
from streamer.ledger import Ledger
from streamer.metrics import Metrics
from streamer.publisher import EpochOver, Publisher
from streamer.regions import Line, Zone
from streamer.rules.wishes import Wishes, rules_of
from streamer.types import EventKind, Result
from tests.fakes.core import KeepingSink
from tests.fakes.walks import standing

YARD = Zone(name="yard", points=((0, 0.5), (1, 0.5), (1, 1), (0, 1)), dwell_s=0.5)
DOOR = Line(name="door", start=(0.1, 0.5), end=(0.9, 0.5))
DOWN = [0.3, 0.35, 0.4, 0.45, 0.55, 0.6, 0.65, *[0.7] * 8]


class Rig:
    """A publisher with all rules, and what came of it."""

    def __init__(self) -> None:
        self.sink, self.ledger, self.metrics = KeepingSink(), Ledger(), Metrics()
        self.wishes = Wishes()
        self.publisher = Publisher(
            rules=rules_of(self.wishes),
            results=self.sink,
            events=self.sink,
            ledger=self.ledger,
            metrics=self.metrics,
            clock=FakeClock(),
        )

    def wish(self, *zones: Zone, lines: tuple[Line, ...] = ()) -> None:
        self.wishes.put(StreamConfig(name="door", url="world://street", zones=zones, lines=lines))

    def see(self, *results: Result) -> None:
        for result in results:
            self.ledger.enter(result.ref)
        self.publisher.publish(results)

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in self.sink.events]

    def inside(self) -> dict[str, int]:
        return dict(self.publisher.pace("door").inside)


def test_a_walk_over_a_line_into_a_zone_is_told_in_order_and_counted() -> None:
    rig = Rig()
    rig.wish(YARD, lines=(DOOR,))
    rig.see(*(standing(i, {7: (0.5, y)}) for i, y in enumerate(DOWN)))
    assert rig.kinds() == ["appear", "cross", "enter", "dwell"]
    assert rig.inside() == {"yard": 1}
    assert rig.metrics.crossings("door", "door") == {"in": 1, "out": 0}
    assert rig.metrics.events.value("door", "cross") == 1
    rig.publisher.publish([EpochOver("door", 1)])
    assert rig.kinds()[4:] == ["leave", "exit"] and rig.inside() == {}
    assert rig.metrics.crossings("door", "door") == {"in": 1, "out": 0}  # since the worker's start
    ids = [event.id for event in rig.sink.events]
    assert len(set(ids)) == len(ids)


def test_a_wish_counts_from_the_next_result_on() -> None:
    rig = Rig()
    frames = [standing(i, {7: (0.5, 0.7)}) for i in range(12)]
    rig.see(*frames[:4])
    assert rig.kinds() == ["appear"] and rig.inside() == {}
    rig.wish(YARD)
    rig.see(*frames[4:8])
    assert rig.kinds() == ["appear", "enter"] and rig.inside() == {"yard": 1}
    rig.wish()
    rig.see(frames[8])
    assert [event.kind for event in rig.sink.events][-1] is EventKind.EXIT
    assert rig.sink.events[-1].seq == 8 and rig.inside() == {}
