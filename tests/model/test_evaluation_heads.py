"""Semantic IoU, PCK, actions, falls and calibration of frames made by hand: every number can be counted on fingers."""

from __future__ import annotations

import numpy as np
import pytest

from engines.evaluation.actions import tally, warm_up_frames
from engines.evaluation.calibration import calibration, reliability
from engines.evaluation.delays import falls
from engines.evaluation.facts import Seen
from engines.evaluation.keypoints import key_points
from engines.evaluation.matching import partners, sampled
from engines.evaluation.semantic import Confusion, joined
from streamer.errors import EngineError
from streamer.world import KEYPOINTS
from tests.fakes.seen import row_of, seen


def test_partners_are_the_best_pairs_that_overlap_by_half() -> None:
    alike = np.array([[0.9, 0.8], [0.7, 0.0], [0.4, 0.4]], np.float32)
    assert partners(alike).tolist() == [1, 0, -1]  # .8 + .7 is more than .9
    assert partners(np.zeros((2, 0), np.float32)).tolist() == [-1, -1]


def test_semantic_iou_of_a_map_counted_by_hand() -> None:
    confusion = Confusion(("sky", "road", "dog"))
    truth = np.array([[0, 0], [1, 1]], np.uint8)
    assert confusion.add(truth, np.array([[0, 1], [1, 1]], np.uint8), ("sky", "road", "dog")) == 0.25
    ious = confusion.iou_by_class()
    assert ious["sky"] == pytest.approx(1 / 2) and ious["road"] == pytest.approx(2 / 3)
    assert ious["dog"] is None  # not there: no part of the mean
    assert confusion.miou() == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert confusion.accuracy() == pytest.approx(3 / 4)
    confusion.add(truth, np.array([[0, 2], [1, 1]], np.uint8), ("sky", "road", "dog"))
    assert confusion.iou_by_class() == {"sky": 2 / 4, "road": 4 / 5, "dog": None}


def test_semantic_names_may_come_in_another_order_but_not_from_elsewhere() -> None:
    confusion = Confusion(("sky", "road"))
    assert confusion.add(np.array([[0, 1]], np.uint8), np.array([[1, 0]], np.uint8), ("road", "sky")) == 0
    assert confusion.miou() == 1
    with pytest.raises(EngineError, match="'sea'"):
        confusion.add(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), ("sea",))


def test_confusions_add_up_before_the_mean() -> None:
    parts = [Confusion(("a", "b")) for _ in range(2)]
    parts[0].add(np.array([[0, 0]], np.uint8), np.array([[0, 0]], np.uint8), ("a", "b"))
    parts[1].add(np.array([[0, 1]], np.uint8), np.array([[1, 1]], np.uint8), ("a", "b"))
    both = joined(parts)
    assert both is not None and both.iou_by_class() == {"a": 2 / 3, "b": 1 / 2}
    assert joined([]) is None


def test_the_truth_is_sampled_at_the_grids_cells() -> None:
    full = np.arange(16).reshape(4, 4)
    assert sampled(full, (2, 2)).tolist() == [[0, 2], [8, 10]]
    assert sampled(full, (4, 4)) is not None


def person(
    points: list[tuple[float, float, float]], told: list[tuple[float, float]], hard: bool = False
) -> Seen:
    """One person whose box is 20 x 40 px: a tenth is 4 px. Points beyond those given are out of the picture."""
    true = np.zeros((1, len(KEYPOINTS), 3), np.float32)
    found = np.zeros((1, len(KEYPOINTS), 3), np.float32)
    true[0, : len(points)] = points
    found[0, : len(told), :2] = told
    box = [(0.0, 0.0, 20.0, 40.0)]
    return seen(0, box, box, points=true, told_points=found, hard=[hard])


def test_pck_by_hand() -> None:
    points = key_points(
        [
            person(
                [(10, 10, 2), (10, 20, 2), (10, 30, 1), (5, 5, 2)],
                [(10, 13.9), (14.1, 20), (10, 30), (12, 5)],
            )
        ]
    )
    assert points.pck() == pytest.approx(1 / 3)  # 3.9 px is near enough, 4.1 and 7 px are not
    assert points.pck(0.2) == pytest.approx(1.0)
    assert points.pck(hidden=True) == pytest.approx(1.0)
    details = points.details()
    assert details is not None and details["pck10_by_point"]["head"] == 1.0
    assert details["pck10_by_point"]["left_shoulder"] == 0.0
    assert details["pck10_by_point"]["right_ankle"] is None and details["points"] == 3


def test_pck_without_a_head_or_a_person_is_no_number() -> None:
    box = row_of(1)
    assert key_points([seen(0, box, box)]).pck() is None
    assert key_points([seen(0, box, box)]).details() is None
    assert key_points([person([(10, 10, 2)], [(10, 10)], hard=True)]).pck() is None
    with pytest.raises(EngineError, match="nose"):
        key_points([seen(0, box, box, told_points=np.zeros((1, 1, 3), np.float32), point_names=("nose",))])


def test_the_warm_up_of_a_clip() -> None:
    assert warm_up_frames(8, 0.16, 12.5) == 14
    assert warm_up_frames(8, 0.16, 25.0) == 28
    assert warm_up_frames(1, 0.16, 12.5) == 0


