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
BOXES_A_PICTURE = 100
# pycocotools leaves objects outside a range of areas out, as neither merit nor fault; here "area" only says which
COUNTED_AREA, DIFFICULT_AREA = 1.0, 1e6


@dataclass(frozen=True, slots=True)
class PictureBoxes:
    """Objects of one picture: `boxes_xyxy` f32 (N, 4) px, `labels` i64 (N,), `scores` f32 (N,), ones for the truth.

    `difficult` bool (N,), for the truth only: to find such an object is no merit, to miss it no fault.
    """

    boxes_xyxy: F32
    labels: I64
    scores: F32
    difficult: NDArray[np.bool_] | None = None


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
        {
            **entry,
            "id": n + 1,
            "area": DIFFICULT_AREA if entry.pop("difficult") else COUNTED_AREA,
            "iscrowd": 0,
        }
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
        for answer in guess.dataset["annotations"]:
            answer["area"] = COUNTED_AREA
        evaluation = COCOeval(gold, guess, "bbox")
        evaluation.params.areaRng = [[0, DIFFICULT_AREA - 1]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [1, 10, BOXES_A_PICTURE]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (IoU threshold, recall step, class, area, boxes a picture)
    recall = evaluation.eval["recall"][:, :, 0, -1]  # (IoU threshold, class)
    by_class = {}
    for c, name in enumerate(labels):
        values = precision[0, :, c, 0, -1]
        values = values[values > -1]
        by_class[name] = float(values.mean()) if len(values) else float("nan")
    return AveragePrecision(
        ap=_mean(precision[:, :, :, 0, -1]),
        ap50=_mean(precision[0, :, :, 0, -1]),
        ap50_by_class=by_class,
        recall=_mean(recall),
    )


def _mean(values: NDArray[np.float64]) -> float:
    """The mean of what is defined: pycocotools marks a class without objects with -1."""
    values = values[values > -1]
    return float(values.mean()) if values.size else 0.0


def _entries(pictures: Sequence[PictureBoxes]) -> list[dict[str, Any]]:
    """COCO's result records: one a box, `bbox` as x, y, width, height."""
    entries: list[dict[str, Any]] = []
    for i, picture in enumerate(pictures):
        difficult = np.zeros(len(picture.labels), bool) if picture.difficult is None else picture.difficult
        low, size = picture.boxes_xyxy[:, :2], picture.boxes_xyxy[:, 2:] - picture.boxes_xyxy[:, :2]
        for bbox, label, score, hard in zip(
            np.concatenate((low, size), axis=1).tolist(),
            picture.labels.tolist(),
            picture.scores.tolist(),
            difficult.tolist(),
            strict=True,
        ):
            entries.append({"image_id": i + 1, "category_id": label + 1, "bbox": bbox, "score": score})
            entries[-1]["difficult"] = hard
    return entries
