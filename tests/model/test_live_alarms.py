"""Intrusions and wrong ways of a running world stream, judged as the offline ones where a zone or line tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engines.evaluation.live.window import RollingAccuracy
from streamer.accuracy import EventScore
from streamer.config import StreamConfig
from streamer.metrics import Metrics
from streamer.regions import Line, Zone
from streamer.rules.wishes import Wishes, alarms_of
from streamer.rules.zones import Zones
from streamer.sources.world import frame_truth
from streamer.world import World
from streamer.world.splits import event_street
from tests.fakes.truths import NOWHERE, result_of, truth_of

# Over the places 3 and 9 of tests.fakes.truths, in a picture of 400 x 40.
GROUND = Zone(name="ground", points=((0.28, 0), (0.37, 0), (0.37, 1), (0.28, 1)), forbidden=True)
NOOK = Zone(name="nook", points=((0.88, 0), (0.97, 0), (0.97, 1), (0.88, 1)), forbidden=True)
LANE = Line(name="lane", start=(0.5, 1), end=(0.5, 0), one_way=True)
Frame = tuple[
    Sequence[int], Sequence[tuple[int, int]], bool
]  # who is there, tracks and places, whether it goes on


def played(frames: Sequence[Frame], *zones: Zone) -> RollingAccuracy:
    """Person 3 stands on the forbidden ground, at its place, from when it goes on."""
    spec = StreamConfig(name="street", url="world://street", zones=zones)
    wishes = Wishes()
    wishes.put(spec)
    measure = RollingAccuracy(alarms=lambda stream: alarms_of(wishes.of(stream)))
    rule = Zones(wishes.zones)
    state = rule.initial_state()
    for number, (there, told, goes_on) in enumerate(frames):
        truth = replace(truth_of(number, there), events=(("intrusion", 3),) if goes_on else ())
        result = result_of(truth, told)
        state, events = rule.step(state, result)
        measure.add(result, truth, events)
    return measure


def score(frames: Sequence[Frame], *zones: Zone) -> EventScore | None:
    return played(frames, *(zones or (GROUND, NOOK))).accuracy().events["intrusion"]


def counted(frames: Sequence[Frame]) -> tuple[Any, ...]:
    """told, right, there, noticed, delay."""
    found = score(frames)
    assert found is not None
    return found.told, found.right, found.there, found.noticed, found.delay_frames


AWAY: list[Frame] = [([1], [(7, 1)], False)] * 20
SEEN: list[Frame] = [([3], [(7, 3)], True)] * 10
UNSEEN: list[Frame] = [([3], [], True)] * 10


def test_one_noticed_one_missed_one_late_one_doubled_one_false() -> None:
    assert counted(SEEN + AWAY) == (1, 1, 1, 1, 2.0)
    assert counted(UNSEEN + AWAY) == (0, 0, 1, 0, None)
    assert counted(UNSEEN[:5] + SEEN + AWAY) == (1, 1, 1, 1, 7.0)
    doubled: list[Frame] = [*SEEN, *([([3], [(8, 3)], True)] * 10)]
    assert counted(doubled + AWAY) == (2, 1, 1, 1, 2.0)
    nobody: list[Frame] = [([], [(7, NOWHERE)], False)] * 10
    assert counted(nobody + AWAY) == (1, 0, 0, 0, None)


def test_it_is_counted_as_soon_as_it_is_told() -> None:
    assert counted(SEEN[:3]) == (1, 1, 1, 1, 2.0)


def test_without_a_rule_that_tells_it_there_is_no_score_and_no_sample() -> None:
    plain = GROUND.model_copy(update={"forbidden": False})
    assert score(SEEN + AWAY, plain) is None
    told = played(SEEN + AWAY, GROUND).accuracy()
    assert told.events["intrusion"] is not None and told.events["wrong_way"] is None
    metrics = Metrics()
    metrics.show_accuracy("street", told)
    found = {f["name"]: f["samples"] for f in metrics.snapshot() if "event_" in f["name"]}
    kinds = {
        sample["labels"]["event"]
        for samples in found.values()
        for sample in samples
        if "event" in sample["labels"]
    }
    assert "intrusion" in kinds and "wrong_way" not in kinds


def test_a_streams_zones_and_lines_say_which_alarms_it_tells() -> None:
    wishes = Wishes()
    for zones, lines, told in (
        ((), (), frozenset()),
        ((GROUND,), (), {"intrusion"}),
        ((), (LANE,), {"wrong_way"}),
        ((GROUND,), (LANE,), {"intrusion", "wrong_way"}),
        ((GROUND.model_copy(update={"forbidden": False}),), (LANE.model_copy(update={"one_way": False}),), frozenset()),
    ):  # fmt: skip
        wishes.put(StreamConfig(name="s", url="world://street", zones=zones, lines=lines))
        assert alarms_of(wishes.of("s")) == told


def test_the_worlds_truth_says_who_does_it() -> None:
    world = World(event_street(147, 48, 80))
    world.skip(100)
    said = set()
    for _ in range(12):
        _, truth = world.step()
        said |= {kind for kind, _ in frame_truth(truth).events}
        assert frame_truth(truth).events == tuple((e.kind, e.id) for e in truth.events)
        world.skip(2)
    assert {"intrusion", "wrong_way"} <= said
