"""VTN: what is being done in a clip. A ViT reads each frame alone, a Longformer reads the frames' features in order.

Source: Neimark et al. 2021, "Video Transformer Network"; bomri/SlowFast projects/vtn (Apache-2.0).

    picture ─ backbone ─► feature ─┐
    the features of T - 1 earlier frames, as they were ─► temporal encoder ─► class token ─ head ─► logits

A feature does not know its place in time: that is added in the temporal encoder. So a frame is read once, its feature
kept in a ring, and each new frame costs one backbone and one small encoder (`engines.models.vtn_stages`).

Dimensions: B clips, T frames, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.models.files import load_weights, save_weights
from engines.models.longformer import TemporalEncoder
from engines.models.vit import Triple, Trunk, check_heads, check_patches, normalised
from streamer.errors import EngineError
from streamer.ports import Tensors

INPUT_NAMES = ("images", "tick", "ring", "ring_positions", "ring_valid")
OUTPUT_NAMES = ("logits", "next_feature")
FORMAT = "sightline.vtn/1"


@dataclass(frozen=True, slots=True)
class VtnConfig:
    """All that fixes the graph, and how it was trained to be fed.

    `frames` T in a clip, `stride_s` seconds apart; places in time are counted in `position_hz` to the second: the
    published weights saw 16 frames, each eighth of 25 a second. `window` is Longformer's, both sides together.
    """

    height: int = 224
    width: int = 224
    labels: tuple[str, ...] = tuple(f"class {i}" for i in range(400))
    fit: str = "crop"
    patch: int = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    mean: Triple = (0.45, 0.45, 0.45)
    std: Triple = (0.225, 0.225, 0.225)
    frames: int = 16
    stride_s: float = 0.32
    position_hz: float = 25.0
    window: int = 18
    positions: int = 288
    temporal_depth: int = 3
    temporal_heads: int = 12
    temporal_mlp_dim: int = 3072
    head_dim: int = 768

    def __post_init__(self) -> None:
        check_patches(self.height, self.width, self.patch)
        check_heads(self.dim, self.heads)
        check_heads(self.dim, self.temporal_heads)
        if self.frames < 2 or self.window < 2 or self.window % 2 or self.positions < 3:
            raise EngineError(
                f"{self.frames} frames, a window of {self.window} and {self.positions} positions make no clip",
                mend="2 or more frames, an even window, 3 or more positions",
            )
        if not (self.stride_s > 0 and self.position_hz > 0):
            raise EngineError(f"stride_s {self.stride_s} and position_hz {self.position_hz} must be above 0")

    @property
    def grid_hw(self) -> tuple[int, int]:
        return self.height // self.patch, self.width // self.patch

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> VtnConfig:
        """The inverse of `dataclasses.asdict`, also after JSON made lists of the tuples."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in known
        }
        return cls(**values)


