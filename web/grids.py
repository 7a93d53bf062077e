"""Parts of a result that are grids, blended into a picture: one object's mask, the map of what is ground."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.masks import map_from_runs, mask_from_rle
from streamer.types import U8, MaskRLE
from web.colours import Bgr, ground_of

UNSEEN: Final = 255  # in a map of classes: the model did not look
_FILL: Final = 0.36
_GROUND: Final = 0.45


def blend_ground(picture_bgr: U8, semantic: Mapping[str, Any]) -> None:
    """Tint the picture u8 (H, W, 3), in place, by the classes of a result's `semantic`; what was not seen stays."""
    height, width = picture_bgr.shape[:2]
    classes = map_from_runs(semantic["values"], semantic["counts"], tuple(semantic["size_hw"]))
    table = np.zeros((256, 3), np.float32)
    kept = np.ones(256, np.float32)  # how much of the picture stays
    for value in set(semantic["values"]) - {UNSEEN}:
        table[value] = np.array(ground_of(value, semantic["names"])) * _GROUND
        kept[value] = 1 - _GROUND
    fine = cv2.resize(classes, (width, height), interpolation=cv2.INTER_NEAREST)
    picture_bgr[:] = (picture_bgr * kept[fine][..., None] + table[fine]).astype(np.uint8)


def blend_mask(picture_bgr: U8, rle: Mapping[str, Any], colour: Bgr, line: int) -> None:
    """Blend one mask over the part of the picture that it covers, and trace its outline, `line` px wide."""
    mask = mask_from_rle(MaskRLE(tuple(rle["size_hw"]), tuple(rle["counts"])))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    height, width = picture_bgr.shape[:2]
    y_scale, x_scale = height / mask.shape[0], width / mask.shape[1]
    top, bottom = round(rows[0] * y_scale), round((rows[-1] + 1) * y_scale)
    left, right = round(columns[0] * x_scale), round((columns[-1] + 1) * x_scale)
    if bottom <= top or right <= left:
        return
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8) * 255
    fine: NDArray[np.bool_] = (
        cv2.resize(crop, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR) > 127
    )
    part = picture_bgr[top:bottom, left:right]
    part[fine] = (part[fine] * (1 - _FILL) + np.array(colour) * _FILL).astype(np.uint8)
    outlines, _ = cv2.findContours(fine.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture_bgr, outlines, -1, colour, max(1, line - 1), cv2.LINE_AA, offset=(left, top))
