"""SETR: semantic segmentation as reading: a ViT encodes the picture, a small decoder draws the map of classes.

Source: Zheng et al. 2021, "Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers";
fudan-zvg/SETR (MIT) and mmsegmentation (Apache-2.0), whose three decoders are these:

    naive  norm ─ one 1x1 convolution ─ classes ─ one step up to the picture
    PUP    norm ─ 4 x (3x3 convolution, then twice the size) ─ classes: progressive upsampling
    MLA    4 blocks' tokens ─ 1x1 each ─ summed from the last to the first ─ 3x3 each ─ 2 x 3x3, four times the size,
           side by side ─ classes: multi-level feature aggregation. Its encoder reads the patches without a class token.

Dimensions: B pictures, N tokens, D width, C classes, rows x columns patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.files import load_weights, save_weights
from engines.models.vit import EPS, Triple, Trunk, check_blocks, check_heads, check_patches, normalised
from streamer.errors import EngineError

INPUT_NAMES = ("images",)
OUTPUT_NAMES = ("map",)  # or ("logits",): see SetrConfig.logits
FORMAT = "sightline.setr/1"
DECODERS = ("naive", "pup", "mla")
MLA_UP = 4  # how much larger than the patches' grid the MLA decoder's answer is
MOST_CLASSES = 255  # in a map of u8, of which the last number means "not seen"


@dataclass(frozen=True, slots=True)
class SetrConfig:
    """All that fixes the graph. `height`, `width`, `patch` in pixels; `mean` and `std` of pixels in 0..1.

    naive and PUP: one convolution of `kernel` and one enlargement for each of `ups`. MLA: tokens after each of `blocks`
    (from 0), `channels` then `head_channels` wide; its two authors differ in `classify_kernel` and `align_corners`.
    `full_size`: enlarge the logits to the picture's size, as both authors do before they compare; else the map stays at
    the decoder's scale. `logits`: give these and not the map.
    """

    height: int = 768
    width: int = 768
    labels: tuple[str, ...] = tuple(f"class {i}" for i in range(19))
    fit: str = "stretch"
    patch: int = 16
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_dim: int = 4096
    patch_bias: bool = True
    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)
    decoder: str = "pup"
    channels: int = 256
    kernel: int = 3
    ups: tuple[int, ...] = (2, 2, 2, 2)
    conv_bias: bool = True
    blocks: tuple[int, ...] = (5, 11, 17, 23)
    head_channels: int = 128
    classify_kernel: int = 3
    align_corners: bool = True
    full_size: bool = True
    logits: bool = False

    def __post_init__(self) -> None:
        check_patches(self.height, self.width, self.patch)
        check_heads(self.dim, self.heads)
        if self.decoder not in DECODERS:
            raise EngineError(f"decoder {self.decoder!r} is unknown", mend=f"one of {', '.join(DECODERS)}")
        if not 0 < len(self.labels) <= MOST_CLASSES:
            raise EngineError(f"a map of bytes has no room for {len(self.labels)} classes")
        if self.patch % self.scale:
            raise EngineError(f"{self.scale} times the grid does not divide patches of {self.patch} pixels")
        if self.decoder == "mla":
            check_blocks(self.blocks, self.depth)

    @property
    def grid_hw(self) -> tuple[int, int]:
        return self.height // self.patch, self.width // self.patch

    @property
    def scale(self) -> int:
        """How many times finer than the patches' grid the decoder answers."""
        return MLA_UP if self.decoder == "mla" else prod(self.ups)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> SetrConfig:
        """The inverse of `dataclasses.asdict`, also after JSON made lists of the tuples."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in known
        }
        return cls(**values)


class ConvStep(nn.Module):
    """Convolution that keeps the size, batch norm, ReLU: (B, in, h, w) to (B, out, h, w)."""

    def __init__(self, given: int, out: int, kernel: int, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(given, out, kernel, padding=kernel // 2, bias=bias)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class UpHead(nn.Module):
    """The naive and the progressive decoder: tokens of the last block to class logits.

    Classes are told before the last enlargement. Both authors' orders give the same numbers, since a 1x1 convolution
    and an interpolation, whose weights sum to 1, may change places; this one interpolates C channels and not 256.
    """

    def __init__(self, config: SetrConfig) -> None:
        super().__init__()
        self.ups = config.ups
        self.grid_hw = config.grid_hw
        self.norm = nn.LayerNorm(config.dim, eps=EPS)
        widths = [config.dim, *([config.channels] * len(config.ups))]
        self.steps = nn.ModuleList(
            ConvStep(i, o, config.kernel, config.conv_bias) for i, o in pairwise(widths)
        )
        self.classify = nn.Conv2d(config.channels, len(config.labels), 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, rows * columns, D) to (B, C, rows * scale, columns * scale)."""
        x = as_grid(self.norm(tokens), self.grid_hw)
        for step, up in zip(self.steps, (1, *self.ups[:-1]), strict=True):
            x = step(enlarged(x, up))
        return enlarged(self.classify(x), self.ups[-1])


