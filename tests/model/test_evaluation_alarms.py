"""Intrusions and wrong ways of streets made by hand, told by the rules that serve: every figure can be counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engines.evaluation.alarms import Alarms, alarms, regions_of
from engines.evaluation.delays import falls
from engines.evaluation.events import FIGURES, event_figures
from engines.evaluation.facts import Seen, Street
from engines.evaluation.judge import EARLY, GRACE, Judge, Judged, Known, Moment
from streamer.commands.evaluate_rules import served_rules
from streamer.world import WorldConfig, WorldEvent
from tests.fakes.seen import Box, seen

HW = (100, 200)
STREET = Street(0, WorldConfig(1, *HW, fps=10.0), "brick", "clear", False, False)
GROUND = np.array([(100, 50), (200, 50), (200, 100), (100, 100)], np.float32)
# Up the picture: its right is the right of the screen, where traffic goes.
GATES = np.array([[(100, 90), (100, 10)]], np.float32)
PERSON, CAR = 0, 1


def at(x: float, y: float = 80.0) -> Box:
    """A box with its foot there."""
    return (x - 8, y - 30, x + 8, y)


def story(
    true: Sequence[float | None],
    shown: Sequence[float | None] | None = None,
    *,
    kind: str = "intrusion",
    going_on: Sequence[bool] | None = None,
    tracks: Sequence[int] | None = None,
    hard: bool = False,
) -> list[Seen]:
    """One object, number 1, that stands at `true` x in each frame; its track is shown at `shown`. By default it does
    what is forbidden wherever it is right of the middle (or, a car, moves to the left)."""
    shown = true if shown is None else shown
    label = PERSON if kind == "intrusion" else CAR
    frames = []
    for t, (x, said) in enumerate(zip(true, shown, strict=True)):
        on = (
            going_on[t]
            if going_on is not None
            else x is not None and (x > 100 if kind == "intrusion" else True)
        )
        frame = seen(
            t,
            [] if x is None else [at(x)],
            [] if said is None else [at(said)],
            ids=[] if x is None else [1],
            labels=[] if x is None else [label],
            told_labels=[] if said is None else [label],
            track_ids=[] if said is None else [7 if tracks is None else tracks[t]],
            hard=[] if x is None else [hard],
        )
        events = (WorldEvent(kind, 0, 1, (0, 0, 1, 1)),) if on else ()
        frames.append(replace(frame, events=events, forbidden_xy=GROUND, gates_xy=GATES))
    return frames


def figures(*streets: list[Seen], kind: str = "intrusion") -> dict[str, Any]:
    frames = {i: rows for i, rows in enumerate(streets)}
    places = [replace(STREET, index=i) for i in frames]
    told, ideal = (alarms(places, frames, served_rules, ideal=i) for i in (False, True))
    tree: dict[str, Any] = event_figures(frames, {}, None, told, ideal)[kind]
    return tree


def counted(tree: dict[str, Any]) -> tuple[int, int, int, int, float | None]:
    """happened, noticed, told, doubled, mean delay."""
    return (*(tree[k] for k in ("happened", "noticed", "told", "doubled")), tree["delay_frames_mean"])  # type: ignore[return-value]


OUT, IN = [60.0] * 5, [140.0] * 20


def test_an_intruder_is_told_at_the_third_sighting() -> None:
    tree = figures(story(OUT + IN))
    assert counted(tree) == (1, 1, 1, 0, 2.0)
    assert tree["recall"] == tree["precision"] == 1.0
    assert tree["delay_frames_median"] == tree["delay_frames_p90"] == 2.0


def test_one_that_no_track_stands_for_is_missed_but_not_by_the_true_boxes() -> None:
    tree = figures(story(OUT + IN, [None] * 25))
    assert counted(tree) == (1, 0, 0, 0, None)
    assert tree["recall"] == 0.0 and tree["precision"] is None
    assert (tree["of_true_boxes"]["recall"], tree["of_true_boxes"]["delay_frames_mean"]) == (1.0, 2.0)


def test_a_late_one_counts_its_frames() -> None:
    late = figures(story(OUT + IN, [*OUT, *[None] * 6, *IN[6:]]))
    assert counted(late) == (1, 1, 1, 0, 8.0)


def test_one_told_twice_is_right_once() -> None:
    """The track loses its identity within the forbidden ground: whoever watches is called again."""
    tree = figures(story(OUT + IN, tracks=[7] * 12 + [8] * 13))
    assert counted(tree) == (1, 1, 2, 1, 2.0)
    assert tree["recall"] == 1.0 and tree["precision"] == 0.5


def test_one_told_that_was_none_is_false() -> None:
    nobody = story([None] * 20, [140.0] * 20)
    beside = story([140.0] * 20, going_on=[False] * 20)  # somebody whom the truth says to be outside
    assert counted(figures(nobody)) == counted(figures(beside)) == (0, 0, 1, 0, None)
    assert figures(nobody)["precision"] == 0.0 and figures(nobody)["recall"] is None
    assert counted(figures(story([140.0] * 20, going_on=[False] * 20, hard=True))) == (0, 0, 0, 0, None)
    on_edge = [replace(f, on_edge=(1,)) for f in story([140.0] * 20, going_on=[False] * 20)]
    assert counted(figures(on_edge)) == (0, 0, 0, 0, None)


def test_streets_are_counted_together() -> None:
    missed, late = story(OUT + IN, [None] * 25), story(OUT + IN, [*OUT, *[None] * 6, *IN[6:]])
    tree = figures(story(OUT + IN), missed, late, story([None] * 20, [140.0] * 20))
    assert counted(tree) == (3, 2, 3, 0, 5.0)
    assert tree["recall"] == pytest.approx(2 / 3) and tree["precision"] == pytest.approx(2 / 3)
    assert tree["delay_frames_p90"] == pytest.approx(7.4)


def test_who_cannot_be_seen_is_neither_merit_nor_fault() -> None:
    for shown in (OUT + IN, [None] * 25):
        assert counted(figures(story(OUT + IN, shown, hard=True))) == (0, 0, 0, 0, None)


def test_back_and_forth_on_the_edge_is_one_intrusion_and_a_new_visit_another() -> None:
    flicker = [*OUT, *IN[:8], *OUT, *IN[:8]]  # away for half a second: no exit, no second enter
    assert counted(figures(story(flicker))) == (1, 1, 1, 0, 2.0)
    twice = [*OUT, *IN[:8], *[60.0] * (GRACE + 3), *IN[:8]]
    assert counted(figures(story(twice))) == (2, 2, 2, 0, 2.0)


# ------------------------------------------------------------------------------------------------- wrong ways

LEFT = [180.0 - 8 * t for t in range(20)]  # over the middle, at x = 100, at frame 10
RIGHT = LEFT[::-1]


def test_a_car_on_the_wrong_way_is_told_where_it_goes_over_the_line() -> None:
    tree = figures(story(LEFT, kind="wrong_way"), kind="wrong_way")
    assert counted(tree) == (1, 1, 1, 0, 12.0)
    none = figures(story(RIGHT, kind="wrong_way", going_on=[False] * 20), kind="wrong_way")
    assert counted(none) == (0, 0, 0, 0, None)


def test_wrong_ways_missed_and_told_for_nothing() -> None:
    missed = figures(story(LEFT, [None] * 20, kind="wrong_way"), kind="wrong_way")
    assert counted(missed) == (1, 0, 0, 0, None)
    false = figures(story(LEFT, kind="wrong_way", going_on=[False] * 20), kind="wrong_way")
    assert counted(false) == (0, 0, 1, 0, None) and false["precision"] == 0.0


def test_lines_on_the_ground_go_with_a_camera_that_sways() -> None:
    """Car and line move together by 3 px a frame: a line that was drawn anew would begin anew each time."""
    swayed = []
    for t, frame in enumerate(story(LEFT, [x + 3 * t for t, x in enumerate(LEFT)], kind="wrong_way")):
        moved = replace(frame, gates_xy=frame.gates_xy + np.array((3 * t, 0), np.float32))
        boxes = moved.boxes_xyxy + np.array((3 * t, 0, 3 * t, 0), np.float32)
        swayed.append(replace(moved, boxes_xyxy=boxes, partner=np.zeros(1, np.int64)))
    tree = figures(swayed, kind="wrong_way")
    assert counted(tree) == (1, 1, 1, 0, 12.0) and tree["of_true_boxes"]["delay_frames_mean"] == 12.0


def test_regions_are_cut_at_the_pictures_edge_and_absent_beyond() -> None:
    (frame,) = story([60.0])
    beyond = replace(frame, forbidden_xy=GROUND + 150, gates_xy=GATES + np.array((150, 0), np.float32))
    assert regions_of(beyond, HW) == ((), ())
    half = replace(frame, forbidden_xy=GROUND + np.array((50, 0), np.float32), gates_xy=GATES - 50)
    (zone,), (line,) = regions_of(half, HW)
    assert {*zone.points} == {(0.75, 0.5), (1.0, 0.5), (1.0, 1.0), (0.75, 1.0)} and zone.forbidden
    assert (*line.start, *line.end) == pytest.approx((0.25, 0.4, 0.25, 0.0)) and line.one_way


# ------------------------------------------------------------------------------------------------- what is not asked


def test_bags_and_falls_that_cannot_be_told_are_counted_and_have_no_figures() -> None:
    frames = story([60.0] * 4, going_on=[False] * 4)
    bag = WorldEvent("left_bag", 2, 1, (0, 0, 1, 1))
    frames = [replace(f, events=(bag,) if f.frame >= 2 else ()) for f in frames]
    tree = event_figures({0: frames}, {1: frames}, None, Alarms(), Alarms())
    assert (tree["streets"], tree["event_streets"]) == (1, 1)
    assert tree["left_bag"]["happened"] == 2 and tree["left_bag"]["asked"] is False
    assert "no model has a class for bags" in tree["left_bag"]["why"]
    for kind in ("left_bag", "fall"):
        assert [tree[kind][name] for name in FIGURES[1:]] == [None] * 7
    assert tree["fall"]["why"] == "the model has no action head"


def test_falls_are_those_of_the_split_alone() -> None:
    frames = [
        seen(
            t,
            [at(60)],
            [at(60)],
            doing=["fall" if t > 4 else "stand"],
            actions=[(1, "fall" if t > 6 else "stand")],
        )
        for t in range(20)
    ]
    fallen = falls({0: frames})
    tree = event_figures({0: frames}, {1: frames}, fallen, Alarms(), Alarms())["fall"]
    assert {**{name: tree[name] for name in FIGURES[1:]}, "falls": tree["happened"]} == fallen
    assert (tree["happened"], tree["noticed"], tree["told"], tree["delay_frames_mean"]) == (1, 1, 1, 2.0)


# ------------------------------------------------------------------------------------------------- the judge alone


def judged(*moments: tuple[int, bool, bool], stands: bool = True) -> tuple[list[Judged], list[Known]]:
    """Frames as (number, whether it goes on, whether an alarm is told) of object 1 and track 7."""
    judge, verdicts, known = Judge(), [], []
    for frame, on, told in moments:
        moment = Moment(
            frame, {1: False}, [("intrusion", 1)] if on else [], {7: 1} if stands else {},
            [("intrusion", 7)] if told else [],
        )  # fmt: skip
        more, settled = judge.step(moment)
        verdicts += more
        known += settled
    more, settled = judge.finish()
    return verdicts + more, known + settled


def test_an_alarm_a_little_early_is_right_and_one_too_early_is_false() -> None:
    for early, verdict, noticed in ((EARLY, "right", 4), (EARLY + 1, "false", None)):
        frames = [(4, False, True), *((4 + t, t == early, False) for t in range(1, early + 1))]
        verdicts, known = judged(*frames)
        assert [one.verdict for one in verdicts] == [verdict]
        assert [(one.first, one.noticed) for one in known] == [(4 + early, noticed)]
        assert known[0].delay_frames == (None if noticed is None else 0)


def test_an_alarm_after_it_is_right_for_a_while() -> None:
    for after, verdict in ((GRACE, "right"), (GRACE + 1, "false")):
        frames = [(0, True, False), *((t, False, t == after) for t in range(1, after + 1))]
        verdicts, known = judged(*frames, (after + 20, False, False))
        assert [one.verdict for one in verdicts] == [verdict]
        assert [one.noticed for one in known] == [after if verdict == "right" else None]


def test_what_the_judge_keeps_is_bounded() -> None:
    judge = Judge()
    for t in range(500):
        moment = Moment(t, {t: False}, [("intrusion", t)], {t: t}, [("wrong_way", t)])
        judge.step(moment)
    assert len(judge._events) <= GRACE + 2 and len(judge._waiting) <= EARLY + 1 and len(judge._stood_for) < 10
