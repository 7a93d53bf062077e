"""HOTA against TrackEval and by hand, MOTA and IDF1 of frames made by hand, and the baselines on known scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.evaluation.baselines import IouTracker, byte_track, detections_of, iou_track
from engines.evaluation.facts import Seen
from engines.evaluation.hota import HotaCounts, HotaSequence, summed
from engines.evaluation.identities import follow_street, together
from streamer.types import Detections
from tests.fakes.seen import row_of, seen

GOLDEN = Path(__file__).parent.parent / "golden" / "hota.npz"
SEQUENCES = 3


def counts(ids: list[list[int]], tracks: list[list[int]], alike: list[list[list[float]]]) -> HotaCounts:
    sequence = HotaSequence()
    for i, t, like in zip(ids, tracks, alike, strict=True):
        sequence.add(
            np.array(i, np.int64),
            np.array(t, np.int64),
            np.array(like, np.float32).reshape(len(i), len(t)),
        )
    return sequence.counts()


def golden_counts(golden: dict[str, np.ndarray], n: int) -> HotaCounts:
    sequence = HotaSequence()
    for ids, tracks, alike in zip(golden[f"ids{n}"], golden[f"tracks{n}"], golden[f"alike{n}"], strict=True):
        there, told = ids >= 0, tracks >= 0
        sequence.add(ids[there], tracks[told], alike[: there.sum(), : told.sum()])
    return sequence.counts()


def test_hota_is_what_trackeval_answers() -> None:
    with np.load(GOLDEN) as file:
        golden = dict(file)
    parts = [golden_counts(golden, n) for n in range(SEQUENCES)]
    for part, name in [*zip(parts, "012", strict=True), (summed(parts), "_all")]:
        score = part.score()
        for key in ("HOTA", "DetA", "AssA", "LocA"):
            assert getattr(score, key.lower()) == pytest.approx(golden[f"{key}{name}"].mean(), abs=1e-12)
    assert 0.1 < summed(parts).score().hota < 0.6  # no golden of trivial scenes


def test_hota_of_an_identity_lost_half_way() -> None:
    """One object, four frames, boxes exact; two frames as track 1, two as track 2: each match has TPA 2, FNA 2."""
    score = counts([[7]] * 4, [[1], [1], [2], [2]], [[[1.0]]] * 4).score()
    assert score.deta == pytest.approx(1)
    assert score.assa == pytest.approx(0.5)
    assert score.hota == pytest.approx(np.sqrt(0.5))


def test_hota_counts_only_the_thresholds_that_a_box_reaches() -> None:
    """Similarity .5 is enough for ten of nineteen thresholds (.05 to .50)."""
    score = counts([[7]] * 2, [[1]] * 2, [[[0.5]]] * 2).score()
    assert score.deta == score.assa == score.hota == pytest.approx(10 / 19)


def test_a_false_track_and_a_missed_object_cost_detection_only() -> None:
    score = counts([[1, 2]] * 3, [[5, 9]] * 3, [[[1, 0], [0, 0]]] * 3).score()
    assert score.deta == pytest.approx(1 / 3) and score.assa == pytest.approx(1)


def test_hota_of_nothing() -> None:
    assert counts([], [], []).score().hota == 0
    assert counts([[1]], [[]], [[]]).score().hota == 0
    assert counts([[]], [[1]], [[]]).score().deta == 0


def walk(swap_at: int | None = None, frames: int = 10) -> list[Seen]:
    """Three persons beside each other; from a frame on the first two tracks have each other's identity."""
    boxes = row_of(3)
    return [
        seen(t, boxes, boxes, track_ids=[2, 1, 3] if swap_at is not None and t >= swap_at else [1, 2, 3])
        for t in range(frames)
    ]


def test_perfect_tracks_score_one() -> None:
    scores = together([follow_street(walk()), follow_street(walk())])
    assert scores.hota == scores.assa == scores.mota == scores.idf1 == pytest.approx(1)
    assert (scores.objects, scores.switches, scores.misses, scores.false_positives) == (60, 0, 0, 0)


