"""ViT: a picture is a row of patches and a class token, read by a plain transformer encoder.

Source: Dosovitskiy et al. 2021; names of parameters as in timm (huggingface/pytorch-image-models, Apache-2.0), so that
its checkpoints fit as they are. `Trunk` is the encoder alone, on which segmentation (SETR) and video (VTN) stand.

Dimensions: B pictures, N = 1 + rows * columns tokens (the class token first), D width, h heads, d = D / h.
Attention is written out, matrix product and softmax, so every backend compiles the same plain operators and the weights
can be had where they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.files import load_weights, save_weights
from streamer.errors import EngineError

INPUT_NAMES = ("images",)
OUTPUT_NAMES = ("logits", "feature")  # with labels, and neither tokens nor attention asked for
FORMAT = "sightline.vit/1"
EPS = 1e-6  # of every layer norm

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ViTConfig:
    """All that fixes the graph. `height`, `width`, `patch` in pixels; `mean` and `std` of pixels in 0..1.

    No `labels`: no classification, the feature alone. `blocks` counts from 0: the tokens after these blocks are given
    too. `attention` adds the last block's weights.
    """

    height: int = 224
    width: int = 224
    labels: tuple[str, ...] = ()
    fit: str = "crop"
    patch: int = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    qkv_bias: bool = True
    mean: Triple = (0.5, 0.5, 0.5)
    std: Triple = (0.5, 0.5, 0.5)
    blocks: tuple[int, ...] = ()
    attention: bool = False

    def __post_init__(self) -> None:
        check_patches(self.height, self.width, self.patch)
        check_heads(self.dim, self.heads)
        check_blocks(self.blocks, self.depth)

    @property
    def grid_hw(self) -> tuple[int, int]:
        return self.height // self.patch, self.width // self.patch

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> ViTConfig:
        """The inverse of `dataclasses.asdict`, also after JSON made lists of the tuples."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in known
        }
        return cls(**values)


def check_patches(height: int, width: int, patch: int) -> None:
    """Raises EngineError unless a picture of this size divides into square patches."""
    if patch < 1 or height < patch or width < patch or height % patch or width % patch:
        raise EngineError(
            f"a picture of {width}x{height} does not divide into patches of {patch} pixels",
            mend=f"choose multiples of {patch}",
        )


def check_blocks(blocks: Sequence[int], depth: int) -> None:
    """Raises EngineError unless these are blocks of an encoder of `depth`, each once, the earlier first."""
    if list(blocks) != sorted(set(blocks) & set(range(depth))):
        raise EngineError(f"{tuple(blocks)} are not blocks of {depth} in rising order", mend="count from 0")


