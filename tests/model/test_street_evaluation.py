"""The measuring rod itself: an engine that knows the truth scores 1, and each kind of mistake costs what it should."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.evaluation.coco import PictureBoxes, average_precision
from engines.evaluation.matching import difficult
from engines.evaluation.scores import Measures
from engines.evaluation.split import run_split
from engines.tasks.track import TrackTask
from streamer.geometry import cxcywh_from_xyxy
from streamer.world import LABELS, Truth, World, WorldConfig
from streamer.world.splits import SPLITS

FIRST_HELD_OUT_SEED = SPLITS["heldout"].start
HW = (96, 160)
SLOTS, ROWS, DIM, CHANNELS = 16, 32, 4, 32
STREETS, FRAMES = 2, 8


class Oracle:
    """Answers with the truth of the same worlds. A track's query carries its object's identity in its first number."""

    def __init__(self) -> None:
        self.worlds = [World(WorldConfig(FIRST_HELD_OUT_SEED + i, *HW)) for i in range(STREETS)]
        self.spoil = lambda answer, truth: None
        self.pictures_seen: list[NDArray[np.uint8]] = []

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        answers = []
        for i, world in enumerate(self.worlds):
            picture, truth = world.step()
            np.testing.assert_array_equal(inputs["images"][i], picture)
            answer = self._answer(inputs["track_hs"][i], inputs["track_valid"][i], truth)
            self.spoil(answer, truth)
            answers.append(answer)
        return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}

    def _answer(self, hs: NDArray[Any], valid: NDArray[Any], truth: Truth) -> dict[str, NDArray[Any]]:
        logits = np.full((SLOTS + ROWS, len(LABELS)), -9.0, np.float32)
        boxes = np.full((SLOTS + ROWS, 4), 0.5, np.float32)
        next_hs = np.zeros((SLOTS + ROWS, DIM), np.float32)
        embed = np.zeros((SLOTS + ROWS, CHANNELS), np.float32)
        features = np.full((CHANNELS, HW[0] // 2, HW[1] // 2), -1.0, np.float32)
        height, width = HW
        unit = cxcywh_from_xyxy(truth.boxes_xyxy / np.array([width, height, width, height], np.float32))
        followed = {int(hs[k, 0]): k for k in np.flatnonzero(valid)}
        for n, identity in enumerate(truth.ids.tolist()):
            row = followed.get(identity + 1, SLOTS + n)
            logits[row, truth.labels[n]] = 6.0
            boxes[row] = unit[n]
            next_hs[row, 0] = identity + 1
            embed[row, n] = 1.0
            features[n][truth.instances[::2, ::2] == n] = 1.0
        return {
            "pred_logits": logits,
            "pred_boxes": boxes,
            "mask_embed": embed,
            "mask_features": features,
            "next_hs": next_hs,
        }


@dataclasses.dataclass(frozen=True)
class Scores:
    frames: int
    clear: Any
    everything: Any


def measure(oracle: Oracle) -> Scores:
    task = TrackTask(labels=LABELS, input_hw=HW, slots=SLOTS, dim=DIM)
    configs = [WorldConfig(FIRST_HELD_OUT_SEED + i, *HW) for i in range(STREETS)]
    run = run_split(oracle, task, configs, frames=FRAMES, most=STREETS)
    measures = Measures(run)
    return Scores(len(run.frames), measures.accuracy(True), measures.accuracy(False))


@pytest.fixture(scope="module")
def perfect() -> Scores:
    return measure(Oracle())


def test_the_truth_scores_one(perfect: Scores) -> None:
    assert perfect.everything.objects > 50 and perfect.frames == STREETS * FRAMES
    for count in (perfect.clear, perfect.everything):
        assert count.ap == pytest.approx(1.0) and count.ap50 == pytest.approx(1.0)
        # Two objects can overlap so much that serving takes a newborn for a duplicate: the rod measures serving.
        assert count.mota > 0.95 and count.idf1 > 0.95 and count.switches == 0
    assert perfect.everything.mask_miou > 0.98


def test_forgetting_identities_costs_switches_not_detection(perfect: Scores) -> None:
    oracle = Oracle()

    def rename(answer: dict[str, NDArray[Any]], truth: Truth) -> None:
        answer["next_hs"][:, 0] = -1  # tracks lead nowhere, so everything is born anew

    oracle.spoil = rename
    scores = measure(oracle)
    assert scores.everything.ap50 > 0.95
    assert scores.everything.switches > 15
    assert scores.everything.idf1 < perfect.everything.idf1 - 0.3


def test_boxes_beside_the_objects_cost_all(perfect: Scores) -> None:
    oracle = Oracle()

    def shift(answer: dict[str, NDArray[Any]], truth: Truth) -> None:
        answer["pred_boxes"][:, 0] += answer["pred_boxes"][:, 2] * 0.6  # IoU 0.25

    oracle.spoil = shift
    scores = measure(oracle)
    assert scores.clear.ap50 < 0.3 and scores.everything.ap50 < 0.3
    assert scores.clear.mota < 0.1 and scores.everything.mota < 0.1


def test_a_wrong_label_is_a_miss_and_a_false_positive(perfect: Scores) -> None:
    oracle = Oracle()

    def relabel(answer: dict[str, NDArray[Any]], truth: Truth) -> None:
        answer["pred_logits"][:] = answer["pred_logits"][:, ::-1].copy()

    oracle.spoil = relabel
    scores = measure(oracle)
    count = scores.everything
    assert count.misses > 0.8 * count.objects and count.false_positives > 0.8 * count.objects


def test_an_engine_that_sees_nothing_scores_zero() -> None:
    oracle = Oracle()

    def blind(answer: dict[str, NDArray[Any]], truth: Truth) -> None:
        answer["pred_logits"][:] = -20

    oracle.spoil = blind
    scores = measure(oracle)
    for count in (scores.clear, scores.everything):
        assert count.ap50 == 0 and count.mota == 0 and count.misses == count.objects


def test_difficult_objects_are_neither_merit_nor_fault(perfect: Scores) -> None:
    assert 0 < perfect.clear.objects < perfect.everything.objects
    oracle = Oracle()

    def miss_the_difficult(answer: dict[str, NDArray[Any]], truth: Truth) -> None:
        rows = answer["next_hs"][:, 0]
        for identity in truth.ids[difficult(truth)]:
            answer["pred_logits"][rows == identity + 1] = -20

    oracle.spoil = miss_the_difficult
    scores = measure(oracle)
    assert scores.clear.ap50 == pytest.approx(1.0) and scores.clear.mota > 0.95
    missed = perfect.everything.objects - perfect.clear.objects
    assert missed <= scores.everything.misses <= missed + 3


def boxes(xyxy: list[list[float]], labels: list[int], scores: list[float]) -> PictureBoxes:
    return PictureBoxes(
        np.array(xyxy, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32)
    )


def test_average_precision_of_a_case_counted_by_hand() -> None:
    truth = [boxes([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0], [1, 1])]
    found = [boxes([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30]], [0, 0, 0], [0.9, 0.8, 0.7])]
    result = average_precision(truth, found, ("a", "b"))
    # recall .5 at precision 1, then recall 1 at precision 2/3; COCO samples recall at 101 points: 51 and 50 of them
    assert result.ap50 == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-3)
    assert np.isnan(result.ap50_by_class["b"])


def test_a_difficult_object_left_out_takes_its_finder_with_it() -> None:
    clear = boxes([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0], [1, 1])
    truth = [dataclasses.replace(clear, difficult=np.array([False, True]))]
    missed = average_precision(truth, [boxes([[0, 0, 10, 10]], [0], [0.5])], ("a",))
    found = average_precision(truth, [boxes([[20, 20, 30, 30], [0, 0, 10, 10]], [0, 0], [0.9, 0.5])], ("a",))
    false = average_precision(truth, [boxes([[40, 40, 50, 50], [0, 0, 10, 10]], [0, 0], [0.9, 0.5])], ("a",))
    assert missed.ap50 == found.ap50 == pytest.approx(1.0)
    assert false.ap50 == pytest.approx(0.5)
