"""The zone rule: every enter has one exit, flicker makes none, dwell comes once a stay, and zones change as it runs."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamer.regions import Zone
from streamer.rules.zones import Zones
from streamer.types import Event, EventKind
from tests.fakes.walks import run, standing, walk

YARD = Zone(name="yard", points=((0.2, 0.2), (0.6, 0.2), (0.6, 0.8), (0.2, 0.8)))
IN, OUT = (0.4, 0.5), (0.8, 0.5)


def rule(*zones: Zone, enter_frames: int = 3, exit_s: float = 1.0) -> Zones:
    return Zones(lambda stream: zones, enter_frames, exit_s)


def told(events: list[Event]) -> list[tuple[str, int]]:
    return [(str(event.kind), event.seq) for event in events]


def test_enter_after_three_sightings_and_exit_after_a_second_outside() -> None:
    events, state = run(rule(YARD), walk([OUT, OUT, IN, IN, IN, IN, *[OUT] * 20]))
    assert told(events) == [("enter", 4), ("exit", 16)]  # ten frames a second, last inside at 5
    enter, leave = events
    assert (enter.id, leave.id) == ("door:1:4:enter:7:yard", "door:1:16:exit:7:yard")
    assert enter.attrs == {
        "zone": "yard",
        "label": "person",
        "score": 0.9,
        "box_xyxy": [780.0, 400.0, 820.0, 500.0],
        "source_hw": [1000, 2000],
    }
    assert leave.attrs["box_xyxy"][0] == 1580.0  # where it is now, not where it was last inside
    assert leave.evidence["last_seq"] == 5 and leave.evidence["first_seq"] == 2
    assert leave.wall_ns - leave.evidence["last_wall_ns"] == 1_100_000_000
    assert rule(YARD).finish(state) == []


def test_one_on_the_edge_enters_once_and_a_lost_one_comes_back_inside() -> None:
    flickering = [IN, OUT] * 3 + [IN] * 3 + [OUT, IN] * 20 + [OUT] * 20
    events, _ = run(rule(YARD), walk(flickering))
    assert [kind for kind, _ in told(events)] == ["enter", "exit"]
    events, state = run(rule(YARD), walk([IN] * 3 + [None] * 9 + [IN] * 3))
    assert told(events) == [("enter", 2)]
    assert told(list(rule(YARD).finish(state))) == [("exit", 14)]
    events, _ = run(rule(YARD), walk([IN, IN, None, None, IN] + [None] * 20))
    assert told(events) == [("enter", 4), ("exit", 15)]  # a gap is no word against it


def test_who_is_gone_without_walking_out_exits_where_it_was_last_seen() -> None:
    events, _ = run(rule(YARD), walk([IN] * 4 + [None] * 20))
    assert told(events) == [("enter", 2), ("exit", 14)]
    assert events[1].attrs["box_xyxy"] == events[0].attrs["box_xyxy"]


def test_a_flicker_of_two_frames_and_one_at_birth_are_no_visit() -> None:
    events, state = run(rule(YARD), walk([IN, IN, OUT, OUT, IN, None, IN] + [None] * 20))
    assert events == [] and rule(YARD).finish(state) == [] and state.stays == {"yard": {}}


def test_dwell_is_told_once_a_stay_counted_from_its_first_sighting() -> None:
    zone = YARD.model_copy(update={"dwell_s": 2.0})
    events, state = run(rule(zone), walk([IN] * 50 + [OUT] * 15 + [IN] * 50))
    assert told(events) == [("enter", 2), ("dwell", 20), ("exit", 60), ("enter", 67), ("dwell", 85)]
    assert events[1].attrs["dwell_s"] == 2.0 and events[1].attrs["zone"] == "yard"
    assert events[1].id == "door:1:20:dwell:7:yard"
    assert rule(zone).inside(state) == {"yard": 1}


def test_the_label_of_an_enter_is_the_label_of_its_exit_and_a_zone_may_want_some_only() -> None:
    cars = YARD.model_copy(update={"name": "cars", "labels": ("car",)})
    both = [standing(i, {1: IN, 2: IN}, labels={1: 0, 2: 1}) for i in range(5)]
    mixed = [standing(i, {1: OUT, 2: IN}, labels={2: 0}) for i in range(5, 30)]
    events, _ = run(rule(YARD, cars), both + mixed)
    assert [(event.id.split(":", 3)[3], event.attrs["label"]) for event in events] == [
        ("enter:1:yard", "person"),
        ("enter:2:yard", "car"),
        ("enter:2:cars", "car"),
        ("exit:1:yard", "person"),
        ("exit:2:cars", "car"),
    ]


def test_two_zones_at_one_frame_give_two_ids() -> None:
    twin = YARD.model_copy(update={"name": "twin yard"})
    events, state = run(rule(YARD, twin), walk([IN] * 3))
    assert [event.id for event in events] == ["door:1:2:enter:7:yard", "door:1:2:enter:7:twin yard"]
    assert [event.id for event in rule(YARD, twin).finish(state)] == [
        "door:1:2:exit:7:yard",
        "door:1:2:exit:7:twin yard",
    ]


def test_a_zone_that_moves_keeps_its_stays_and_one_that_is_given_up_closes_them() -> None:
    zones: list[Zone] = [YARD]
    live = Zones(lambda stream: zones)
    frames = walk([IN] * 60)
    state, events = live.initial_state(), []
    for frame in frames:
        if frame.ref.seq == 10:
            zones[:] = [YARD.model_copy(update={"points": ((0.3, 0.1), (0.9, 0.1), (0.9, 0.9), (0.3, 0.9))})]
        if frame.ref.seq == 20:
            zones[:] = [YARD.model_copy(update={"points": ((0.7, 0.1), (0.9, 0.1), (0.9, 0.9))})]
        if frame.ref.seq == 40:
            zones[:] = [YARD]
        if frame.ref.seq == 50:
            zones.clear()
        state, happened = live.step(state, frame)
        events += happened
    assert told(events) == [("enter", 2), ("exit", 30), ("enter", 42), ("exit", 50)]
    assert state.stays == {} and live.finish(state) == [] and live.inside(state) == {}


def test_the_lower_edge_of_the_picture_belongs_to_a_zone_that_reaches_it() -> None:
    floor = Zone(name="floor", points=((0, 0.5), (1, 0.5), (1, 1), (0, 1)))
    events, _ = run(rule(floor), walk([(0.5, 1.0)] * 3))
    assert told(events) == [("enter", 2)]


def test_a_step_leaves_the_old_state_as_it_was_and_nonsense_is_refused() -> None:
    watch = rule(YARD)
    _, state = run(watch, walk([IN, IN]))
    last = standing(2, {7: IN})
    assert watch.step(state, last) == watch.step(state, last) and len(watch.step(state, last)[1]) == 1
    with pytest.raises(ValueError, match="enter_frames 0"):
        rule(YARD, enter_frames=0)


@st.composite
def convex(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    """Corners on an ellipse, in turn."""
    angles = sorted(draw(st.sets(st.integers(0, 35), min_size=3, max_size=8)))
    wide, high = draw(st.floats(0.1, 0.3)), draw(st.floats(0.1, 0.3))
    return tuple(
        (0.5 + wide * math.cos(a * math.pi / 18), 0.5 + high * math.sin(a * math.pi / 18)) for a in angles
    )


@settings(max_examples=150, deadline=None)
@given(convex(), st.floats(0, math.tau), st.floats(-0.2, 0.2), st.integers(20, 150))
def test_a_walk_through_a_convex_zone_enters_and_exits_once(
    corners: tuple[tuple[float, float], ...], way: float, beside: float, frames: int
) -> None:
    ahead, left = (math.cos(way), math.sin(way)), (-math.sin(way), math.cos(way))
    steps = np.linspace(-0.5, 0.5, frames)
    places = [(0.5 + s * ahead[0] + beside * left[0], 0.5 + s * ahead[1] + beside * left[1]) for s in steps]
    # By half planes, which is another way than the rule's own: all on one side of each edge.
    ring = [*corners, corners[0]]
    off = np.array(
        [
            [(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in itertools.pairwise(ring)]
            for x, y in places
        ]
    )
    assume(np.abs(off).min() > 1e-5)
    sightings = int((off > 0).all(axis=1).sum())
    zone = Zone(name="z", points=corners)
    events, state = run(rule(zone), walk([*places, *[None] * 15]))
    expected = ["enter", "exit"] if sightings >= 3 else []
    assert [str(event.kind) for event in events] == expected
    assert rule(zone).inside(state) == {"z": 0}


places = st.sampled_from([IN, OUT, (0.3, 0.3), (0.9, 0.9)])
crowd = st.lists(st.dictionaries(st.integers(1, 4), places), max_size=60)


@settings(max_examples=100, deadline=None)
@given(crowd, st.integers(1, 4), st.sampled_from([0.0, 0.15, 1.0]), st.integers(0, 60))
def test_every_enter_has_exactly_one_exit_whatever_happens(
    seen: list[dict[int, tuple[float, float]]], enter_frames: int, exit_s: float, gone_at: int
) -> None:
    twin = Zone(name="twin", points=((0.1, 0.1), (0.95, 0.1), (0.95, 0.95), (0.1, 0.95)))
    zones = [YARD.model_copy(update={"dwell_s": 0.5}), twin]
    watch = Zones(lambda stream: zones, enter_frames, exit_s)
    state, events = watch.initial_state(), list[Event]()
    for seq, feet in enumerate(seen):
        if seq == gone_at:
            zones.pop(0)
        state, happened = watch.step(state, standing(seq, feet))
        events += happened
        balance = Counter(e.attrs["zone"] for e in events if e.kind is EventKind.ENTER)
        balance.subtract(e.attrs["zone"] for e in events if e.kind is EventKind.EXIT)
        assert {zone: n for zone, n in balance.items() if n} == {
            zone: n for zone, n in watch.inside(state).items() if n
        }
    events += watch.finish(state)
    inside = set[tuple[str, int]]()
    for event in events:
        at = event.attrs["zone"], event.track_id
        if event.kind is EventKind.ENTER:
            assert at not in inside
            inside.add(at)
        elif event.kind is EventKind.EXIT:
            inside.remove(at)
        else:
            assert at in inside
    assert not inside
    assert len({event.id for event in events}) == len(events)


def test_an_enter_into_a_forbidden_zone_is_an_alarm_and_nothing_else_is() -> None:
    zone = YARD.model_copy(update={"forbidden": True, "dwell_s": 0.5})
    events, _ = run(rule(zone), walk([IN] * 20 + [OUT] * 20))
    assert [(e.kind, e.attrs.get("alarm")) for e in events] == [
        (EventKind.ENTER, "intrusion"),
        (EventKind.DWELL, None),
        (EventKind.EXIT, None),
    ]
    plain, _ = run(rule(YARD), walk([IN] * 5))
    assert plain and "alarm" not in plain[0].attrs
