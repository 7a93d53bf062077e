"""Boxes as tensors: the few formulas that models and losses share. Layout is in every name; coordinates are 0..1."""

from __future__ import annotations

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Centre and size to corners, (..., 4) to (..., 4)."""
    centre, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """Corners to centre and size, (..., 4) to (..., 4)."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def iou_and_giou(first_xyxy: Tensor, second_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes that broadcast against each other: (..., 4), (..., 4) to two (...).

    Generalised IoU: Rezatofighi et al. 2019, IoU minus the share of the enclosing box that neither covers.
    """
    inner = torch.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:]) - torch.maximum(
        first_xyxy[..., :2], second_xyxy[..., :2]
    )
    hull = torch.maximum(first_xyxy[..., 2:], second_xyxy[..., 2:]) - torch.minimum(
        first_xyxy[..., :2], second_xyxy[..., :2]
    )
    inner, hull = inner.clamp(min=0), hull.clamp(min=0)
    first = (first_xyxy[..., 2:] - first_xyxy[..., :2]).clamp(min=0)
    second = (second_xyxy[..., 2:] - second_xyxy[..., :2]).clamp(min=0)
    overlap = inner[..., 0] * inner[..., 1]
    union = first[..., 0] * first[..., 1] + second[..., 0] * second[..., 1] - overlap
    hull_area = hull[..., 0] * hull[..., 1]
    iou = overlap / union.clamp(min=1e-9)
    return iou, iou - (hull_area - union) / hull_area.clamp(min=1e-9)


def iou_cxcywh(first_cxcywh: Tensor, second_cxcywh: Tensor) -> Tensor:
    """IoU of boxes that broadcast against each other: (..., 4), (..., 4) to (...)."""
    return iou_and_giou(cxcywh_to_xyxy(first_cxcywh), cxcywh_to_xyxy(second_cxcywh))[0]
