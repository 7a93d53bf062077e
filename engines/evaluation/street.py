"""How good a street engine is on worlds it has never seen: COCO's AP, MOT's MOTA and IDF1, and the fit of its masks.

The engine is only a callable from named tensors to named tensors, so torch and compiled engines are measured alike, and
the tracks are those of the serving path (`TrackTask`), with its thresholds.

Everything is measured twice. `everything` counts each object of which the world's truth speaks, down to six visible
pixels. `clear` leaves out the *difficult* ones, as PASCAL VOC and KITTI do: those of which fewer than 48 pixels (6 x 8)
or less than a quarter can be seen are neither merit nor fault. Both are always shown together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import motmetrics
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from engines.evaluation.coco import PictureBoxes, average_precision
from engines.tasks.track import TrackRules, TrackState, TrackTask
from streamer.geometry import iou_matrix, xyxy_from_cxcywh
from streamer.masks import mask_from_rle
from streamer.types import Frame, FrameRef, Perception
from streamer.world import LABELS, Truth, World, WorldConfig

Infer = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
FIRST_HELD_OUT_SEED = 1_000_000
MATCH_IOU = 0.5
CLEAR_PIXELS = 48
CLEAR_VISIBILITY = 0.25


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One count's numbers. Shares are 0..1; for AP a row of the engine counts with each of its class scores."""

    objects: int
    ap: float
    ap50: float
    ap50_by_class: dict[str, float]
    mota: float
    idf1: float
    switches: int
    false_positives: int
    misses: int


@dataclass(frozen=True, slots=True)
class StreetScores:
    """What `evaluate_street` measured: on the `clear` objects and on `everything`; masks of all matched tracks."""

    sequences: int
    frames: int
    clear: Accuracy
    everything: Accuracy
    mask_miou: float
    matched: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON; rounded to four places."""
        return _rounded(asdict(self))


def _rounded(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _rounded(x) if isinstance(x, dict) else round(x, 4) if isinstance(x, float) else x
        for name, x in tree.items()
    }


class _Count:
    """Collects one count's frames."""

    def __init__(self, sequences: int) -> None:
        self.truths: list[PictureBoxes] = []
        self.mot = [motmetrics.MOTAccumulator(auto_id=True) for _ in range(sequences)]

    def add(
        self, sequence: int, truth: Truth, payload: Perception, left_out: NDArray[np.bool_]
    ) -> list[tuple[int, int]]:
        """One frame; to the pairs (object row, track row) of one object."""
        counts = np.ones(len(truth.labels), np.float32)
        self.truths.append(PictureBoxes(truth.boxes_xyxy, truth.labels, counts, left_out))
        return _compare(self.mot[sequence], truth, payload, left_out)

    def accuracy(self, found: Sequence[PictureBoxes], labels: Sequence[str]) -> Accuracy:
        precision = average_precision(self.truths, found, labels)
        summary = _overall(self.mot)
        return Accuracy(
            objects=int(summary["num_objects"]),
            ap=precision.ap,
            ap50=precision.ap50,
            ap50_by_class=precision.ap50_by_class,
            mota=float(summary["mota"]),
            idf1=float(summary["idf1"]),
            switches=int(summary["num_switches"]),
            false_positives=int(summary["num_false_positives"]),
            misses=int(summary["num_misses"]),
        )


def evaluate_street(
    infer: Infer,
    *,
    input_hw: tuple[int, int],
    slots: int,
    dim: int,
    labels: Sequence[str] = LABELS,
    rules: TrackRules | None = None,
    sequences: int = 6,
    frames: int = 200,
    first_seed: int = FIRST_HELD_OUT_SEED,
    watch: Callable[[int], None] | None = None,
) -> StreetScores:
    """Runs `sequences` worlds side by side as one batch for `frames` frames and compares with the truth.

    The worlds are those of seeds first_seed, first_seed + 1, … as `world://` makes them by default, at 12.5 frames a
    second. `watch` is called with the number of frames done.
    """
    task = TrackTask(labels=labels, input_hw=input_hw, slots=slots, dim=dim, rules=rules)
    worlds = [World(WorldConfig(first_seed + i, *input_hw)) for i in range(sequences)]
    states: list[TrackState] = [task.initial_state() for _ in worlds]
    found: list[PictureBoxes] = []
    clear, everything = _Count(sequences), _Count(sequences)
    mask_ious: list[float] = []
    for step in range(frames):
        pictures, facts = zip(*(world.step() for world in worlds), strict=True)
        shown = [
            Frame(FrameRef(f"held-out-{i}", 0, step, step, Fraction(2, 25), 0, 0), picture, input_hw, 0)
            for i, picture in enumerate(pictures)
        ]
        inputs = task.preprocess(shown, states)
        outputs = infer(inputs)
        answers = task.postprocess(outputs, shown, states)
        for i, (payload, state) in enumerate(answers):
            found.append(rows_as_boxes(outputs, i, states[i].valid, input_hw))
            clear.add(i, facts[i], payload, difficult(facts[i]))
            pairs = everything.add(i, facts[i], payload, np.zeros(len(facts[i].labels), bool))
            mask_ious += _mask_ious(facts[i], payload, pairs)
            states[i] = state
        if watch is not None:
            watch(step + 1)
    return StreetScores(
        sequences=sequences,
        frames=sequences * frames,
        clear=clear.accuracy(found, labels),
        everything=everything.accuracy(found, labels),
        mask_miou=float(np.mean(mask_ious)) if mask_ious else 0.0,
        matched=len(mask_ious),
    )


