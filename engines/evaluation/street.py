"""How good a street engine is on worlds it has never seen: COCO's AP, MOT's MOTA and IDF1, and the fit of its masks.

The engine is only a callable from named tensors to named tensors, so torch and compiled engines are measured alike, and
the tracks are those of the serving path (`TrackTask`), with its thresholds. Nothing is left out: each object of which
the world's truth speaks counts, however small or hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import motmetrics
import numpy as np
from numpy.typing import NDArray

from engines.evaluation.coco import PictureBoxes, average_precision
from engines.tasks.track import TrackRules, TrackState, TrackTask
from streamer.geometry import iou_matrix, xyxy_from_cxcywh
from streamer.masks import mask_from_rle
from streamer.types import Frame, FrameRef, Perception
from streamer.world import LABELS, Truth, World, WorldConfig

Infer = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
FIRST_HELD_OUT_SEED = 1_000_000
MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class StreetScores:
    """What `evaluate_street` measured. Shares are 0..1; a row of the engine counts for AP with every class score."""

    sequences: int
    frames: int
    objects: int
    ap: float
    ap50: float
    ap50_by_class: dict[str, float]
    mota: float
    idf1: float
    switches: int
    false_positives: int
    misses: int
    mask_miou: float
    matched: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON; rounded to four places."""
        return {
            k: {n: round(x, 4) for n, x in v.items()}
            if isinstance(v, dict)
            else round(v, 4)
            if isinstance(v, float)
            else v
            for k, v in asdict(self).items()
        }


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
    truths: list[PictureBoxes] = []
    found: list[PictureBoxes] = []
    mot = [motmetrics.MOTAccumulator(auto_id=True) for _ in worlds]
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
            truths.append(
                PictureBoxes(facts[i].boxes_xyxy, facts[i].labels, np.ones(len(facts[i].labels), np.float32))
            )
            found.append(rows_as_boxes(outputs, i, states[i].valid, input_hw))
            mask_ious += _compare(mot[i], facts[i], payload)
            states[i] = state
        if watch is not None:
            watch(step + 1)
    precision = average_precision(truths, found, labels)
    summary = _overall(mot)
    return StreetScores(
        sequences=sequences,
        frames=sequences * frames,
        objects=int(summary["num_objects"]),
        ap=precision.ap,
        ap50=precision.ap50,
        ap50_by_class=precision.ap50_by_class,
        mota=float(summary["mota"]),
        idf1=float(summary["idf1"]),
        switches=int(summary["num_switches"]),
        false_positives=int(summary["num_false_positives"]),
        misses=int(summary["num_misses"]),
        mask_miou=float(np.mean(mask_ious)) if mask_ious else 0.0,
        matched=len(mask_ious),
    )


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


def _compare(mot: Any, truth: Truth, payload: Perception) -> list[float]:
    """Tells the accumulator one frame and returns the mask IoU of each matched pair.

    A track may stand for an object if their boxes overlap by at least half and their labels are equal. Masks are
    compared on the grid they are served on, half the picture's size, with the truth sampled at the same places.
    """
    tracks = payload.tracks
    detections = tracks.detections
    overlap = iou_matrix(truth.boxes_xyxy, detections.boxes_xyxy)
    possible = (overlap >= MATCH_IOU) & (truth.labels[:, None] == detections.labels[None, :])
    frame = mot.update(truth.ids, tracks.track_ids, np.where(possible, 1 - overlap, np.nan))
    events = mot.mot_events.loc[frame]
    pairs = events[events.Type.isin(("MATCH", "SWITCH", "TRANSFER", "ASCEND", "MIGRATE"))]
    row_of = {identity: row for row, identity in enumerate(truth.ids.tolist())}
    column_of = {identity: column for column, identity in enumerate(tracks.track_ids.tolist())}
    ious: list[float] = []
    for oid, hid in zip(pairs.OId, pairs.HId, strict=True):
        if detections.masks is None:
            break
        mask = mask_from_rle(detections.masks[column_of[int(hid)]])
        step_y, step_x = truth.instances.shape[0] // mask.shape[0], truth.instances.shape[1] // mask.shape[1]
        real = truth.instances[::step_y, ::step_x] == row_of[int(oid)]
        union = (mask | real).sum()
        ious.append(float((mask & real).sum() / union) if union else 0.0)
    return ious


def _overall(mot: list[Any]) -> dict[str, float]:
    """MOT's metrics over all sequences together."""
    wanted = ["num_objects", "mota", "idf1", "num_switches", "num_false_positives", "num_misses"]
    table = motmetrics.metrics.create().compute_many(mot, metrics=wanted, generate_overall=True)
    overall: dict[str, float] = table.loc["OVERALL"].to_dict()
    return overall
