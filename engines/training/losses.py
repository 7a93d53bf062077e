"""What the street model is asked for, as numbers to make small.

Rows: varifocal class loss (Zhang et al. 2021; the target of a matched row is its IoU, so a score says how well the box
fits), L1 and generalised IoU of the box, for every decoder layer with one match. Masks: cross-entropy and dice inside
the true box. Dense head: penalty-reduced focal loss on a map of centres (Zhou et al. 2019), generalised IoU near them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from engines.models.boxes import cxcywh_to_xyxy, iou_and_giou
from engines.models.street import Scene
from engines.models.street_parts import LayerOutput
from engines.training.clips import UNKNOWN_MASK

WEIGHTS = {"class": 2.0, "l1": 5.0, "giou": 2.0, "mask": 2.5, "dice": 3.0, "heat": 1.0, "dense": 2.0}


def row_losses(
    outputs: list[list[LayerOutput]],
    places: Tensor,
    valid: Tensor,
    true_boxes: Tensor,
    true_labels: Tensor,
    told: Tensor | None = None,
) -> dict[str, Tensor]:
    """Losses of all rows of all layers of all frames.

    outputs[t][layer]; places i64 (T,B,N): the object a row answers for, or below 0; valid f32 (T,B,N): 0 for empty
    slots; true_boxes (T,B,G,4) cxcywh; true_labels i64 (T,B,G); told f32 (B,C): 0 for a label of which the lane's data
    is silent. Sums over layers, by the number of matched rows.
    """
    logits = torch.stack(
        [torch.stack([layer.logits.float() for layer in frame]) for frame in outputs]
    )  # (T,L,B,N,C)
    boxes = torch.stack(
        [torch.stack([layer.boxes for layer in frame]) for frame in outputs]
    )  # (T, L, B, N, 4)
    t, lane, row = torch.nonzero(places >= 0, as_tuple=True)  # P matched rows
    count = max(len(t), 1)
    place = places[t, lane, row]
    wanted = true_boxes[t, lane, place].unsqueeze(1)  # (P, 1, 4)
    label = true_labels[t, lane, place]  # (P,)
    found = boxes.transpose(0, 1)[:, t, lane, row].transpose(0, 1)  # (P, L, 4)
    iou, giou = iou_and_giou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(wanted))  # (P, L)
    target = torch.zeros_like(logits)
    layers = torch.arange(logits.shape[1], device=logits.device)
    target[t[:, None], layers[None], lane[:, None], row[:, None], label[:, None]] = iou.detach().clamp(
        min=0.05
    )
    p = logits.detach().sigmoid()
    weight = torch.where(target > 0, target, 0.75 * p.square()) * valid[:, None, :, :, None]
    if told is not None:
        weight = weight * told[:, None, :]  # (B, C) -> (B, 1, C)
    cross = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    return {
        "class": cross / count,
        "l1": (found - wanted).abs().sum() / count,
        "giou": (1 - giou).sum() / count,
    }


def mask_losses(
    mask_embed: Tensor, mask_features: Tensor, places: Tensor, boxes: Tensor, masks: Tensor
) -> dict[str, Tensor]:
    """Cross-entropy and dice of each matched row's mask inside its true box.

    F = T*B frames: mask_embed (F,N,M), mask_features (F,M,h,w), places i64 (F,N), boxes (F,G,4) cxcywh, masks u8
    (F,h,w) with the object's place at each pixel, UNKNOWN_MASK where nothing is known.
    """
    order, place, here = matched_first(places)  # (F, R) each
    width = order.shape[1]
    embed = mask_embed.gather(1, order.unsqueeze(-1).expand(-1, -1, mask_embed.shape[-1]))  # (F, R, M)
    h, w = mask_features.shape[-2:]
    logits = (embed @ mask_features.flatten(2)).float().view(-1, width, h, w)  # (F, R, h, w)
    target = (masks.unsqueeze(1) == place[:, :, None, None]).float()
    known = (masks != UNKNOWN_MASK).unsqueeze(1)
    corners = (
        cxcywh_to_xyxy(boxes).gather(1, place.unsqueeze(-1).expand(-1, -1, 4)).unsqueeze(2)
    )  # (F, R, 1, 4)
    ys = (torch.arange(h, device=boxes.device) + 0.5) / h
    xs = (torch.arange(w, device=boxes.device) + 0.5) / w
    in_y = (ys >= corners[..., 1] - 0.5 / h) & (
        ys <= corners[..., 3] + 0.5 / h
    )  # (F, R, h), one cell of margin
    in_x = (xs >= corners[..., 0] - 0.5 / w) & (xs <= corners[..., 2] + 0.5 / w)  # (F, R, w)
    inside = (in_y.unsqueeze(-1) & in_x.unsqueeze(-2) & known).float() * here[:, :, None, None]
    area = inside.sum((2, 3)).clamp(min=1)
    cross = F.binary_cross_entropy_with_logits(logits, target, inside, reduction="none").sum((2, 3)) / area
    p = logits.sigmoid() * inside
    target = target * inside
    dice = 1 - (2 * (p * target).sum((2, 3)) + 1) / (p.sum((2, 3)) + target.sum((2, 3)) + 1)
    count = here.sum().clamp(min=1)
    return {"mask": cross.sum() / count, "dice": (dice * here).sum() / count}


def matched_first(places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of places i64 (F, N), the matched rows first: their rows i64 (F, R), their places (F, R), f32 1 where real.

    R is the most that any frame has, at least 1.
    """
    matched = places >= 0
    width = max(int(matched.sum(1).max()), 1)
    order = matched.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
    return order, places.gather(1, order).clamp(min=0), matched.gather(1, order).float()


