"""What the heads beside detection are asked for: the semantic map, key points of matched people, what they do.

Unknown truth asks for nothing: 255 in a semantic map, key points of v below 0, actions below 0; so a data set that is
silent about a head leaves it as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from engines.models.street_heads import KEY_REACH, KEY_SIGMA

WEIGHTS = {"semantic": 1.0, "areas": 0.5, "keypoints": 6.0, "guesses": 2.0, "seen": 0.3, "action": 0.5}
UNKNOWN_CLASS = 255


def semantic_losses(logits: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Cross-entropy, and dice by class over the whole batch, for the mean IoU counts small classes as large ones.

    logits (F, C, h, w); truth u8 (F, h, w), UNKNOWN_CLASS where nothing is known.
    """
    logits = logits.float()
    target = truth.long()
    known = target != UNKNOWN_CLASS
    if not known.any():
        nothing = logits.sum() * 0
        return {"semantic": nothing, "areas": nothing}
    cross = F.cross_entropy(logits, target, ignore_index=UNKNOWN_CLASS)
    p = torch.softmax(logits, dim=1) * known.unsqueeze(1)
    wanted = F.one_hot(target.where(known, 0), logits.shape[1]).permute(0, 3, 1, 2) * known.unsqueeze(1)
    both, either = (p * wanted).sum((0, 2, 3)), p.sum((0, 2, 3)) + wanted.sum((0, 2, 3))  # (C,)
    there = wanted.sum((0, 2, 3)) > 0
    dice = 1 - (2 * both + 1) / (either + 1)
    return {"semantic": cross, "areas": (dice * there).sum() / there.sum().clamp(min=1)}


def key_places(
    features: Tensor, kernels: Tensor, guesses: Tensor, boxes: Tensor, grid_hw: tuple[int, int]
) -> Tensor:
    """Where the key points are, in boxes from the box's centre: f32 (F, R, P, 2). The served reading, in torch.

    features (F, c, h, w); of R rows: kernels (F, R, P * c), guesses (F, R, P, 2), boxes f32 (F, R, 4) cxcywh.
    """
    rows, columns = grid_hw
    frames, r, points, _ = guesses.shape
    channels = features.shape[1]
    v = (
        (torch.arange(rows, device=boxes.device) + 0.5) / rows - 0.5
    ) * KEY_REACH  # in boxes, from the centre
    u = ((torch.arange(columns, device=boxes.device) + 0.5) / columns - 0.5) * KEY_REACH
    x = boxes[..., 0:1] + boxes[..., 2:3] * u  # (F, R, columns) in 0..1
    y = boxes[..., 1:2] + boxes[..., 3:4] * v  # (F, R, rows)
    grid = torch.stack(
        (x.unsqueeze(2).expand(-1, -1, rows, -1), y.unsqueeze(3).expand(-1, -1, -1, columns)), dim=-1
    )
    grid = (grid * 2 - 1).view(frames, r * rows, columns, 2)
    read = F.grid_sample(features.float(), grid, padding_mode="border", align_corners=False)
    read = read.view(frames, channels, r, rows * columns).transpose(
        1, 2
    )  # (F, c, R*rows, columns) -> (F, R, c, cells)
    logits = (kernels.float().view(frames, r, points, channels) * channels**-0.5) @ read  # (F, R, P, cells)
    across = -0.5 * ((u - guesses[..., :1]) / KEY_SIGMA).square()  # (F, R, P, columns)
    down = -0.5 * ((v - guesses[..., 1:]) / KEY_SIGMA).square()  # (F, R, P, rows)
    window = (down.unsqueeze(-1) + across.unsqueeze(-2)).flatten(-2)
    p = torch.softmax(logits + window, dim=-1).view(frames, r, points, rows, columns)
    return torch.stack(((p.sum(-2) * u).sum(-1), (p.sum(-1) * v).sum(-1)), dim=-1)


def key_losses(
    features: Tensor,
    rows: tuple[Tensor, Tensor, Tensor],
    boxes: Tensor,
    truth: Tensor,
    there: Tensor,
    grid_hw: tuple[int, int],
) -> dict[str, Tensor]:
    """Distance of key points, of the first guesses too, in boxes; and whether each is seen.

    features (F, c, h, w); `rows`: kernels (F, R, P*c), logits (F, R, P), guesses (F, R, P, 2); boxes f32 (F, R, 4) as
    the rows have them; truth f32 (F, R, P, 3) x, y in 0..1 and v (below 0: unknown, 0 not in the picture, 1 hidden, 2
    seen); there f32 (F, R): 1 where the row is a person. A hidden point counts half.
    """
    kernels, logits, guesses = rows
    boxes = boxes.detach()
    boxes = torch.cat((boxes[..., :2], boxes[..., 2:].clamp(min=1 / 512)), dim=-1)
    v = truth[..., 2]
    wanted = (truth[..., :2] - boxes[..., None, :2]) / boxes[..., None, 2:]  # (F, R, P, 2) in boxes
    near = (wanted.abs() < 1.0).all(-1)  # a box far off teaches nothing about limbs
    weight = there.unsqueeze(-1) * near * torch.where(v > 1.5, 1.0, torch.where(v > 0.5, 0.5, 0.0))
    found = key_places(features, kernels, guesses, boxes, grid_hw)
    count = weight.sum().clamp(min=1)
    known = there.unsqueeze(-1) * (v >= 0)
    cross = F.binary_cross_entropy_with_logits(
        logits.float(), (v.clamp(min=0) / 2).clamp(max=1), known, reduction="sum"
    )
    return {
        "keypoints": ((found - wanted).abs().sum(-1) * weight).sum() / count,
        "guesses": ((guesses.float() - wanted).abs().sum(-1) * weight).sum() / count,
        "seen": cross / known.sum().clamp(min=1),
    }


def action_loss(logits: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Cross-entropy of what single frames say: logits (..., C), truth i64 (...), below 0 where unknown."""
    known = truth >= 0
    cross = F.cross_entropy(logits.float()[known], truth[known], reduction="sum", label_smoothing=0.05)
    return {"action": cross / known.sum().clamp(min=1)}