class Vtn(nn.Module):
    """`forward` is the served graph: one frame and the ring of those before it. `forward_clip` takes a whole clip."""

    def __init__(self, config: VtnConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VtnConfig()
        self.backbone = Trunk(
            config.grid_hw,
            patch=config.patch,
            dim=config.dim,
            depth=config.depth,
            heads=config.heads,
            mlp_dim=config.mlp_dim,
        )
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.dim))
        self.temporal = TemporalEncoder(
            config.dim,
            depth=config.temporal_depth,
            heads=config.temporal_heads,
            mlp_dim=config.temporal_mlp_dim,
            frames=config.frames,
            window=config.window,
            positions=config.positions,
        )
        self.mlp_head = nn.Sequential(
            nn.LayerNorm(config.dim),
            nn.Linear(config.dim, config.head_dim),
            nn.GELU(),
            nn.Dropout(0.5),  # training only
            nn.Linear(config.head_dim, len(config.labels)),
        )

    def see(self, images: Tensor) -> Tensor:
        """Pictures u8 (B, H, W, 3) RGB to features (B, D)."""
        return self.see_pixels(normalised(images, self.config.mean, self.config.std))

    def see_pixels(self, pixels: Tensor) -> Tensor:
        """Normalised pixels f32 (B, 3, H, W) to features (B, D): the class token behind the final norm."""
        tokens, _, _ = self.backbone.read(pixels)
        return tokens[:, 0]

    def judge(self, features: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """Features (B, T, D) in order of time, `positions` i64 (B, T), `valid` f32 (B, T), to logits (B, C)."""
        tokens = self.temporal(self.cls_token, features, positions, valid)
        out: Tensor = self.mlp_head(tokens[:, 0])
        return out

    def forward(
        self, images: Tensor, tick: Tensor, ring: Tensor, ring_positions: Tensor, ring_valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One frame of each of B streams and the T - 1 before it.

        images u8 (B, H, W, 3); tick i64 (B,), the frame's place in time; ring f32 (B, T - 1, D) and ring_positions i64
        (B, T - 1), the oldest first; ring_valid f32 (B, T - 1), 1 or 0, the zeros first. To logits (B, C) and
        next_feature (B, D), which is the frame's entry for the ring.
        """
        feature = self.see(images)
        return self.follow(feature, tick, ring, ring_positions, ring_valid), feature

    def follow(
        self, feature: Tensor, position: Tensor, ring: Tensor, ring_positions: Tensor, ring_valid: Tensor
    ) -> Tensor:
        """What `forward` does once the frame's feature (B, D) is known: logits (B, C)."""
        features = torch.cat((ring, feature.unsqueeze(1)), dim=1)  # (B, T, D)
        positions = torch.cat((ring_positions, position.unsqueeze(1)), dim=1)
        valid = torch.cat((ring_valid, torch.ones_like(ring_valid[:, :1])), dim=1)
        return self.judge(features, positions, valid)

    def forward_clip(self, clip: Tensor, positions: Tensor) -> Tensor:
        """A clip u8 (B, T, H, W, 3) and its frames' places in time i64 (B, T) to logits (B, C)."""
        return self.forward_clip_pixels(normalised(clip, self.config.mean, self.config.std), positions)

    def forward_clip_pixels(self, clip: Tensor, positions: Tensor) -> Tensor:
        """The same of normalised pixels f32 (B, T, 3, H, W)."""
        frames = clip.shape[1]
        features = self.see_pixels(clip.flatten(0, 1))  # (B * T, D)
        features = features.view(-1, frames, features.shape[-1])  # (B, T, D)
        return self.judge(features, positions, torch.ones_like(positions, dtype=torch.float32))


class VtnClip(nn.Module):
    """The whole as one graph, clip in, logits out: for files and for comparison with the authors' model."""

    input_names = ("clip", "positions")
    output_names = ("logits",)

    def __init__(self, vtn: Vtn) -> None:
        super().__init__()
        self.vtn = vtn

    def forward(self, clip: Tensor, positions: Tensor) -> tuple[Tensor]:
        """As `Vtn.forward_clip`."""
        return (self.vtn.forward_clip(clip, positions),)


def example_inputs(batch: int, config: VtnConfig | None = None, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of the right shapes: noise pictures, another number of earlier frames in each row, from none."""
    config = config or VtnConfig()
    rng = torch.Generator().manual_seed(seed)
    shape = (batch, config.height, config.width, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)
    earlier = config.frames - 1
    ring = torch.randn(batch, earlier, config.dim, generator=rng)
    known = (torch.arange(batch) * 5 + seed) % (earlier + 1)  # (B,)
    valid = (torch.arange(earlier).unsqueeze(0) >= earlier - known.unsqueeze(1)).float()
    steps = torch.randint(6, 11, (batch, config.frames), generator=rng).cumsum(1)  # about each eighth frame
    return images, steps[:, -1], ring, steps[:, :-1], valid


def natural_inputs(
    blank: Tensors, pictures: NDArray[np.uint8], reference: Callable[[Tensors], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The later of `pictures` (2, B, H, W, 3) with a ring of the earlier ones' features, in another order each row."""
    first = reference({**blank, "images": pictures[0]})["next_feature"]  # (B, D)
    batch, earlier = blank["ring_valid"].shape
    order = (np.arange(batch)[:, None] + np.arange(earlier)[None, :]) % batch
    return {**blank, "images": pictures[1], "ring": np.ascontiguousarray(first[order])}


def save_vtn(model: Vtn, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes weights and config; see `engines.models.files`."""
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes)


def load_vtn(path: Path | str) -> Vtn:
    """The model of a file that `save_vtn` wrote. Raises EngineError, one line, for any other file."""
    return load_weights(path, format=FORMAT, make=lambda given: Vtn(VtnConfig.from_dict(given)))
