"""The rolling numbers equal those of the kept libraries; what is hard or unknown to the source changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import motmetrics
import numpy as np
import pytest

from engines.evaluation.coco import PictureBoxes
from engines.evaluation.coco import average_precision as coco_precision
from engines.evaluation.hota import HotaSequence
from engines.evaluation.live.compared import Compared
from engines.evaluation.live.identity import FramePairs, Switches, pairs_and_switches, rolling_hota
from engines.evaluation.live.precision import FrameHits, average_precision
from engines.evaluation.live.window import MOST_FRAMES, RollingAccuracy
from engines.evaluation.matching import MATCH_IOU
from streamer.types import Detections, FrameTruth, Perception, Tracks
from streamer.world import ACTIONS, LABELS
from tests.fakes.truths import NOWHERE, Story, result_of, truth_of

GOLDEN = Path(__file__).parent.parent / "golden" / "hota.npz"
FRAMES = MOST_FRAMES  # a whole window


def crowd(seed: int, frames: int = FRAMES) -> list[Compared]:
    """Objects that overlap, come, go and hide; tracks that are lost, swapped, doubled, mislabelled and invented."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(0, 60, (9, 2))
    size, labels = rng.uniform(8, 30, (9, 2)), rng.integers(0, 3, 9)
    follows = np.arange(9) + 100
    made = []
    for t in range(frames):
        at += rng.normal(0, 1.5, at.shape)
        if t % 40 == 39:
            a, b = rng.choice(9, 2, replace=False)
            follows[[a, b]] = follows[[b, a]]
        if t % 55 == 54:
            follows[rng.integers(9)] = follows.max() + 1
        there = np.flatnonzero(rng.uniform(size=9) > 0.2)
        boxes = np.concatenate((at[there], at[there] + size[there]), axis=1).astype(np.float32)
        truth = FrameTruth(
            number=t,
            time_s=t / 12.5,
            boxes_xyxy=boxes,
            labels=labels[there],
            ids=there,
            pixels=np.where(rng.uniform(size=len(there)) < 0.15, 10, 300),
            visibility=rng.choice([0.1, 0.9, 1.0], len(there), p=[0.1, 0.4, 0.5]).astype(np.float32),
            actions=np.full(len(there), -1),
            label_names=LABELS,
            action_names=ACTIONS,
        )
        seen = np.flatnonzero(rng.uniform(size=len(there)) > 0.15)
        again = seen[rng.uniform(size=len(seen)) < 0.1]
        shown = np.concatenate((seen, again))
        ids = np.concatenate((follows[there[seen]], 1000 + there[again]))
        jitter = rng.normal(0, 2, (len(shown), 4))
        false = rng.uniform(0, 60, (2, 2))
        found = Detections(
            np.concatenate((boxes[shown] + jitter, np.concatenate((false, false + 15), axis=1))).astype(
                np.float32
            ),
            rng.uniform(0.3, 1, len(shown) + 2).astype(np.float32),
            np.append(
                np.where(rng.uniform(size=len(shown)) < 0.05, 1, truth.labels[shown]), rng.integers(0, 3, 2)
            ),
        )
        tracks = Tracks(found, np.append(ids, [5000 + t % 4, 6000 + t % 3]), np.ones(len(found), np.int64))
        made.append(Compared.of(t / 12.5, truth, Perception(tracks, LABELS)))
    return made


@pytest.mark.parametrize("seed", [0, 1])
def test_average_precision_is_what_pycocotools_answers(seed: int) -> None:
    frames = crowd(seed)
    truths = [
        PictureBoxes(f.truth.boxes_xyxy, f.truth.labels, np.ones(len(f.hard), np.float32), f.hard)
        for f in frames
    ]
    found = [PictureBoxes(f.payload.tracks.detections.boxes_xyxy, f.labels, f.scores) for f in frames]
    theirs = coco_precision(truths, found, LABELS)
    ours = average_precision([FrameHits.of(f) for f in frames])
    assert ours is not None
    assert ours == (pytest.approx(theirs.ap, abs=1e-6), pytest.approx(theirs.ap50, abs=1e-6))
    assert 0.1 < theirs.ap < theirs.ap50 < 0.9  # no easy scene


def test_average_precision_of_nothing() -> None:
    assert average_precision([]) is None
    nobody = Compared.of(0.0, truth_of(0, []), result_of(truth_of(0, []), [(1, 3)]).payload)
    assert average_precision([FrameHits.of(nobody)]) is None
    unseen = Compared.of(0.0, truth_of(0, [1]), result_of(truth_of(0, [1]), []).payload)
    assert average_precision([FrameHits.of(unseen)]) == (0.0, 0.0)


