"""Which track stands for which true object, which objects count, and what an engine's raw rows say.

Everything is measured on two counts. `everything` holds each object of which the world's truth speaks, down to six
visible pixels. `clear` leaves out the *difficult* ones, as PASCAL VOC and KITTI do: those of which fewer than 48 pixels
(6 x 8) or less than a quarter can be seen are neither merit nor fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from engines.evaluation.coco import PictureBoxes
from streamer.geometry import iou_matrix, xyxy_from_cxcywh
from streamer.masks import mask_from_rle
from streamer.types import F32, I64, Detections
from streamer.world import Truth

MATCH_IOU = 0.5
CLEAR_PIXELS = 48
CLEAR_VISIBILITY = 0.25
LOWEST_SCORE = 0.001  # an answer below it changes no number


def difficult(truth: Truth) -> NDArray[np.bool_]:
    """Which objects show too little of themselves to be asked for, bool (N,)."""
    pixels = np.bincount(truth.instances[truth.instances >= 0], minlength=len(truth.labels))
    hard: NDArray[np.bool_] = (pixels < CLEAR_PIXELS) | (truth.visibility < CLEAR_VISIBILITY)
    return hard


def likeness(boxes_xyxy: F32, labels: I64, found: Detections) -> F32:
    """IoU (N, M) of true objects and detections, 0 where the labels differ."""
    overlap = iou_matrix(boxes_xyxy, found.boxes_xyxy)
    return np.where(labels[:, None] == found.labels[None, :], overlap, np.float32(0))


def partners(alike: F32) -> I64:
    """For each of N objects the row of the detection that stands for it, or -1: i64 (N,).

    Pairs overlap by at least MATCH_IOU, each row is taken once, and the overlaps' sum is the largest possible.
    """
    possible = alike >= MATCH_IOU
    rows, columns = linear_sum_assignment(np.where(possible, alike, 0.0), maximize=True)
    fits = possible[rows, columns]
    partner = np.full(len(alike), -1, np.int64)
    partner[rows[fits]] = columns[fits]
    return partner


def mask_ious(truth: Truth, found: Detections, partner: I64) -> F32:
    """How well the masks of matched objects fit, f32 (N,), NaN for an object without partner or mask, and for one so
    small that neither mask has a cell.

    On the grid they are served on, half the picture's size, with the truth sampled at the same places.
    """
    ious = np.full(len(partner), np.nan, np.float32)
    if found.masks is None:
        return ious
    for row in np.flatnonzero(partner >= 0).tolist():
        mask = mask_from_rle(found.masks[partner[row]])
        real = sampled(truth.instances, mask.shape) == row
        union = (mask | real).sum()
        if union:
            ious[row] = (mask & real).sum() / union
    return ious


def sampled(full: NDArray[Any], grid_hw: tuple[int, ...]) -> NDArray[Any]:
    """A map (H, W) at the cells of a grid (h, w) that divides it, as the heads are trained: each cell's first pixel."""
    step_y, step_x = full.shape[0] // grid_hw[0], full.shape[1] // grid_hw[1]
    return full[::step_y, ::step_x]


def rows_as_boxes(
    outputs: Mapping[str, NDArray[Any]], index: int, valid: NDArray[np.bool_], input_hw: tuple[int, int]
) -> PictureBoxes:
    """All an engine said about picture `index`: each row that is no empty slot, once for each class."""
    boxes, scores = used_rows(outputs, index, valid, input_hw)
    rows, classes = np.nonzero(scores > LOWEST_SCORE)
    return PictureBoxes(boxes[rows], classes, scores[rows, classes])


def used_rows(
    outputs: Mapping[str, NDArray[Any]], index: int, valid: NDArray[np.bool_], input_hw: tuple[int, int]
) -> tuple[F32, F32]:
    """The rows of picture `index` that are no empty slot: boxes xyxy f32 (R, 4) px, class scores f32 (R, C)."""
    logits = outputs["pred_logits"][index].astype(np.float32)
    used = np.concatenate((valid, np.ones(len(logits) - len(valid), bool)))
    height, width = input_hw
    scale = np.array([width, height, width, height], np.float32)
    boxes = np.clip(xyxy_from_cxcywh(outputs["pred_boxes"][index][used].astype(np.float32)), 0, 1) * scale
    return boxes, 1 / (1 + np.exp(-logits[used]))
