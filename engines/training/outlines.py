"""Masks as COCO writes them: polygons, run lengths as numbers, run lengths as text. Checked, and drawn on any grid.

Run lengths go down the columns, background first (https://github.com/cocodataset/cocoapi, common/maskApi.c).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from engines.training.annotated import Polygons, Rle
from engines.training.records import Record, are_numbers

_SUBPIXEL = 4  # bits after the point in OpenCV's coordinates
_FINER = 4  # rows and columns that a cell is drawn with


def outline_of(record: Record, height: int, width: int) -> Polygons | Rle | None:
    """The record's `segmentation`; None where it has none, or a wrong one, which was noted."""
    given = record.fields.get("segmentation")
    if given is None or given == []:
        return None
    if isinstance(given, dict):
        return _rle_of(record, given, height, width)
    if not isinstance(given, list) or not all(isinstance(polygon, list) for polygon in given):
        record.wrong("segmentation", "is neither polygons nor run lengths", "write [[x, y, x, y, …], …]")
        return None
    for polygon in given:
        if len(polygon) < 6 or len(polygon) % 2 or not are_numbers(polygon):
            what = f"a polygon of {len(polygon)} values is not three or more pairs of numbers"
            record.wrong("segmentation", what, "write [[x, y, x, y, x, y, …], …]")
            return None
    return tuple(tuple(float(x) for x in polygon) for polygon in given)


def _rle_of(record: Record, given: dict[str, Any], height: int, width: int) -> Rle | None:
    counts, size = given.get("counts"), given.get("size")
    if size != [height, width]:
        what = f"its run lengths are of size {size}, the picture's is [{height}, {width}]"
        record.wrong("segmentation.size", what, "write [height, width] of the picture")
        return None
    runs = _numbers_of(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(n, int) and n >= 0 for n in runs):
        runs = []
    if sum(runs) != height * width:
        said = sum(runs)
        what = f"its run lengths cover {said} pixels, the picture has {height * width}"
        record.wrong("segmentation.counts", what, "export the mask again")
        return None
    rle: Rle = mask_api.frPyObjects({"counts": runs, "size": size}, height, width)
    return rle


def _numbers_of(text: str) -> list[int] | None:
    """The run lengths that compressed text stands for: five bits a letter, each but the first three a difference."""
    runs: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    return runs if shift == 0 else None


def drawn(polygons: Polygons, from_px: NDArray[np.float64], grid_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The polygons' union on a grid: bool `grid_hw`. `from_px` (2, 3) takes the picture's pixels to cells."""
    rows, columns = grid_hw
    # fillPoly also paints the cells that an edge touches: on a finer grid these are a fraction of a cell
    canvas = np.zeros((rows * _FINER, columns * _FINER), np.uint8)
    for polygon in polygons:
        points = np.asarray(polygon, np.float64).reshape(-1, 2) @ from_px[:, :2].T + from_px[:, 2]
        points = np.clip(points * _FINER, -1e5, 1e5) - 0.5  # OpenCV counts from the middle of the first cell
        cv2.fillPoly(canvas, [np.round(points * 2**_SUBPIXEL).astype(np.int32)], 255, shift=_SUBPIXEL)
    inside: NDArray[np.bool_] = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA) > 127
    return inside


def decoded(rle: Rle) -> NDArray[np.uint8]:
    """Run lengths as a map u8 (height, width) of 0 and 1."""
    mask: NDArray[np.uint8] = mask_api.decode(rle)
    return mask
