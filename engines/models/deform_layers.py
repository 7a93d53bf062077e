"""Encoder and decoder of deformable attention: cells of several grids read each other, then queries read the cells.

Source: Zhu et al. 2021, Deformable DETR; module names are its authors'. Dropout, which only training has, is left out.

Dimensions: B pictures, S cells of all grids together, L grids, N queries, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.deform_attention import DeformAttention, Hw, Sampler
from engines.models.mha import MultiHeadAttention

CLOSEST = 1e-5  # a place is kept this far from 0 and 1 before its logit is taken


class EncoderLayer(nn.Module):
    """Each cell reads cells near it on every grid. (B, S, D) to (B, S, D)."""

    def __init__(
        self, dim: int, heads: int, levels: int, points: int, feed_dim: int, sampler: Sampler
    ) -> None:
        super().__init__()
        self.self_attn = DeformAttention(dim, heads, levels, points, sampler)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feed_dim)
        self.linear2 = nn.Linear(feed_dim, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, place: Tensor, reference: Tensor, valid: Tensor, grids: Sequence[Hw]
    ) -> Tensor:
        x = self.norm1(x + self.self_attn(x + place, reference, x, valid, grids))
        out: Tensor = self.norm2(x + self.linear2(F.relu(self.linear1(x))))
        return out


class Encoder(nn.Module):
    """All encoder layers, over the same grids."""

    def __init__(
        self, layers: int, dim: int, heads: int, levels: int, points: int, feed_dim: int, sampler: Sampler
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(dim, heads, levels, points, feed_dim, sampler) for _ in range(layers)
        )

    def forward(self, x: Tensor, place: Tensor, shares: Tensor, valid: Tensor, grids: Sequence[Hw]) -> Tensor:
        """`x`, `place` (B, S, D); `shares` (B, L, 2) as of `content_shares`; `valid` f32 (B, S, 1). To (B, S, D)."""
        reference = cell_centres(shares, grids)
        for layer in self.layers:
            x = layer(x, place, reference, valid, grids)
        return x


class DecoderLayer(nn.Module):
    """Queries settle among themselves who sees what, then read the picture. (B, N, D) to (B, N, D)."""

    def __init__(
        self, dim: int, heads: int, levels: int, points: int, feed_dim: int, sampler: Sampler
    ) -> None:
        super().__init__()
        self.cross_attn = DeformAttention(dim, heads, levels, points, sampler)
        self.norm1 = nn.LayerNorm(dim)
        self.self_attn = MultiHeadAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feed_dim)
        self.linear2 = nn.Linear(feed_dim, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        hs: Tensor,
        query_pos: Tensor,
        reference: Tensor,
        memory: Tensor,
        valid: Tensor,
        grids: Sequence[Hw],
        empty: Tensor,
    ) -> Tensor:
        placed = hs + query_pos
        hs = self.norm2(hs + self.self_attn(placed, placed, hs, empty)[0])
        hs = self.norm1(hs + self.cross_attn(hs + query_pos, reference, memory, valid, grids))
        out: Tensor = self.norm3(hs + self.linear2(F.relu(self.linear1(hs))))
        return out


class Decoder(nn.Module):
    """All decoder layers. With `bbox_embed`, a box head a layer, each layer moves the boxes that the next reads at."""

    def __init__(
        self, layers: int, dim: int, heads: int, levels: int, points: int, feed_dim: int, sampler: Sampler
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(dim, heads, levels, points, feed_dim, sampler) for _ in range(layers)
        )

    def forward(
        self,
        hs: Tensor,
        query_pos: Tensor,
        centres: Tensor,
        memory: Tensor,
        valid: Tensor,
        shares: Tensor,
        grids: Sequence[Hw],
        empty: Tensor,
        box_heads: nn.ModuleList,
        refine: bool,
    ) -> tuple[Tensor, Tensor]:
        """To the last hs (B, N, D) and boxes (B, N, 4) cxcywh in 0..1 of the content.

        `hs`, `query_pos` (B, N, D); `centres` (B, N, 2) in 0..1 of the content, `memory` (B, S, D), `valid` f32
        (B, S, 1), `shares` (B, L, 2) as of `content_shares`, `empty` bool (B, N): True for rows that nobody may see.
        """
        places = centres
        for layer, head in zip(self.layers, box_heads, strict=True):
            scale = shares if places.shape[-1] == 2 else torch.cat((shares, shares), dim=-1)
            reference = places.unsqueeze(2) * scale.unsqueeze(1)  # (B, N, 1, 2|4) * (B, 1, L, 2|4)
            hs = layer(hs, query_pos, reference, memory, valid, grids, empty)
            if refine:
                places = moved(head(hs), places)
        return hs, places if refine else moved(box_heads[-1](hs), places)


def moved(step: Tensor, places: Tensor) -> Tensor:
    """Boxes (…, 4) cxcywh in 0..1: `step` (…, 4) on the logits of `places` (…, 4), or of centres (…, 2)."""
    near = logit(places)
    if places.shape[-1] == 2:
        return torch.cat((step[..., :2] + near, step[..., 2:]), dim=-1).sigmoid()
    return (step + near).sigmoid()


def logit(x: Tensor) -> Tensor:
    """The inverse of the sigmoid, for x in 0..1; finite at the ends."""
    x = x.clamp(0.0, 1.0)
    return torch.log(x.clamp(min=CLOSEST) / (1 - x).clamp(min=CLOSEST))


def content_shares(paddings: Sequence[Tensor]) -> Tensor:
    """How much of each grid is content: L x bool (B, h, w), True = padding, to f32 (B, L, 2), x and y in 0..1."""
    shares = []
    for padding in paddings:
        valid = (~padding).float()
        shares.append(torch.stack((valid[:, 0].mean(dim=1), valid[:, :, 0].mean(dim=1)), dim=-1))
    return torch.stack(shares, dim=1)


def cell_centres(shares: Tensor, grids: Sequence[Hw]) -> Tensor:
    """Where each cell of each grid lies on every grid: (B, S, L, 2), x and y in 0..1 of the whole grid.

    A cell's place is told as a share of its own grid's content, and found again as that share of another's.
    """
    places = []
    for level, (rows, columns) in enumerate(grids):
        y = (torch.arange(rows, device=shares.device) + 0.5) / rows
        x = (torch.arange(columns, device=shares.device) + 0.5) / columns
        both = (x.expand(rows, columns), y.unsqueeze(1).expand(rows, columns))
        grid = torch.stack(both, dim=-1).flatten(0, 1)  # (rows, columns, 2) -> (rows*columns, 2)
        places.append(grid / shares[:, level : level + 1])  # (B, rows*columns, 2)
    return torch.cat(places, dim=1).unsqueeze(2) * shares.unsqueeze(1)  # (B, S, 1, 2) * (B, 1, L, 2)