def test_swapped_identities_cost_association_and_switches() -> None:
    street = follow_street(walk(swap_at=5))
    scores = together([street])
    assert scores.deta == pytest.approx(1) and scores.switches == 2 and street.switched == (5, 5)
    # two of three objects: each match has TPA 5, FNA 5, FPA 5
    assert scores.assa == pytest.approx((2 / 3) * (5 / 15) + 1 / 3)
    assert scores.mota == pytest.approx(1 - 2 / 30)
    assert scores.idf1 == pytest.approx(20 / 30)


def test_a_difficult_object_takes_its_track_with_it_on_the_clear_count_only() -> None:
    boxes = row_of(2)
    frames = [seen(t, boxes, boxes, hard=[False, True]) for t in range(4)]
    assert together([follow_street(frames)]).objects == 4
    assert together([follow_street(frames, clear=False)]).objects == 8
    missed = [seen(t, boxes, boxes[:1], hard=[False, True]) for t in range(4)]
    assert together([follow_street(missed)]).hota == pytest.approx(1)
    assert together([follow_street(missed, clear=False)]).misses == 4


def test_one_class_alone() -> None:
    boxes = row_of(2)
    frames = [seen(t, boxes, boxes[:1], labels=[0, 1]) for t in range(3)]
    assert together([follow_street(frames, label=0)]).hota == pytest.approx(1)
    cars = together([follow_street(frames, label=1)])
    assert cars.hota == 0 and cars.misses == 3


def test_baselines_follow_what_is_plain() -> None:
    """Boxes that overlap from frame to frame: both baselines do as well as the truth, once ByteTrack is sure."""
    frames = [
        seen(t, [(3 * t, 10, 3 * t + 20, 40)], [(3 * t, 10, 3 * t + 20, 40)], ids=[1]) for t in range(12)
    ]
    given = [s.detections for s in frames]
    assert together([follow_street(frames, iou_track(given))]).hota == pytest.approx(1)
    byte = together([follow_street(frames, byte_track(given))])
    assert byte.switches == 0 and byte.misses == 1  # its confirmation takes two frames


def boxes_at(lefts: list[float], score: float = 0.9) -> Detections:
    x = np.array(lefts, np.float32)
    xyxy = np.stack([x, x * 0, x + 10, x * 0 + 10], axis=1).reshape(-1, 4)
    return Detections(xyxy, np.full(len(x), score, np.float32), np.zeros(len(x), np.int64))


def test_the_iou_tracker_has_some_patience_and_no_more() -> None:
    tracker = IouTracker(patience=2)
    assert tracker.see(boxes_at([0])).track_ids.tolist() == [1]
    for _ in range(2):
        assert len(tracker.see(boxes_at([]))) == 0
    again = tracker.see(boxes_at([1]))
    assert again.track_ids.tolist() == [1] and again.ages.tolist() == [3]
    for _ in range(3):
        tracker.see(boxes_at([]))
    assert tracker.see(boxes_at([1])).track_ids.tolist() == [2]


def test_the_iou_tracker_takes_the_best_pairs_and_only_overlaps() -> None:
    tracker = IouTracker()
    assert tracker.see(boxes_at([0, 6])).track_ids.tolist() == [1, 2]
    assert tracker.see(boxes_at([7, 1])).track_ids.tolist() == [2, 1]
    assert tracker.see(boxes_at([30])).track_ids.tolist() == [3]
    assert len(tracker.see(boxes_at([60], 0.55))) == 0  # too unsure to start


def test_what_a_detectors_user_takes() -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [0, 0, 10, 10.5], [0, 0, 10, 10], [50, 0, 50, 10], [80, 0, 90, 10]], np.float32
    )
    scores = np.array([[0.8, 0.1], [0.9, 0.1], [0.2, 0.7], [0.9, 0.0], [0.05, 0.08]], np.float32)
    found = detections_of(boxes, scores)
    # the double of one class goes, the other class stays; an empty box and an unsure one are none
    assert found.labels.tolist() == [0, 1] and found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(detections_of(boxes[:0], scores[:0])) == 0
