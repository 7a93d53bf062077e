"""The line rule: crossings have a direction, come in turns and balance; jitter and outliers make none."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.regions import Line
from streamer.rules.lines import Lines
from streamer.types import Event
from tests.fakes.walks import run, standing, walk

# From left to right on the screen: its left is above it, its right below.
GATE = Line(name="gate", start=(0.2, 0.5), end=(0.8, 0.5))


def rule(*lines: Line, **how: float) -> Lines:
    return Lines(lambda stream: lines, **how)  # type: ignore[arg-type]  # settle_frames is whole


def told(events: list[Event]) -> list[tuple[str, int]]:
    return [(event.attrs["direction"], event.seq) for event in events]


def down(*ys: float, x: float = 0.5) -> list[tuple[float, float] | None]:
    return [(x, y) for y in ys]


def test_down_through_it_is_in_and_up_is_out() -> None:
    events, _ = run(rule(GATE), walk(down(0.4, 0.45, 0.48, 0.52, 0.55, 0.6)))
    assert told(events) == [("in", 4)]
    (cross,) = events
    assert cross.id == "door:1:4:cross:7:gate"
    assert cross.attrs["line"] == "gate" and cross.attrs["label"] == "person"
    assert cross.evidence == {"crossed_seq": 3, "crossed_wall_ns": cross.wall_ns - 100_000_000}
    events, _ = run(rule(GATE), walk(down(0.6, 0.55, 0.52, 0.48, 0.45, 0.4)))
    assert told(events) == [("out", 4)]


def test_the_lines_own_left_and_right_decide() -> None:
    upwards = Line(name="up", start=(0.5, 0.9), end=(0.5, 0.1))  # its left is the screen's left
    rightwards = [(x, 0.5) for x in (0.3, 0.4, 0.45, 0.55, 0.6, 0.7)]
    events, _ = run(rule(upwards), walk(rightwards))
    assert told(events) == [("in", 4)]
    events, _ = run(rule(Line(name="dn", start=upwards.end, end=upwards.start)), walk(rightwards))
    assert told(events) == [("out", 4)]


def test_jitter_on_the_line_is_no_crossing() -> None:
    jitter = [0.4, 0.45, *[0.497, 0.503] * 30]
    assert run(rule(GATE), walk(down(*jitter)))[0] == []
    # and one that goes over in the end is told once, where it went over for good
    events, _ = run(rule(GATE), walk(down(*jitter, 0.52, 0.54, 0.56)))
    assert told(events) == [("in", 63)]
    # a tall box jitters more, and its dead band is wider
    wild = [0.4, 0.4, *[0.48, 0.52] * 10]
    assert run(rule(GATE), walk(down(*wild), height=0.4))[0] == []


def test_one_wrong_box_is_no_crossing() -> None:
    events, _ = run(rule(GATE), walk(down(0.4, 0.4, 0.4, 0.7, 0.4, 0.4, 0.7, 0.4, 0.4)))
    assert events == []


def test_around_the_end_is_no_crossing_and_the_way_back_counts_once() -> None:
    around = [(0.5, 0.4), (0.7, 0.4), (0.9, 0.45), (0.9, 0.55), (0.7, 0.6), (0.5, 0.6)]
    back = [(0.5, 0.55), (0.5, 0.45), (0.5, 0.4)]
    events, _ = run(rule(GATE), walk(around))
    assert events == []
    events, _ = run(rule(GATE), walk(around + back))
    assert told(events) == [("out", 8)]


def test_a_gap_while_crossing_counts_and_a_long_one_is_forgotten() -> None:
    over = [*down(0.4, 0.45), *[None] * 20, *down(0.55, 0.6)]
    assert told(run(rule(GATE), walk(over))[0]) == [("in", 23)]
    gone = [*down(0.4, 0.45), *[None] * 60, *down(0.55, 0.6, 0.6)]
    events, state = run(rule(GATE), walk(gone))
    assert events == [] and len(next(iter(state.walks.values()))) == 1


def test_labels_names_and_directions_are_told_apart() -> None:
    cars = Line(name="cars", start=GATE.end, end=GATE.start, labels=("car",))
    ys = (0.4, 0.45, 0.55, 0.6)
    frames = [
        standing(i, {1: (0.3, y), 2: (0.6, 1 - y)}, labels={2: 1}, height=0.1) for i, y in enumerate(ys)
    ]
    events, _ = run(rule(GATE, cars), frames)
    assert [(e.track_id, e.attrs["line"], e.attrs["direction"]) for e in events] == [
        (1, "gate", "in"),
        (2, "gate", "out"),
        (2, "cars", "in"),
    ]
    assert len({e.id for e in events}) == 3


def test_a_line_that_moves_begins_anew_and_crosses_nobody() -> None:
    lines = [GATE]
    live = Lines(lambda stream: lines)
    state, events = live.initial_state(), list[Event]()
    for frame in walk(down(*[0.4] * 5, *[0.4] * 5, *[0.2] * 3)):
        if frame.ref.seq == 5:
            lines[:] = [Line(name="gate", start=(0.2, 0.3), end=(0.8, 0.3))]  # now it stands below it
        state, happened = live.step(state, frame)
        events += happened
    assert told(events) == [("out", 11)]
    lines.clear()
    assert live.step(state, standing(13, {}))[0].walks == {} and live.finish(state) == []


def test_a_step_leaves_the_old_state_as_it_was_and_nonsense_is_refused() -> None:
    watch = rule(GATE)
    _, state = run(watch, walk(down(0.4, 0.4, 0.6)))
    last = standing(3, {7: (0.5, 0.6)})
    assert watch.step(state, last) == watch.step(state, last) and len(watch.step(state, last)[1]) == 1
    with pytest.raises(ValueError, match="settle_frames 0"):
        rule(GATE, settle_frames=0)


WIDE = Line(name="wide", start=(0.0, 0.5), end=(1.0, 0.5))
heights = st.lists(st.floats(0.2, 0.8), min_size=2, max_size=60)


@settings(max_examples=200, deadline=None)
@given(heights, st.floats(0.05, 0.3))
def test_crossings_come_in_turns_and_balance_with_where_it_ends(ys: list[float], height: float) -> None:
    events, _state = run(rule(WIDE), walk(down(*ys), height=height))
    ways = [event.attrs["direction"] for event in events]
    assert all(a != b for a, b in itertools.pairwise(ways))
    # Where it was first and last for certain, by another count: two sightings in a row beyond the band.
    band = max(0.004, 0.05 * height)
    beyond = [1 if y > 0.5 else -1 for y in ys if abs(y - 0.5) >= band + 1e-6]
    sure = [b for a, b in itertools.pairwise(beyond) if a == b]
    balance = Counter(ways)["in"] - Counter(ways)["out"]
    on_the_brink = any(abs(abs(y - 0.5) - band) < 2e-6 for y in ys)
    if not on_the_brink:
        assert balance == ((sure[-1] - sure[0]) // 2 if sure else 0)
    # Seen from the other end, everything is the other way round.
    turned = Line(name="wide", start=WIDE.end, end=WIDE.start)
    mirrored, _ = run(rule(turned), walk(down(*ys), height=height))
    assert [(e.seq, e.attrs["direction"]) for e in mirrored] == [
        (e.seq, "out" if e.attrs["direction"] == "in" else "in") for e in events
    ]


def test_out_over_a_one_way_line_is_an_alarm_and_in_is_none() -> None:
    there_and_back = down(0.4, 0.45, 0.55, 0.6, 0.55, 0.45, 0.4)
    one_way = GATE.model_copy(update={"one_way": True})
    events, _ = run(rule(one_way), walk(there_and_back))
    assert [(e.attrs["direction"], e.attrs.get("alarm")) for e in events] == [
        ("in", None),
        ("out", "wrong_way"),
    ]
    events, _ = run(rule(GATE), walk(there_and_back))
    assert len(events) == 2 and not any("alarm" in e.attrs for e in events)
