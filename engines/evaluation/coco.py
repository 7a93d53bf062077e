"""Average precision as COCO counts it, by pycocotools, from plain arrays."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PictureBoxes:
    """Objects of one picture: `boxes_xyxy` f32 (N, 4) px, `labels` i64 (N,), `scores` f32 (N,), ones for the truth."""

    boxes_xyxy: F32
    labels: I64
    scores: F32


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """COCO's numbers, 0..1: over IoU .50 to .95, at .50, and at .50 by class (NaN for a class without objects)."""

    ap: float
    ap50: float
    ap50_by_class: dict[str, float]
    recall: float  # average recall over IoU .50 to .95, 100 boxes a picture


def average_precision(
    truth: Sequence[PictureBoxes], found: Sequence[PictureBoxes], labels: Sequence[str]
) -> AveragePrecision:
    """Compares what was found with the truth, picture by picture."""
    images = [{"id": i + 1} for i in range(len(truth))]
    categories = [{"id": c + 1, "name": name} for c, name in enumerate(labels)]
    annotations = [
        {**entry, "id": n + 1, "area": entry["bbox"][2] * entry["bbox"][3], "iscrowd": 0}
        for n, entry in enumerate(_entries(truth))
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        gold = COCO()
        gold.dataset = {"info": {}, "images": images, "categories": categories, "annotations": annotations}
        gold.createIndex()
        answers = list(_entries(found))
        guess = gold.loadRes(answers) if answers else COCO()
        if not answers:
            guess.dataset = {"info": {}, "images": images, "categories": categories, "annotations": []}
            guess.createIndex()
        evaluation = COCOeval(gold, guess, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"]  # (IoU threshold, recall step, class, area, boxes a picture)
    by_class = {}
    for c, name in enumerate(labels):
        values = precision[0, :, c, 0, -1]
        values = values[values > -1]
        by_class[name] = float(values.mean()) if len(values) else float("nan")
    return AveragePrecision(
        ap=float(evaluation.stats[0]),
        ap50=float(evaluation.stats[1]),
        ap50_by_class=by_class,
        recall=float(evaluation.stats[8]),
    )


def _entries(pictures: Sequence[PictureBoxes]) -> list[dict[str, Any]]:
    """COCO's result records: one a box, `bbox` as x, y, width, height."""
    entries: list[dict[str, Any]] = []
    for i, picture in enumerate(pictures):
        low, size = picture.boxes_xyxy[:, :2], picture.boxes_xyxy[:, 2:] - picture.boxes_xyxy[:, :2]
        for bbox, label, score in zip(
            np.concatenate((low, size), axis=1).tolist(),
            picture.labels.tolist(),
            picture.scores.tolist(),
            strict=True,
        ):
            entries.append({"image_id": i + 1, "category_id": label + 1, "bbox": bbox, "score": score})
    return entries
