"""Where a user's data is silent nothing is asked: rows on ignored areas, cells in them, labels it never speaks of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from engines.models.boxes import cxcywh_to_xyxy
from engines.training.clips import ClipBatch
from engines.training.device import CPU, on_device

INSIDE = 0.5  # of a row's box, for the row to lie on an ignored area


def asked_rows(batch: ClipBatch, boxes: Tensor, places: Tensor) -> Tensor:
    """f32 (T,B,N): 0 for a row that answers for nothing on an ignored area; boxes (T,B,N,4) cxcywh, places (T,B,N)."""
    if batch.ignored is None or not batch.ignored.any():
        return torch.ones(places.shape, device=boxes.device)
    areas = on_device(batch.ignored, boxes.device).flatten(0, 1)
    covered = share_of(areas, boxes.flatten(0, 1)).view(places.shape)
    return ((covered <= INSIDE) | (places >= 0)).float()


def share_of(areas: Tensor, boxes: Tensor) -> Tensor:
    """How much of each box lies in an area: areas bool (F, h, w), boxes (F, N, 4) cxcywh in 0..1 to f32 (F, N).

    By a table of sums; corners fall on cell edges. What lies outside the picture counts as outside the area.
    """
    h, w = areas.shape[1:]
    table = F.pad(areas.float().cumsum(1).cumsum(2), (1, 0, 1, 0)).flatten(1)  # (F, (h + 1) * (w + 1))
    size = torch.tensor([w, h, w, h], device=boxes.device)
    cells = (cxcywh_to_xyxy(boxes.detach().float()) * size).round()
    whole = ((cells[..., 2] - cells[..., 0]) * (cells[..., 3] - cells[..., 1])).clamp(min=1)
    x0, y0, x1, y1 = torch.minimum(cells.clamp(min=0), size).long().unbind(-1)

    def up_to(y: Tensor, x: Tensor) -> Tensor:
        return table.gather(1, y * (w + 1) + x)

    return (up_to(y1, x1) - up_to(y0, x1) - up_to(y1, x0) + up_to(y0, x0)) / whole


def asked_labels(batch: ClipBatch, device: torch.device = CPU) -> Tensor | None:
    """f32 (B, C): 0 for a label of which the lane's data is silent; None where all are told."""
    return None if batch.told is None else on_device(batch.told, device).float()


def asked_cells(batch: ClipBatch, device: torch.device = CPU) -> Tensor | None:
    """Bool (T*B, C, H/4, W/4): where the dense head must say that no centre is; None for everywhere."""
    if batch.ignored is None or batch.told is None:
        return None
    areas = on_device(batch.ignored, device).flatten(0, 1).unsqueeze(1)  # (T*B, 1, H/2, W/2)
    silent = F.max_pool2d(areas.float(), 2) > 0.5
    told = on_device(batch.told, device).repeat(batch.labels.shape[0], 1)  # (T*B, C), frame first
    return told[:, :, None, None] & ~silent