def test_actions_by_hand() -> None:
    boxes = row_of(4)
    real = ["run_left", "stand", "wave", "stand"]
    frame = seen(
        0, boxes, boxes, doing=real, ages=[20, 20, 20, 3],
        actions=[(1, real[0]), (2, "wave"), (4, "stand"), (None, "wave"), (None, "fall")],
    )  # fmt: skip
    counts = tally([frame], 14, 12.5)
    # right, wrong, silent (wrong too); the fourth is too young to be asked
    assert counts.asked == 3 and counts.top1() == pytest.approx(1 / 3)
    details = counts.details()
    assert details["silent"] == 1 and details["young_share"] == 0.25 and details["young_top1"] == 1.0
    assert details["confusion"]["stand"] == {"wave": 1} and details["confusion"]["wave"] == {"": 1}
    assert details["mean_of_classes"] == pytest.approx(1 / 3)
    assert details["scene_precision"] == 0.5
    assert tally([], 14, 12.5).top1() is None


def test_actions_are_told_apart_by_how_long_they_have_been_done() -> None:
    boxes, fps = row_of(1), 10.0
    frames = []
    for i in range(30):  # stands, from frame 10 on waves; told of as standing until frame 13
        doing = "stand" if i < 10 else "wave"
        frames.append(seen(i, boxes, boxes, doing=[doing], actions=[(1, "stand" if i < 13 else "wave")]))
    spans = tally(frames, 0, fps).details()["by_seconds"]
    assert {low: span["asked"] for low, span in spans.items()} == {
        "0": 6,
        "0.25": 4,
        "0.5": 10,
        "1": 10,
        "2": 0,
    }
    assert spans["0"]["top1"] == 0.5 and spans["0.25"]["top1"] == 1.0 and spans["2"]["top1"] is None


def test_only_the_likeliest_action_of_a_track_counts() -> None:
    boxes = row_of(1)
    frame = seen(0, boxes, boxes, doing=["stand"], actions=[(1, "stand"), (1, "wave")])
    assert tally([frame], 0, 12.5).top1() == 1.0


def fall_street(told_from: int | None, told_to: int = 20, *, street: int = 0) -> list[Seen]:
    """Person 1 stands, falls at frame 5 for ten frames, stands again; person 2 stands. Track 1 says fall in between."""
    boxes = row_of(2)
    return [
        seen(
            t, boxes, boxes, doing=["fall" if 5 <= t < 15 else "stand", "stand"], street=street,
            actions=[(1, "fall" if told_from is not None and told_from <= t < told_to else "stand")],
        )
        for t in range(30)
    ]  # fmt: skip


def test_a_fall_noticed_late_has_its_delay() -> None:
    said = falls({0: fall_street(8), 1: fall_street(6)})
    assert (said["falls"], said["noticed"], said["told"]) == (2, 2, 2)
    assert said["precision"] == said["recall"] == 1.0
    assert said["delay_frames_mean"] == said["delay_frames_median"] == 2.0


def test_a_fall_never_noticed_and_one_cried_for_nothing() -> None:
    assert falls({0: fall_street(None)})["recall"] == 0.0
    assert falls({0: fall_street(None)})["precision"] is None
    boxes = row_of(1)
    cried = [
        seen(t, boxes, boxes, doing=["stand"], actions=[(1, "fall")] if t == 3 else []) for t in range(9)
    ]
    said = falls({0: cried})
    assert said["precision"] == 0.0 and said["recall"] is None and said["falls"] == 0
    long_after = falls({0: fall_street(28, 30)})
    assert long_after["recall"] == 0.0 and long_after["precision"] == 0.0


def test_a_flicker_is_one_fall_and_one_under_way_is_no_fault() -> None:
    boxes = row_of(1)
    flicker = [
        seen(
            t,
            boxes,
            boxes,
            doing=["stand" if t < 2 else "fall"],
            actions=[(1, "fall")] if t % 3 == 0 and t > 2 else [],
        )
        for t in range(20)
    ]
    said = falls({0: flicker})
    assert said["told"] == 1 and said["noticed"] == 1 and said["delay_frames_mean"] == 1.0
    lying = [seen(t, boxes, boxes, doing=["fall"], actions=[(1, "fall")]) for t in range(5)]
    said = falls({0: lying})
    assert said["falls"] == 0 and said["told"] == 0


def test_calibration_by_hand() -> None:
    said = reliability(np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False]))
    # |.95 - 1| and |.55 - .5|, each of half the answers
    assert said["ece"] == pytest.approx(0.05) and [b["count"] for b in said["bins"]] == [2, 2]
    assert reliability(np.zeros(0), np.zeros(0, bool))["ece"] is None


def test_calibration_asks_for_clear_objects_only() -> None:
    boxes = row_of(3)
    told = [boxes[0], boxes[1], (500.0, 0.0, 520.0, 20.0)]
    said = calibration([seen(0, boxes, told, hard=[False, True, False], scores=[0.8, 0.8, 0.8])])
    assert said["shown"] == 2  # what stands for a difficult object is neither right nor wrong
    assert said["bins"][0]["right"] == 0.5 and said["ece"] == pytest.approx(0.3)
