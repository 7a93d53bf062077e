"""Boxes, pure: conversions, overlaps, and the map from an engine's picture back to the source's pixels."""

from __future__ import annotations

import numpy as np

from streamer.types import F32, Hw


def xyxy_from_cxcywh(boxes_cxcywh: F32) -> F32:
    """(…, 4) centre/size to corners, same unit."""
    half = boxes_cxcywh[..., 2:] * np.float32(0.5)
    centre = boxes_cxcywh[..., :2]
    return np.concatenate([centre - half, centre + half], axis=-1)


def cxcywh_from_xyxy(boxes_xyxy: F32) -> F32:
    """(…, 4) corners to centre/size, same unit."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return np.concatenate([(low + high) * np.float32(0.5), high - low], axis=-1)


def source_px_from_unit(boxes_xyxy_unit: F32, source_hw: Hw) -> F32:
    """(N, 4) boxes in 0..1 of a stretched picture to pixels of the source, clipped to it."""
    h, w = source_hw
    scale = np.array([w, h, w, h], np.float32)
    return np.clip(boxes_xyxy_unit, 0.0, 1.0).astype(np.float32) * scale


def iou_matrix(a_xyxy: F32, b_xyxy: F32) -> F32:
    """(N, M) intersection over union of (N, 4) and (M, 4) boxes; an empty box overlaps nothing."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    area_a = np.prod(np.clip(a_xyxy[:, 2:] - a_xyxy[:, :2], 0.0, None), axis=-1)
    area_b = np.prod(np.clip(b_xyxy[:, 2:] - b_xyxy[:, :2], 0.0, None), axis=-1)
    union = area_a[:, None] + area_b[None, :] - inter
    return np.where(union > 0, inter / np.maximum(union, 1e-12), 0.0).astype(np.float32)
