"""The street model's shapes and layers: its config, the dense head that proposes, and one layer of the decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.attention import BoxPairBias, FeedForward, GaussianCrossAttention, SelfAttention
from engines.models.backbone import conv_bn
from streamer.errors import EngineError

STRIDE = 8
RARE = math.log(0.01 / 0.99)  # a class head's first bias: every score starts at 0.01 (Lin et al. 2017)
SMALLEST_SIDE = 1 / 512  # boxes never shrink below half a pixel, so their logarithm stays finite


@dataclass(frozen=True, slots=True)
class StreetConfig:
    """All that fixes the graph's shapes, and how it is fed. `height` and `width` in pixels, multiples of 16.

    A head whose names are empty is not there. `mask_places`: masks know where they are. Key points are read on a grid
    of `key_grid_hw` rows and columns. A clip has `clip_frames` frames, `clip_stride_s` seconds apart; a ring's ages are
    counted in `clip_hz` to the second; what a ring keeps has `feature_dim` numbers, the last four a box.
    """

    height: int = 144
    width: int = 256
    labels: tuple[str, ...] = ("person", "car", "bus", "bicycle", "dog")
    widths: tuple[int, int, int, int] = (24, 48, 96, 160)
    hidden_dim: int = 128
    heads: int = 8
    layers: int = 3
    feed_dim: int = 512
    fine_dim: int = 64
    mask_channels: int = 24
    object_queries: int = 24
    track_slots: int = 20
    masks: bool = True
    mask_places: bool = False
    semantic_labels: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    key_channels: int = 24
    key_grid_hw: tuple[int, int] = (16, 12)
    action_labels: tuple[str, ...] = ()
    feature_dim: int = 64
    clip_frames: int = 8
    clip_stride_s: float = 0.16
    clip_hz: float = 12.5

    def __post_init__(self) -> None:
        if self.height % 16 or self.width % 16 or self.height < 32 or self.width < 32:
            raise EngineError(
                f"a picture of {self.width}x{self.height} does not divide into cells of 16 pixels",
                where="StreetConfig",
                mend="choose a height and width that are multiples of 16, at least 32",
            )

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Cells of the stride-8 grid, rows and columns."""
        return self.height // STRIDE, self.width // STRIDE

    @property
    def detailed(self) -> bool:
        """Whether some head reads the picture at stride 2 with all levels in it."""
        return bool(self.mask_places or self.semantic_labels or self.keypoint_names)

    @property
    def mask_hw(self) -> tuple[int, int]:
        """Rows and columns of the mask features."""
        return self.height // 2, self.width // 2

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> StreetConfig:
        """The inverse of `dataclasses.asdict` after a trip through JSON (lists become tuples again)."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})  # type: ignore[arg-type]


class LayerOutput(NamedTuple):
    """One decoder layer's answer: `logits` (B, N, C), `boxes` f32 (B, N, 4) cxcywh, `hs` (B, N, D)."""

    logits: Tensor
    boxes: Tensor
    hs: Tensor


class DenseHead(nn.Module):
    """For each stride-4 cell: is an object's centre here, of which class, and how far are its four sides.

    Stride 4, not 8: half of a street's objects are narrower than two cells of 8 pixels, and neighbours would share one.
    """

    cells: Tensor  # (1, S4, 2): x, y of each cell's centre, row by row

    def __init__(self, config: StreetConfig) -> None:
        super().__init__()
        self.trunk = conv_bn(config.fine_dim, config.fine_dim)
        self.heat = nn.Conv2d(config.fine_dim, len(config.labels), 1)
        self.sides = nn.Conv2d(config.fine_dim, 4, 1)
        nn.init.constant_(self.heat.bias, RARE)  # type: ignore[arg-type]
        rows, columns = config.height // 4, config.width // 4
        ys, xs = torch.meshgrid(
            (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
        )
        self.register_buffer(
            "cells", torch.stack((xs, ys), dim=-1).view(1, rows * columns, 2), persistent=False
        )

    def forward(self, f4: Tensor) -> tuple[Tensor, Tensor]:
        """To heat logits (B, C, H/4, W/4) and boxes f32 (B, S4, 4) cxcywh."""
        x = F.relu(self.trunk(f4))
        sides = self.sides(x).flatten(2).transpose(1, 2).float()  # (B, 4, H/4, W/4) -> (B, S4, 4): l t r b
        sides = torch.exp(sides.clamp(-4.0, 4.0))  # in cells
        cell = self.cells[:, :1] * 2  # (1, 1, 2): a cell's width and height as shares of the picture
        low, high = sides[..., :2] * cell, sides[..., 2:] * cell
        return self.heat(x), torch.cat((self.cells + (high - low) / 2, low + high), dim=-1)


class BoxPlace(nn.Module):
    """A box as a vector: sines of centre and size at rising frequencies, then two layers. (B, N, 4) to (B, N, D)."""

    bands: Tensor

    def __init__(self, dim: int, bands: int = 8) -> None:
        super().__init__()
        self.register_buffer("bands", math.pi * 2.0 ** torch.linspace(0, 5, bands), persistent=False)
        self.hidden = nn.Linear(8 * bands, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, boxes_cxcywh: Tensor) -> Tensor:
        angle = (boxes_cxcywh.unsqueeze(-1) * self.bands).flatten(-2)  # (B, N, 4, bands) -> (B, N, 4*bands)
        out: Tensor = self.out(F.relu(self.hidden(torch.cat((angle.sin(), angle.cos()), dim=-1))))
        return out


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the picture, then correct their boxes in units of their own size."""

    def __init__(self, config: StreetConfig) -> None:
        super().__init__()
        dim, classes = config.hidden_dim, len(config.labels)
        self.pair_bias = BoxPairBias(config.heads)
        self.among = SelfAttention(dim, config.heads)
        self.among_norm = nn.LayerNorm(dim)
        self.look = GaussianCrossAttention(dim, config.heads, config.grid_hw, 4 + classes)
        self.look_norm = nn.LayerNorm(dim)
        self.feed = FeedForward(dim, config.feed_dim)
        self.classify = nn.Linear(dim, classes)
        self.correct = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 4))
        nn.init.constant_(self.classify.bias, RARE)
        nn.init.zeros_(self.correct[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.correct[2].bias)  # type: ignore[arg-type]

    def forward(
        self,
        hs: Tensor,
        place: Tensor,
        boxes: Tensor,
        hidden_rows: Tensor,
        keys: Tensor,
        values: Tensor,
        evidence: Tensor,
        looks: list[Tensor] | None = None,
    ) -> LayerOutput:
        """`hs`, `place` (B, N, D); `boxes` (B, N, 4); `hidden_rows` (B, 1, 1, N) is MASKED where a slot is empty.

        `looks`, where given, gets how the rows looked at the picture (B, N, S).
        """
        bias = self.pair_bias(boxes) + hidden_rows
        hs = self.among_norm(hs + self.among(hs + place, hs, bias))
        hs = self.look_norm(hs + self.look(hs + place, boxes, keys, values, evidence, looks))
        hs = self.feed(hs)
        step = self.correct(hs).float()
        centre = boxes[..., :2] + step[..., :2] * boxes[..., 2:]
        size = boxes[..., 2:] * torch.exp(step[..., 2:].clamp(-2, 2))
        return LayerOutput(self.classify(hs), torch.cat((centre, size), dim=-1), hs)