def test_rolling_hota_is_what_trackeval_answers() -> None:
    with np.load(GOLDEN) as file:
        golden = dict(file)
    for n in range(3):
        frames = []
        for ids, tracks, alike in zip(
            golden[f"ids{n}"], golden[f"tracks{n}"], golden[f"alike{n}"], strict=True
        ):
            there, told = ids >= 0, tracks >= 0
            frames.append(
                FramePairs.of(ids[there], tracks[told], alike[: there.sum(), : told.sum()].astype(np.float64))
            )
        score = rolling_hota(frames)
        assert score is not None
        for part in ("HOTA", "DetA", "AssA", "LocA"):
            assert getattr(score, part.lower()) == pytest.approx(golden[f"{part}{n}"].mean(), abs=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_window_has_the_hota_of_its_frames_and_motmetrics_switches(seed: int) -> None:
    frames = crowd(seed)
    sequence, mot, switches = HotaSequence(), motmetrics.MOTAccumulator(auto_id=True), Switches()
    pairs, switched = [], 0
    for frame in frames:
        objects, shown = frame.asked
        ids, track_ids = frame.truth.ids[objects], frame.track_ids[shown]
        alike = frame.alike[np.ix_(objects, shown)]
        sequence.add(ids, track_ids, alike)
        mot.update(ids, track_ids, np.where(alike >= MATCH_IOU, 1.0 - alike, np.nan))
        kept, n = pairs_and_switches(frame, switches)
        pairs.append(kept)
        switched += n
    ours, theirs = rolling_hota(pairs), sequence.counts().score()
    assert ours is not None
    for part in ("hota", "deta", "assa", "loca"):
        assert getattr(ours, part) == pytest.approx(getattr(theirs, part), abs=1e-12)
    assert 0.1 < theirs.hota < 0.9
    summary = motmetrics.metrics.create().compute(mot, metrics=["num_switches"])
    assert switched == int(summary.num_switches.iloc[0]) > 20


def test_rolling_hota_of_nothing() -> None:
    empty = FramePairs.of(np.zeros(0, np.int64), np.array([4]), np.zeros((0, 1), np.float32))
    assert rolling_hota([]) is None and rolling_hota([empty]) is None
    missed = rolling_hota([FramePairs.of(np.array([4]), np.zeros(0, np.int64), np.zeros((1, 0), np.float32))])
    assert missed is not None and missed.hota == missed.deta == 0


def played(story: list[Any], **window: Any) -> RollingAccuracy:
    measure = RollingAccuracy(**window)
    for frame in story:
        measure.add(*frame)
    return measure


def test_the_window_forgets_what_is_older() -> None:
    story = Story()
    blind = [story.frame([1], []) for _ in range(20)]
    seen = [story.frame([1], [(7, 1)]) for _ in range(20)]
    by_count = played(blind + seen, frames=10).accuracy()
    assert (by_count.frames, by_count.ap50, by_count.hota, by_count.objects) == (10, 1.0, 1.0, 10)
    by_time = played(blind + seen, seconds=2.9).accuracy()  # 10 frames a second
    assert by_time.frames == 30 and by_time.seconds == pytest.approx(2.9)
    assert by_time.deta == pytest.approx(20 / 30)
    assert by_time.scored_total == 40


def test_switches_are_counted_in_the_window_and_in_all() -> None:
    story = Story()
    frames = [story.frame([1, 2], [(7, 1), (8, 2)]) for _ in range(10)]
    frames += [story.frame([1, 2], [(8, 1), (7, 2)]) for _ in range(20)]
    told = played(frames, frames=15).accuracy()
    assert (told.switches, told.switches_total) == (0, 2)
    assert played(frames, frames=25).accuracy().switches == 2


def test_a_hard_object_is_neither_merit_nor_fault() -> None:
    story = Story()
    found = played([story.frame([1, 2], [(7, 1), (8, 2)], hard=[2]) for _ in range(20)]).accuracy()
    story = Story()
    missed = played([story.frame([1, 2], [(7, 1)], hard=[2]) for _ in range(20)]).accuracy()
    for told in (found, missed):
        assert (told.ap, told.hota, told.objects) == (1.0, 1.0, 20)
        appear = told.events["appear"]
        assert appear is not None and (appear.told, appear.right, appear.there, appear.noticed) == (
            1,
            1,
            1,
            1,
        )


def test_a_label_that_the_source_does_not_know_is_left_out() -> None:
    truth = truth_of(0, [1])
    bench = Compared.of(0.0, truth, result_of(truth, [(7, 1), (8, NOWHERE)], label="bench").payload)
    assert len(bench.track_ids) == 0
    bus = Compared.of(0.0, truth, result_of(truth, [(7, 1)], label="bus").payload)
    assert len(bus.track_ids) == 1 and (bus.partner == -1).all()