def difficult(truth: Truth) -> NDArray[np.bool_]:
    """Which objects show too little of themselves to be asked for, bool (N,)."""
    pixels = np.bincount(truth.instances[truth.instances >= 0], minlength=len(truth.labels))
    hard: NDArray[np.bool_] = (pixels < CLEAR_PIXELS) | (truth.visibility < CLEAR_VISIBILITY)
    return hard


def rows_as_boxes(
    outputs: Mapping[str, NDArray[Any]], index: int, valid: NDArray[np.bool_], input_hw: tuple[int, int]
) -> PictureBoxes:
    """All an engine said about picture `index`: each row that is no empty slot, once for each class."""
    logits = outputs["pred_logits"][index]
    used = np.concatenate((valid, np.ones(len(logits) - len(valid), bool)))
    height, width = input_hw
    scale = np.array([width, height, width, height], np.float32)
    boxes = np.clip(xyxy_from_cxcywh(outputs["pred_boxes"][index][used]), 0, 1) * scale
    scores = 1 / (1 + np.exp(-logits[used].astype(np.float32)))
    rows, classes = np.nonzero(scores > 0.001)
    return PictureBoxes(boxes[rows], classes, scores[rows, classes])


def _compare(
    mot: Any, truth: Truth, payload: Perception, left_out: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Tells the accumulator one frame, without the objects left out and the tracks that stand for them.

    A track may stand for an object if their boxes overlap by at least half and their labels are equal. To the pairs
    (object row, track row) that fit best together.
    """
    tracks = payload.tracks
    detections = tracks.detections
    overlap = iou_matrix(truth.boxes_xyxy, detections.boxes_xyxy)
    possible = (overlap >= MATCH_IOU) & (truth.labels[:, None] == detections.labels[None, :])
    rows, columns = linear_sum_assignment(np.where(possible, -overlap, 0.0))
    fits = possible[rows, columns]
    rows, columns = rows[fits], columns[fits]
    objects = np.flatnonzero(~left_out)
    shown = np.setdiff1d(np.arange(len(detections)), columns[left_out[rows]])
    distance = np.where(possible, 1 - overlap, np.nan)[np.ix_(objects, shown)]
    mot.update(truth.ids[objects], tracks.track_ids[shown], distance)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _mask_ious(truth: Truth, payload: Perception, pairs: Sequence[tuple[int, int]]) -> list[float]:
    """How well the masks of matched pairs fit.

    On the grid they are served on, half the picture's size, with the truth sampled at the same places.
    """
    masks = payload.tracks.detections.masks
    if masks is None:
        return []
    ious: list[float] = []
    for row, column in pairs:
        mask = mask_from_rle(masks[column])
        step_y, step_x = truth.instances.shape[0] // mask.shape[0], truth.instances.shape[1] // mask.shape[1]
        real = truth.instances[::step_y, ::step_x] == row
        union = (mask | real).sum()
        ious.append(float((mask & real).sum() / union) if union else 0.0)
    return ious


def _overall(mot: list[Any]) -> dict[str, float]:
    """MOT's metrics over all sequences together."""
    wanted = ["num_objects", "mota", "idf1", "num_switches", "num_false_positives", "num_misses"]
    table = motmetrics.metrics.create().compute_many(mot, metrics=wanted, generate_overall=True)
    overall: dict[str, float] = table.loc["OVERALL"].to_dict()
    return overall
