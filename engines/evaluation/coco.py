"""Average precision as COCO counts it, by pycocotools, from plain arrays: of all pictures, and of any part of them."""

from __future__ import annotations

import contextlib
import copy
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
    """COCO's numbers, 0..1: over IoU .50 to .95, at .50, and both by class (NaN for a class without objects)."""

    ap: float
    ap50: float
    ap50_by_class: dict[str, float]
    ap_by_class: dict[str, float]
    recall: float  # average recall over IoU .50 to .95, 100 boxes a picture


class Precision:
    """Truth and answers compared once, picture by picture; `of` then sums up whichever pictures are asked for."""

    def __init__(
        self, truth: Sequence[PictureBoxes], found: Sequence[PictureBoxes], labels: Sequence[str]
    ) -> None:
        self._labels, self._pictures = tuple(labels), len(truth)
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
            gold.dataset = {
                "info": {},
                "images": images,
                "categories": categories,
                "annotations": annotations,
            }
            gold.createIndex()
            answers = list(_entries(found))
            guess = gold.loadRes(answers) if answers else COCO()
            if not answers:
                guess.dataset = {"info": {}, "images": images, "categories": categories, "annotations": []}
                guess.createIndex()
            for answer in guess.dataset["annotations"]:
                answer["area"] = COUNTED_AREA
            evaluation: Any = COCOeval(gold, guess, "bbox")
            evaluation.params.areaRng = [[0, DIFFICULT_AREA - 1]]
            evaluation.params.areaRngLbl = ["all"]
            evaluation.params.maxDets = [1, 10, BOXES_A_PICTURE]
            evaluation.evaluate()
        self._evaluation = evaluation

    def of(self, pictures: Sequence[int] | None = None) -> AveragePrecision:
        """The numbers of these pictures (places in the sequences given at first), or of all."""
        part = copy.copy(self._evaluation)
        if pictures is not None:
            # evalImgs lies class by class, one range of areas, picture by picture
            chosen = sorted(pictures)
            part.evalImgs = [
                self._evaluation.evalImgs[c * self._pictures + i]
                for c in range(len(self._labels))
                for i in chosen
            ]
            part.params = copy.copy(part.params)
            part.params.imgIds = [i + 1 for i in chosen]
            part._paramsEval = copy.copy(part.params)
        with contextlib.redirect_stdout(io.StringIO()):
            part.accumulate()
        precision = part.eval["precision"]  # (IoU threshold, recall step, class, area, boxes a picture)
        recall = part.eval["recall"][:, :, 0, -1]  # (IoU threshold, class)
        return AveragePrecision(
            ap=_mean(precision[:, :, :, 0, -1]),
            ap50=_mean(precision[0, :, :, 0, -1]),
            ap50_by_class={
                name: _mean(precision[0, :, c, 0, -1], float("nan")) for c, name in enumerate(self._labels)
            },
            ap_by_class={
                name: _mean(precision[:, :, c, 0, -1], float("nan")) for c, name in enumerate(self._labels)
            },
            recall=_mean(recall),
        )


def average_precision(
    truth: Sequence[PictureBoxes], found: Sequence[PictureBoxes], labels: Sequence[str]
) -> AveragePrecision:
    """Compares what was found with the truth, over all pictures."""
    return Precision(truth, found, labels).of()


def _mean(values: NDArray[np.float64], without: float = 0.0) -> float:
    """The mean of what is defined: pycocotools marks a class without objects with -1."""
    values = values[values > -1]
    return float(values.mean()) if values.size else without


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