def check_heads(dim: int, heads: int) -> None:
    """Raises EngineError unless the width divides into the heads."""
    if heads < 1 or dim % heads:
        raise EngineError(f"a width of {dim} does not divide into {heads} heads", mend="give the heads")


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels u8 (..., H, W, 3) to f32 (..., 3, H, W) of the given mean and std, both of pixels in 0..1."""
    scale = images.new_tensor([1 / (255 * s) for s in std], dtype=torch.float32)
    shift = images.new_tensor([m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
    *first, rows, columns, channels = range(images.ndim)
    return (images.float() * scale - shift).permute(*first, channels, rows, columns)


class Attention(nn.Module):
    """Multi-head self-attention, (B, N, D) to (B, N, D)."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What was read, (B, N, D), and the weights it was read with, (B, h, N, N)."""
        n, dim = x.shape[1:]
        head_dim = dim // self.heads
        qkv = self.qkv(x).view(-1, n, 3, self.heads, head_dim).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # (B, N, 3, h, d) -> 3 x (B, h, N, d)
        weights = torch.softmax((query * head_dim**-0.5) @ key.transpose(-2, -1), dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(-1, n, dim)  # (B, h, N, d) -> (B, N, D)
        return self.proj(mixed), weights


class Mlp(nn.Module):
    """Two linear layers around a GELU (the exact one)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm encoder layer, (B, N, D) to (B, N, D), with its attention weights (B, h, N, N)."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, mlp_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        read, weights = self.attn(self.norm1(x))
        x = x + read
        return x + self.mlp(self.norm2(x)), weights


class PatchEmbed(nn.Module):
    """Pixels (B, 3, H, W) to one token a patch, row by row: (B, rows * columns, D)."""

    def __init__(self, patch: int, dim: int, bias: bool = True) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch, bias=bias)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.proj(pixels).flatten(2).transpose(1, 2)  # (B, D, rows, columns) -> (B, N - 1, D)
        return out


class Trunk(nn.Module):
    """The encoder: normalised pixels to tokens. `final_norm` gives it the layer norm behind the last block.

    Without `class_token` the N tokens are the patches alone.
    """

    def __init__(
        self,
        grid_hw: tuple[int, int],
        *,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        qkv_bias: bool = True,
        patch_bias: bool = True,
        class_token: bool = True,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(patch, dim, patch_bias)
        if class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            nn.init.normal_(self.cls_token, std=0.02)
        self.class_token = class_token
        self.pos_embed = nn.Parameter(torch.zeros(1, class_token + grid_hw[0] * grid_hw[1], dim))
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_dim, qkv_bias) for _ in range(depth))
        if final_norm:
            self.norm = nn.LayerNorm(dim, eps=EPS)
        self.final_norm = final_norm
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def read(self, pixels: Tensor, wanted: Sequence[int] = ()) -> tuple[Tensor, list[Tensor], Tensor]:
        """f32 (B, 3, H, W) to the last tokens (B, N, D) behind the final norm where there is one; the tokens after each
        block in `wanted`, in order of the blocks, without it; the last block's attention weights (B, h, N, N)."""
        x = self.patch_embed(pixels)
        if self.class_token:
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = x + self.pos_embed
        kept: list[Tensor] = []
        weights = x
        for i, block in enumerate(self.blocks):
            x, weights = block(x)
            if i in wanted:
                kept.append(x)
        return (self.norm(x) if self.final_norm else x), kept, weights


class ViT(Trunk):
    """The served graph: pictures to class logits and the class token as the picture's feature."""

    def __init__(self, config: ViTConfig | None = None) -> None:
        config = config or ViTConfig()
        super().__init__(
            config.grid_hw,
            patch=config.patch,
            dim=config.dim,
            depth=config.depth,
            heads=config.heads,
            mlp_dim=config.mlp_dim,
            qkv_bias=config.qkv_bias,
        )
        self.config = config
        if config.labels:
            self.head = nn.Linear(config.dim, len(config.labels))
        self.output_names = (
            *(("logits",) if config.labels else ()),
            "feature",
            *(f"tokens_{i}" for i in sorted(config.blocks)),
            *(("attention",) if config.attention else ()),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`images` u8 (B, H, W, 3) RGB to `output_names`: logits (B, classes), feature (B, D), tokens of the chosen
        blocks (B, N, D) each, attention (B, h, N, N)."""
        return self.forward_pixels(normalised(images, self.config.mean, self.config.std))

    def forward_pixels(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The same of normalised pixels f32 (B, 3, H, W)."""
        tokens, kept, weights = self.read(pixels, self.config.blocks)
        feature = tokens[:, 0]  # (B, N, D) -> (B, D)
        said = [self.head(feature)] if self.config.labels else []
        return (*said, feature, *kept, *([weights] if self.config.attention else []))


def resized_positions(
    pos_embed: Tensor, grid_hw: tuple[int, int], mode: str = "bicubic", antialias: bool = True
) -> Tensor:
    """Position embeddings (1, 1 + n, D) of a square grid for another grid: (1, 1 + rows * columns, D).

    As timm does when a checkpoint meets another picture size: bicubic with antialiasing; the class token's stays.
    Raises ValueError if the n are no square.
    """
    first, rest = pos_embed[:, :1], pos_embed[:, 1:]
    side = round(rest.shape[1] ** 0.5)
    if side * side != rest.shape[1]:
        raise ValueError(f"{rest.shape[1]} positions are no square")
    if (side, side) == tuple(grid_hw):
        return pos_embed
    grid = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, n, D) -> (1, D, side, side)
    grid = F.interpolate(grid, size=tuple(grid_hw), mode=mode, antialias=antialias, align_corners=False)
    return torch.cat((first, grid.flatten(2).transpose(1, 2)), dim=1)


def example_inputs(batch: int, config: ViTConfig | None = None, seed: int = 0) -> tuple[Tensor]:
    """Noise pictures of the right shape."""
    config = config or ViTConfig()
    rng = torch.Generator().manual_seed(seed)
    shape = (batch, config.height, config.width, 3)
    return (torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng),)


def save_vit(model: ViT, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes weights and config; see `engines.models.files`."""
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes)


def load_vit(path: Path | str) -> ViT:
    """The model of a file that `save_vit` wrote. Raises EngineError, one line, for any other file."""
    return load_weights(path, format=FORMAT, make=lambda given: ViT(ViTConfig.from_dict(given)))