def dense_losses(
    scene: Scene, true_boxes: Tensor, true_labels: Tensor, asked: Tensor | None = None
) -> dict[str, Tensor]:
    """Centre map and side distances of the dense head. true_boxes (F,G,4) cxcywh, true_labels i64 (F,G).

    `asked` bool (F,C,rows,columns): where a cell without a centre must say so; None: everywhere.
    """
    heat_logits = scene.heat_logits.float()
    _, classes, rows, columns = heat_logits.shape
    size = torch.tensor([columns, rows], dtype=torch.float32, device=true_boxes.device)
    there = true_labels >= 0
    centre = true_boxes[..., :2] * size  # in cells
    cell = torch.minimum(centre.floor(), size - 1).clamp(min=0)  # the cell that holds the centre
    sigma = (true_boxes[..., 2:] * size * 0.15).clamp(min=0.4)
    x, y = (torch.arange(n, device=true_boxes.device) for n in (columns, rows))
    in_x = torch.exp(-0.5 * ((x - cell[..., :1]) / sigma[..., :1]).square())  # (F, G, columns)
    in_y = torch.exp(-0.5 * ((y - cell[..., 1:]) / sigma[..., 1:]).square())  # (F, G, rows)
    bump = (
        in_y.unsqueeze(-1) * in_x.unsqueeze(-2) * there[:, :, None, None]
    )  # (F, G, rows, columns), 1 at the cell
    heat = torch.stack([(bump * (true_labels == c)[:, :, None, None]).amax(1) for c in range(classes)], dim=1)
    p = heat_logits.sigmoid()
    centres = heat > 0.999
    positive = -(1 - p).square() * F.logsigmoid(heat_logits) * centres
    negative = -(1 - heat).pow(4) * p.square() * F.logsigmoid(-heat_logits) * ~centres
    if asked is not None:
        negative = negative * asked
    count = there.sum().clamp(min=1)
    best, owner = bump.flatten(2).max(dim=1)  # (F, S): how near the nearest centre is, and whose it is
    f, s = torch.nonzero(best > 0.5, as_tuple=True)
    near = best[f, s]
    wanted = true_boxes[f, owner[f, s]]
    giou = iou_and_giou(cxcywh_to_xyxy(scene.dense_boxes[f, s]), cxcywh_to_xyxy(wanted))[1]
    return {
        "heat": (positive + negative).sum() / count,
        "dense": ((1 - giou) * near).sum() / near.sum().clamp(min=1),
    }
