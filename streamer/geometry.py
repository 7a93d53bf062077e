"""Boxes, pure: conversions, overlaps, the map from an engine's picture back to the source's pixels; and where an object
stands, by polygons and lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.types import F32, Fit, Hw

F64 = NDArray[np.float64]

# So near to a polygon's edge, in fractions of the picture, is on it: less than a hundredth of a pixel.
EDGE = 1e-6


def xyxy_from_cxcywh(boxes_cxcywh: F32) -> F32:
    """(…, 4) centre/size to corners, same unit."""
    half = boxes_cxcywh[..., 2:] * np.float32(0.5)
    centre = boxes_cxcywh[..., :2]
    return np.concatenate([centre - half, centre + half], axis=-1)


def cxcywh_from_xyxy(boxes_xyxy: F32) -> F32:
    """(…, 4) corners to centre/size, same unit."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return np.concatenate([(low + high) * np.float32(0.5), high - low], axis=-1)


def placed(source_hw: Hw, input_hw: Hw, fit: Fit) -> tuple[int, int, int, int]:
    """Where the whole source picture lies in the engine's: top, left, height, width, in the engine's pixels.

    With CROP it sticks out on two sides: top or left is below 0. At least one pixel each way.
    """
    (h, w), (rows, columns) = source_hw, input_hw
    if fit is Fit.STRETCH:
        return 0, 0, rows, columns
    scale = (max if fit is Fit.CROP else min)(rows / h, columns / w)
    height, width = max(1, round(h * scale)), max(1, round(w * scale))
    if fit is Fit.CROP:
        height, width = max(height, rows), max(width, columns)
    else:
        height, width = min(height, rows), min(width, columns)
    if fit is Fit.PAD:
        return 0, 0, height, width
    return (rows - height) // 2, (columns - width) // 2, height, width


def source_px_from_unit(
    boxes_xyxy_unit: F32, source_hw: Hw, input_hw: Hw | None = None, fit: Fit = Fit.STRETCH
) -> F32:
    """(N, 4) boxes in 0..1 of the engine's picture to pixels of the source, clipped to it.

    `input_hw` is needed for every `fit` but STRETCH. A box outside the source's picture comes back empty.
    """
    h, w = source_hw
    unit = boxes_xyxy_unit
    if fit is not Fit.STRETCH:
        assert input_hw is not None
        top, left, height, width = placed(source_hw, input_hw, fit)
        rows, columns = input_hw
        scale = np.array([columns, rows, columns, rows], np.float32)
        origin = np.array([left, top, left, top], np.float32)
        unit = ((unit * scale - origin) / np.array([width, height, width, height])).astype(np.float32)
    return np.clip(unit, 0.0, 1.0).astype(np.float32) * np.array([w, h, w, h], np.float32)


def iou_matrix(a_xyxy: F32, b_xyxy: F32) -> F32:
    """(N, M) intersection over union of (N, 4) and (M, 4) boxes; an empty box overlaps nothing."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    area_a = np.prod(np.clip(a_xyxy[:, 2:] - a_xyxy[:, :2], 0.0, None), axis=-1)
    area_b = np.prod(np.clip(b_xyxy[:, 2:] - b_xyxy[:, :2], 0.0, None), axis=-1)
    union = area_a[:, None] + area_b[None, :] - inter
    return np.where(union > 0, inter / np.maximum(union, 1e-12), 0.0).astype(np.float32)


def feet_unit(boxes_xyxy: F32, source_hw: Hw) -> F64:
    """(N, 2) x, y of where each of (N, 4) boxes (px) stands, in fractions of the picture: the middle of its foot."""
    h, w = source_hw
    boxes = boxes_xyxy.astype(np.float64)
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / (2 * w), boxes[:, 3] / h], axis=-1)


def in_polygon(points: F64, corners: F64) -> NDArray[np.bool_]:
    """(N,) which of (N, 2) points lie in the polygon of (K, 2) corners, or on its edge (that of the picture is one)."""
    ahead = np.roll(corners, -1, axis=0) - corners  # (K, 2)
    from_corner = points[:, None, :] - corners[None]  # (N, K, 2)
    # A ray to the right meets an edge that has one end above the point and one end not.
    above, below = from_corner[..., 1] < 0, from_corner[..., 1] - ahead[None, :, 1] < 0
    turn = ahead[None, :, 0] * from_corner[..., 1] - ahead[None, :, 1] * from_corner[..., 0]
    met = (above != below) & ((turn > 0) == (ahead[None, :, 1] > 0))
    length2 = np.maximum((ahead**2).sum(-1), 1e-24)
    along = np.clip((from_corner * ahead[None]).sum(-1) / length2, 0.0, 1.0)
    off2 = ((from_corner - along[..., None] * ahead[None]) ** 2).sum(-1)
    return np.asarray((met.sum(-1) % 2 == 1) | (off2 <= EDGE**2).any(-1))


def beside_line(points: F64, start: F64, end: F64) -> tuple[F64, F64]:
    """Of (N, 2) points by the line from `start` to `end` (2,): distances (N,), positive to its right as seen along it
    (y grows downwards), and places along it (N,), 0 at its start and 1 at its end. All in one unit, both ways the same.
    """
    ahead = end - start
    length = float(np.hypot(*ahead))
    off = points - start
    return (ahead[0] * off[:, 1] - ahead[1] * off[:, 0]) / length, off @ ahead / length**2
