"""Deformable attention over several grids: each query reads a few points of each, and learns where they lie.

Source: Zhu et al. 2021, Deformable DETR, section 4.1; parameter names are its authors'. Points are read bilinearly, in
one of two ways that answer alike: `grid` is one GridSample a level, the faster; `gather` reads the four cells around
each point by their numbers, for compilers that get GridSample wrong (some TensorRT builds do, and say nothing).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Sampler = Literal["grid", "gather"]
Hw = tuple[int, int]


class DeformAttention(nn.Module):
    """`query` (B, N, D) reads `points` points a head of each of `levels` grids whose cells lie in `memory` (B, S, D).

    Unlike other attention its weights come from the query alone, not from how it fits what is read.
    """

    def __init__(self, dim: int, heads: int, levels: int, points: int = 4, sampler: Sampler = "grid") -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} channels")
        self.heads, self.levels, self.points = heads, levels, points
        self.sample = sampled_by_gather if sampler == "gather" else sampled_by_grid
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._spread_points()

    def _spread_points(self) -> None:
        """At first each head looks its own way, point i by i + 1 cells, all with the same weight."""
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        way = torch.stack((angle.cos(), angle.sin()), dim=-1)
        way = way / way.abs().amax(dim=-1, keepdim=True)  # onto the edge of a square, as the authors have it
        steps = way[:, None, None, :] * torch.arange(1, self.points + 1)[:, None]  # (h, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(steps.expand(-1, self.levels, -1, -1).flatten())
        for still in (
            self.sampling_offsets.weight,
            self.attention_weights.weight,
            self.attention_weights.bias,
        ):
            nn.init.zeros_(still)

    def forward(
        self, query: Tensor, reference: Tensor, memory: Tensor, valid: Tensor, grids: Sequence[Hw]
    ) -> Tensor:
        """To (B, N, D).

        `reference` (B, N, L, 2) is where each query is on each level's grid, x and y in 0..1 of the whole grid; or
        (B, N, L, 4) boxes cxcywh, and an offset of P reaches the box's edge. `valid` f32 (B, S, 1) is 0 for cells of
        padding, which read as nothing. `grids` are rows and columns of the L levels.
        """
        n, dim = query.shape[1:]
        heads, points, wide = self.heads, self.points, dim // self.heads
        values = self.value_proj(memory) * valid  # (B, S, D)
        offsets = self.sampling_offsets(query).view(-1, n, heads, self.levels, points, 2)
        logits = self.attention_weights(query).view(-1, n, heads, self.levels * points)
        weights = torch.softmax(logits, dim=-1).view(-1, n, heads, self.levels, points)
        read: Tensor | None = None
        begin = 0
        for level, (rows, columns) in enumerate(grids):
            table = values[:, begin : begin + rows * columns].transpose(1, 2)  # (B, D, cells)
            table = table.reshape(-1, wide, rows, columns)  # (B, h*d, cells) -> (B*h, d, rows, columns)
            begin += rows * columns
            at = self._places(
                reference[:, :, level], offsets[:, :, :, level], (rows, columns)
            )  # (B, N, h, P, 2)
            at = at.transpose(1, 2).reshape(-1, n, points, 2)  # (B, h, N, P, 2) -> (B*h, N, P, 2)
            weight = weights[:, :, :, level].transpose(1, 2).reshape(-1, 1, n, points)  # (B*h, 1, N, P)
            one = (self.sample(table, at) * weight).sum(dim=-1)  # (B*h, d, N)
            read = one if read is None else read + one
        assert read is not None
        out: Tensor = self.output_proj(read.reshape(-1, dim, n).transpose(1, 2))  # (B*h, d, N) -> (B, N, D)
        return out

    def _places(self, reference: Tensor, offsets: Tensor, grid: Hw) -> Tensor:
        """Reference (B, N, 2 or 4) and offsets (B, N, h, P, 2) to places in 0..1 of the grid, (B, N, h, P, 2).

        An offset of 1 goes 1/rows of the grid's width in x and 1/columns of its height in y: crosswise, and not one
        cell each way as in the paper. TrackFormer's authors train it so, and their weights know no other.
        """
        centre = reference[:, :, None, None, :2]
        if reference.shape[-1] == 2:
            return centre + offsets / offsets.new_tensor(grid)
        return centre + offsets / self.points * reference[:, :, None, None, 2:] * 0.5


def sampled_by_grid(table: Tensor, at: Tensor) -> Tensor:
    """`table` (R, d, rows, columns) read at places `at` (R, N, P, 2), x and y in 0..1: (R, d, N, P); 0 outside."""
    return F.grid_sample(table, 2 * at - 1, mode="bilinear", padding_mode="zeros", align_corners=False)


def sampled_by_gather(table: Tensor, at: Tensor) -> Tensor:
    """The same as `sampled_by_grid`, by the numbers of the four cells around each place."""
    rows, columns = table.shape[-2:]
    n, points = at.shape[1:3]
    place = at.reshape(-1, n * points, 2) * at.new_tensor([columns, rows]) - 0.5  # (R, N*P, 2), cell 0 at 0.0
    low = torch.floor(place)
    part = place - low  # how far towards the next cell
    flat = table.flatten(2)  # (R, d, cells)
    total: Tensor | None = None
    for right in (0, 1):
        for down in (0, 1):
            x, y = low[..., 0] + right, low[..., 1] + down  # (R, N*P)
            share = (part[..., 0] if right else 1 - part[..., 0]) * (
                part[..., 1] if down else 1 - part[..., 1]
            )
            inside = (x >= 0) & (x <= columns - 1) & (y >= 0) & (y <= rows - 1)
            cell = (y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1)).long()
            read = flat.gather(2, cell.unsqueeze(1).expand(-1, flat.shape[1], -1))  # (R, d, N*P)
            one = read * (share * inside.to(share.dtype)).unsqueeze(1)
            total = one if total is None else total + one
    assert total is not None
    return total.reshape(-1, table.shape[1], n, points)  # (R, d, N*P) -> (R, d, N, P)