class Aggregation(nn.Module):
    """MLA's neck: four blocks' tokens to four maps, each enriched by all later blocks."""

    def __init__(self, config: SetrConfig) -> None:
        super().__init__()
        self.grid_hw = config.grid_hw
        levels = len(config.blocks)
        self.norm = nn.ModuleList(nn.LayerNorm(config.dim, eps=EPS) for _ in range(levels))
        self.project = nn.ModuleList(ConvStep(config.dim, config.channels, 1) for _ in range(levels))
        self.smooth = nn.ModuleList(ConvStep(config.channels, config.channels, 3) for _ in range(levels))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """(B, rows * columns, D) each, of earlier blocks first, to (B, channels, rows, columns) each."""
        total: Tensor | None = None
        maps: list[Tensor] = []
        for i in reversed(range(len(levels))):
            own = self.project[i](as_grid(self.norm[i](levels[i]), self.grid_hw))
            total = own if total is None else total + own
            maps.insert(0, self.smooth[i](total))
        return maps


class AggregationHead(nn.Module):
    """MLA's head: each map four times as large, all side by side, to class logits."""

    def __init__(self, config: SetrConfig) -> None:
        super().__init__()
        self.align_corners = config.align_corners
        wide, narrow, levels = config.channels, config.head_channels, len(config.blocks)
        self.level = nn.ModuleList(
            nn.Sequential(ConvStep(wide, narrow, 3), ConvStep(narrow, narrow, 3)) for _ in range(levels)
        )
        kernel = config.classify_kernel
        self.classify = nn.Conv2d(levels * narrow, len(config.labels), kernel, padding=kernel // 2)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """(B, channels, rows, columns) each to (B, C, 4 * rows, 4 * columns)."""
        large = [
            enlarged(level(x), MLA_UP, self.align_corners) for level, x in zip(self.level, maps, strict=True)
        ]
        out: Tensor = self.classify(torch.cat(large, dim=1))
        return out


class Setr(nn.Module):
    """The served graph: pictures to a map of classes."""

    def __init__(self, config: SetrConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SetrConfig()
        mla = config.decoder == "mla"
        self.backbone = Trunk(
            config.grid_hw,
            patch=config.patch,
            dim=config.dim,
            depth=config.depth,
            heads=config.heads,
            mlp_dim=config.mlp_dim,
            patch_bias=config.patch_bias,
            class_token=not mla,
            final_norm=False,
        )
        if mla:
            self.neck = Aggregation(config)
        self.decode_head = AggregationHead(config) if mla else UpHead(config)
        self.output_names = ("logits",) if config.logits else ("map",)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """`images` u8 (B, H, W, 3) RGB to one output: `map` u8 (B, h, w), the likeliest class of each cell, or `logits`
        f32 (B, C, h, w); h and w are the picture's, or the decoder's where the config says so."""
        logits = self.forward_pixels(normalised(images, self.config.mean, self.config.std))
        return (logits if self.config.logits else logits.argmax(dim=1).to(torch.uint8),)

    def forward_pixels(self, pixels: Tensor) -> Tensor:
        """Class logits (B, C, h, w) of normalised pixels f32 (B, 3, H, W)."""
        config = self.config
        if config.decoder == "mla":
            _, levels, _ = self.backbone.read(pixels, config.blocks)
            logits = self.decode_head(self.neck(levels))
        else:
            tokens, _, _ = self.backbone.read(pixels)
            logits = self.decode_head(tokens[:, 1:])  # without the class token
        return enlarged(logits, config.patch // config.scale) if config.full_size else logits


def as_grid(tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """(B, rows * columns, D) to (B, D, rows, columns)."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[-1], *grid_hw)


def enlarged(x: Tensor, up: int, align_corners: bool = False) -> Tensor:
    """(B, C, h, w) to (B, C, up * h, up * w), bilinear."""
    if up == 1:
        return x
    return F.interpolate(x, scale_factor=float(up), mode="bilinear", align_corners=align_corners)


def example_inputs(batch: int, config: SetrConfig | None = None, seed: int = 0) -> tuple[Tensor]:
    """Noise pictures of the right shape."""
    config = config or SetrConfig()
    rng = torch.Generator().manual_seed(seed)
    shape = (batch, config.height, config.width, 3)
    return (torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng),)


def save_setr(model: Setr, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes weights and config; see `engines.models.files`."""
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes)


def load_setr(path: Path | str) -> Setr:
    """The model of a file that `save_setr` wrote. Raises EngineError, one line, for any other file."""
    return load_weights(path, format=FORMAT, make=lambda given: Setr(SetrConfig.from_dict(given)))
