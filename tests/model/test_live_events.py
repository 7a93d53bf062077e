"""Stories made by hand: who came, went and fell, what was told of it, and how that is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from engines.evaluation.delays import falls
from engines.evaluation.live.comings import LATE_S
from engines.evaluation.live.tally import KEPT_S, Tally
from engines.evaluation.live.window import RollingAccuracy
from streamer.accuracy import EventScore
from tests.fakes.seen import seen
from tests.fakes.truths import FPS, NOWHERE, Story, box

Frames = list[Any]


def told_of(frames: Frames, kind: str) -> EventScore | None:
    measure = RollingAccuracy()
    for frame in frames:
        measure.add(*frame)
    return measure.accuracy().events[kind]


def counted(frames: Frames, kind: str) -> tuple[int, int, int, int, float | None]:
    """told, right, there, noticed, delay."""
    score = told_of(frames, kind)
    assert score is not None
    return score.told, score.right, score.there, score.noticed, score.delay_frames


def test_who_comes_and_is_told_of_is_noticed_at_the_third_sighting() -> None:
    story = Story()
    frames = [story.frame([], []) for _ in range(5)]
    frames += [story.frame([1], []) for _ in range(4)]  # not seen at first
    frames += [story.frame([1], [(7, 1)]) for _ in range(5)]
    assert counted(frames, "appear") == (1, 1, 1, 1, 6.0)
    assert counted(frames, "leave") == (0, 0, 0, 0, None)


def test_a_track_of_nothing_and_a_second_track_of_the_same_are_false() -> None:
    story = Story()
    frames = [story.frame([1], [(7, 1), (8, NOWHERE)]) for _ in range(5)]
    assert counted(frames, "appear") == (2, 1, 1, 1, 2.0)
    frames += [story.frame([1], [(9, 1)]) for _ in range(5)]  # another identity: nobody came
    assert counted(frames, "appear") == (3, 1, 1, 1, 2.0)


def test_who_is_not_told_of_in_time_is_missed_and_stays_so() -> None:
    story = Story()
    frames = [story.frame([1], []) for _ in range(int(LATE_S * FPS) + 2)]
    assert counted(frames, "appear") == (0, 0, 1, 0, None)
    frames += [story.frame([1], [(7, 1)]) for _ in range(4)]
    assert counted(frames, "appear") == (1, 1, 1, 0, None)


def test_who_passes_unseen_is_missed() -> None:
    story = Story()
    frames = [story.frame([1], []) for _ in range(8)] + [story.frame([], []) for _ in range(12)]
    assert counted(frames, "appear") == (0, 0, 1, 0, None)
    assert counted(frames, "leave") == (0, 0, 0, 0, None)


def test_who_goes_is_told_a_second_later() -> None:
    story = Story()
    frames = [story.frame([1], [(7, 1)]) for _ in range(10)]
    frames += [story.frame([], []) for _ in range(30)]
    assert counted(frames, "leave") == (1, 1, 1, 1, 11.0)  # frames 9 to 20: gone for more than a second
    assert counted(frames, "appear")[:4] == (1, 1, 1, 1)


def test_a_leave_of_somebody_who_is_there_is_false_and_so_is_the_new_appear() -> None:
    story = Story()
    frames = [story.frame([1], [(7, 1)]) for _ in range(10)]
    frames += [story.frame([1], []) for _ in range(15)]
    frames += [story.frame([1], [(8, 1)]) for _ in range(5)]
    assert counted(frames, "leave") == (1, 0, 0, 0, None)
    assert counted(frames, "appear") == (2, 1, 1, 1, 2.0)


def test_a_going_that_is_never_told_is_missed() -> None:
    """The track stays where nobody is any more."""
    story = Story()
    frames = [story.frame([1], [(7, 1)]) for _ in range(10)]
    frames += [story.frame([], [(7, 1)]) for _ in range(int(LATE_S * FPS) + 3)]
    assert counted(frames, "leave") == (0, 0, 1, 0, None)


def test_hidden_for_long_is_a_fair_leave_and_a_fair_return() -> None:
    story = Story()
    frames = [story.frame([1], [(7, 1)]) for _ in range(10)]
    frames += [story.frame([1], [], hard=[1]) for _ in range(20)]
    frames += [story.frame([1], [(8, 1)]) for _ in range(5)]
    assert counted(frames, "leave") == (1, 1, 0, 0, None)  # right, and nothing had gone
    assert counted(frames, "appear") == (2, 2, 2, 2, 2.0)


def test_an_early_appear_of_a_hard_object_counts_once_it_is_clear() -> None:
    story = Story()
    frames = [story.frame([1], [(7, 1)], hard=[1]) for _ in range(6)]
    assert counted(frames, "appear") == (0, 0, 0, 0, None)
    gone = frames + [story.frame([], []) for _ in range(30)]
    assert counted(gone, "appear") == counted(gone, "leave") == (0, 0, 0, 0, None)
    story = Story()
    frames = [story.frame([1], [(7, 1)], hard=[1]) for _ in range(6)] + [story.frame([1], [(7, 1)])]
    assert counted(frames, "appear") == (1, 1, 1, 1, 0.0)


def test_events_are_forgotten_after_minutes() -> None:
    tally = Tally()
    tally.told(0.0, right=True)
    tally.there(0.0, 3)
    tally.there(KEPT_S, 5)
    assert tally.score(KEPT_S).delay_frames == 4.0
    late = tally.score(KEPT_S + 1)
    assert (late.told, late.there, late.noticed, late.delay_frames) == (0, 1, 1, 5.0)
    assert late.precision is None and late.recall == 1.0


# ------------------------------------------------------------------------------------------------------- falls

Fall = tuple[
    Sequence[tuple[str, int]], Sequence[tuple[str, int]]
]  # what is done, and what is said; (action, frames)

FALLS: dict[str, tuple[Fall, tuple[int, int, int, int, float | None]]] = {
    "noticed after five frames": (
        ([("stand", 10), ("fall", 20), ("stand", 40)], [("stand", 15), ("fall", 15), ("stand", 40)]),
        (1, 1, 1, 1, 5.0),
    ),
    "missed": (([("stand", 10), ("fall", 20), ("stand", 40)], [("stand", 70)]), (0, 0, 1, 0, None)),
    "cried without a fall": (
        ([("stand", 70)], [("stand", 20), ("fall", 10), ("stand", 40)]),
        (1, 0, 0, 0, None),
    ),
    "told with gaps is told once": (
        (
            [("stand", 10), ("fall", 40), ("stand", 20)],
            [("stand", 12), ("fall", 3), ("stand", 8), ("fall", 20), ("stand", 27)],
        ),
        (1, 1, 1, 1, 2.0),
    ),
    "two falls of one person": (
        (
            [("stand", 10), ("fall", 10), ("stand", 30), ("fall", 10), ("stand", 30)],
            [("stand", 12), ("fall", 10), ("stand", 28), ("fall", 6), ("stand", 34)],
        ),
        (2, 2, 2, 2, 1.0),
    ),
    "down when first seen": (
        ([("fall", 20), ("stand", 40)], [("fall", 20), ("stand", 40)]),
        (0, 0, 0, 0, None),
    ),
}


def spread(parts: Sequence[tuple[str, int]]) -> list[str]:
    return [action for action, n in parts for _ in range(n)]


@pytest.mark.parametrize("name", FALLS)
def test_falls_are_counted_as_the_offline_evaluation_counts_them(name: str) -> None:
    (done, said), expected = FALLS[name]
    does, says = spread(done), spread(said)
    assert len(does) == len(says)
    story = Story()
    frames = [
        story.frame([1], [(7, 1)], doing={1: a}, actions=[(7, b)]) for a, b in zip(does, says, strict=True)
    ]
    assert counted(frames, "fall") == expected
    offline = falls(
        {
            0: [
                seen(t, [tuple(box(1))], [tuple(box(1))], track_ids=[7], doing=[a], actions=[(7, b)])  # type: ignore[list-item]
                for t, (a, b) in enumerate(zip(does, says, strict=True))
            ]
        }
    )
    told, right, there, noticed, delay = expected
    assert (offline["told"], offline["falls"], offline["noticed"]) == (told, there, noticed)
    assert offline["precision"] == (right / told if told else None)
    assert offline["delay_frames_mean"] == delay


def test_without_an_action_head_falls_are_not_judged() -> None:
    story = Story()
    frames = [story.frame([1], [(7, 1)], doing={1: "fall" if t > 9 else "stand"}) for t in range(60)]
    assert told_of(frames, "fall") is None


def test_a_hard_persons_fall_is_neither_merit_nor_fault() -> None:
    falling, standing = ["stand"] * 10 + ["fall"] * 20 + ["stand"] * 30, ["stand"] * 60
    for does, says in ((falling, falling), (falling, standing), (standing, falling)):
        story = Story()
        frames = [
            story.frame([1], [(7, 1)], hard=[1], doing={1: a}, actions=[(7, b)])
            for a, b in zip(does, says, strict=True)
        ]
        assert counted(frames, "fall") == (0, 0, 0, 0, None)


def test_the_cost_of_memory_is_bounded() -> None:
    """A long street with ever new people and tracks leaves nothing behind."""
    measure, story = RollingAccuracy(frames=50), Story()
    for t in range(1500):
        who = 10 + t // 3
        measure.add(*story.frame([who], [(who, who)], actions=[(who, "stand")]))
    comings, fallen = measure._comings, measure._falls
    assert len(comings._things) < 20 and len(comings._stood_for) < 200
    assert len(fallen._before) < 600 and len(fallen._told) == len(fallen._falls) == 0
    assert np.isfinite(measure.accuracy().hota or 0.0)
