"""TrackFormer, deformable: a track is a query that lives on, and the decoder sees this frame beside the one before.

Source: Meinhardt et al. 2022, TrackFormer, on Deformable DETR (Zhu et al. 2021) with iterative boxes; module names are
its authors', but for the backbone's.

    pixels ─ ResNet ─ L grids ─┬─ as this frame ────── encoder ─ memory ──────┐
                               └─ as the one before ── encoder ─ for the next │
               the frame before's, kept by the caller ────────── prev_memory ─┴─► decoder ─► boxes, classes, next_hs
        K tracks (content next_hs, position none, at their last centre), Q object queries ──►

One picture is encoded twice, once for each part that it plays, because a frame's own position is in its tokens. What
it will be to the next frame needs no state, so it is made at once and kept as 1 value of (S, D); the authors keep the
backbone's features instead, seven times as large, and encode them again. The first frame stands in for the one before.

Dimensions: B pictures, L grids, S cells of them all, K track rows, Q object rows, N = K + Q, D hidden, C classes. The
graph holds no state, no NMS, no matching: tracks come in and go out as tensors, so that many streams share a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engines.models import track_slots
from engines.models.deform_layers import Decoder, Encoder, content_shares
from engines.models.detr import normalised
from engines.models.detr_layers import MLP
from engines.models.files import load_weights, save_weights
from engines.models.positions import padding_mask, sine_2d, sine_3d
from engines.models.resnet import ResNet
from engines.models.track_slots import natural_inputs
from engines.models.trackformer_config import TrackFormerConfig

__all__ = [
    "FORMAT",
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "Looked",
    "TrackFormer",
    "TrackFormerConfig",
    "example_inputs",
    "load_trackformer",
    "natural_inputs",
    "save_trackformer",
]

INPUT_NAMES = (
    "images",
    "content_hw",
    "prev_memory",
    "prev_valid",
    "track_hs",
    "track_boxes",
    "track_valid",
)
OUTPUT_NAMES = ("pred_logits", "pred_boxes", "next_hs", "next_memory")
FORMAT = "sightline.trackformer/1"


class Looked(NamedTuple):
    """What a picture says without any state."""

    memory: Tensor  # (B, S, D) its tokens as this frame
    as_previous: Tensor  # (B, S, D) its tokens as the frame before, None where the model sees one frame alone
    extent_hw: Tensor  # i32 (B, 2) rows and columns of the picture that are content


class Transformer(nn.Module):
    """Encoder, decoder and what tells frames, levels and queries apart; the authors' module of that name."""

    def __init__(self, config: TrackFormerConfig) -> None:
        super().__init__()
        dim, heads, feed = config.hidden_dim, config.heads, config.feed_dim
        levels, seen = config.levels, config.levels * config.frames
        self.encoder = Encoder(
            config.encoder_layers, dim, heads, levels, config.encoder_points, feed, config.sampler
        )
        self.decoder = Decoder(
            config.decoder_layers, dim, heads, seen, config.decoder_points, feed, config.sampler
        )
        self.level_embed = nn.Parameter(torch.randn(seen, dim))  # the frame before first
        self.reference_points = nn.Linear(dim, 2)


class TrackFormer(nn.Module):
    """Detects and follows. `forward` is the served graph, `look` then `follow`."""

    def __init__(self, config: TrackFormerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TrackFormerConfig()
        dim, layers = config.hidden_dim, config.decoder_layers
        self.input_names = tuple(n for n in INPUT_NAMES if config.frames == 2 or not n.startswith("prev_"))
        self.output_names = tuple(n for n in OUTPUT_NAMES if config.frames == 2 or n != "next_memory")
        self.backbone = ResNet(config.backbone_layers, (2, 3, 4), width=config.backbone_width)
        channels = self.backbone.channels
        first = [(cin, 1) for cin in channels]
        more = [(channels[-1] if i == 0 else dim, 3) for i in range(config.levels - len(first))]
        self.input_proj = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(cin, dim, kernel, 1 if kernel == 1 else 2, kernel // 2), nn.GroupNorm(32, dim)
            )
            for cin, kernel in (*first, *more)
        )
        self.query_embed = nn.Embedding(config.object_queries, 2 * dim)  # position, then content
        self.transformer = Transformer(config)
        shared = not config.box_refine
        classes = [nn.Linear(dim, config.classes) for _ in range(1 if shared else layers)]
        boxes = [MLP(dim, dim, 4, 3) for _ in range(1 if shared else layers)]
        self.class_embed = nn.ModuleList(classes * (layers if shared else 1))
        self.bbox_embed = nn.ModuleList(boxes * (layers if shared else 1))

    def look(self, images: Tensor, content_hw: Tensor) -> Looked:
        """`images` u8 (B, H, W, 3) RGB with their content at the top left: `content_hw` i32 (B, 2) rows, columns."""
        return self.look_pixels(normalised(images, content_hw), content_hw)

    def look_pixels(self, pixels: Tensor, content_hw: Tensor) -> Looked:
        """As `look`, from normalised pixels (B, 3, H, W), zero in the padding."""
        config = self.config
        grids = self._features(pixels)  # L x (B, D, h, w)
        paddings = self._paddings(content_hw)
        tokens = torch.cat([grid.flatten(2).transpose(1, 2) for grid in grids], dim=1)  # (B, S, D)
        valid, shares = _valid(paddings), content_shares(paddings)
        places = [self._places(paddings, frame) for frame in range(config.frames)]
        twice = [torch.cat([x] * config.frames) for x in (tokens, shares, valid)]
        seen = self.transformer.encoder(twice[0], torch.cat(places), twice[1], twice[2], config.grids_hw)
        by_frame = seen.reshape(config.frames, -1, *seen.shape[1:])  # (F*B, S, D) -> (F, B, S, D)
        return Looked(by_frame[-1], by_frame[0], content_hw.clone())

    def _features(self, pixels: Tensor) -> list[Tensor]:
        found = self.backbone(pixels)
        grids = [project(feature) for project, feature in zip(self.input_proj, found, strict=False)]
        for i in range(len(found), len(self.input_proj)):
            grids.append(self.input_proj[i](found[-1] if i == len(found) else grids[-1]))
        return grids

    def _paddings(self, content_hw: Tensor) -> list[Tensor]:
        """Each grid's cells that are padding, L x bool (B, h, w); grids behind the backbone's look at its first."""
        config = self.config
        grids = config.grids_hw
        found = [padding_mask(content_hw, (config.height, config.width), grid) for grid in grids[:3]]
        inside = torch.stack(
            [(~found[0][:, :, 0]).sum(dim=1), (~found[0][:, 0]).sum(dim=1)], dim=-1
        )  # (B, 2)
        return found + [padding_mask(inside.float(), grids[0], grid) for grid in grids[3:]]

    def _places(self, paddings: list[Tensor], frame: int) -> Tensor:
        """Where each cell lies in a frame of this turn, (B, S, D): the frame before has turn 0."""
        config = self.config
        parts = []
        for level, padding in enumerate(paddings):
            if config.frames == 2:
                sines = sine_3d(padding, config.hidden_dim, frame, config.frames)
            else:
                sines = sine_2d(padding, config.hidden_dim, first=0.5)
            parts.append(sines.flatten(1, 2) + self.transformer.level_embed[frame * config.levels + level])
        return torch.cat(parts, dim=1)

    def follow(
        self,
        looked: Looked,
        prev_memory: Tensor | None,
        prev_valid: Tensor | None,
        track_hs: Tensor,
        track_boxes: Tensor,
        track_valid: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One frame of each of B streams, to pred_logits, pred_boxes and next_hs. Shapes as in `forward`."""
        config, transformer = self.config, self.transformer
        paddings = self._paddings(looked.extent_hw)
        valid, shares, memory = _valid(paddings), content_shares(paddings), looked.memory
        if config.frames == 2:
            assert prev_memory is not None and prev_valid is not None
            before = torch.where(prev_valid[:, None, None] > 0.5, prev_memory, looked.as_previous)
            memory = torch.cat((memory, before), dim=1)  # this frame first, though its level_embed comes last
            valid, shares = torch.cat((valid, valid), dim=1), torch.cat((shares, shares), dim=1)
        slot = track_valid.unsqueeze(-1)  # (B, K, 1)
        centres = torch.where(slot > 0.5, track_boxes[..., :2], torch.full_like(track_boxes[..., :2], 0.5))
        query_pos, content = torch.split(self.query_embed.weight, config.hidden_dim, dim=1)  # (Q, D) each
        born_at = transformer.reference_points(query_pos).sigmoid()  # (Q, 2)
        hs = torch.cat((track_hs * slot, _for_each(content, track_hs)), dim=1)
        position = torch.cat((torch.zeros_like(track_hs), _for_each(query_pos, track_hs)), dim=1)
        centres = torch.cat((centres, _for_each(born_at, track_hs)), dim=1)  # (B, N, 2)
        hs, boxes = transformer.decoder(
            hs,
            position,
            centres,
            memory,
            valid,
            shares,
            config.grids_hw * config.frames,
            track_slots.empty_rows(track_valid, config.object_queries),
            self.bbox_embed,
            config.box_refine,
        )
        return self.class_embed[-1](hs), boxes, hs

    def forward(self, images: Tensor, content_hw: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One frame of each of B streams.

        images u8 (B, H, W, 3) RGB; content_hw i32 (B, 2), rows and columns of it that are no padding; prev_memory f32
        (B, S, D), the frame before's `next_memory`, prev_valid f32 (B,), 0 where there is none (both only in a model
        of two frames); track_hs f32 (B, K, D); track_boxes f32 (B, K, 4) cxcywh; track_valid f32 (B, K), 1 or 0. To
        pred_logits (B, N, C), pred_boxes (B, N, 4) cxcywh in 0..1 of the content, next_hs (B, N, D), the K track rows
        first, and next_memory (B, S, D). Rows of empty slots carry no meaning.
        """
        looked = self.look(images, content_hw)
        if self.config.frames == 1:
            return self.follow(looked, None, None, *state)
        return (*self.follow(looked, *state), looked.as_previous)


def _for_each(rows: Tensor, batch: Tensor) -> Tensor:
    """(Q, d) for every picture of a batch: (B, Q, d)."""
    return rows.unsqueeze(0).expand(batch.shape[0], -1, -1)


def _valid(paddings: list[Tensor]) -> Tensor:
    """L x bool (B, h, w), True = padding, to f32 (B, S, 1), 0 = padding."""
    return torch.cat([(~padding).flatten(1) for padding in paddings], dim=1).float().unsqueeze(-1)


def example_inputs(batch: int, config: TrackFormerConfig | None = None, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of the right shapes for `batch` pictures: noise, some tracks in each, every second with a frame before."""
    config = config or TrackFormerConfig()
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, config.height, config.width, 3), dtype=torch.uint8, generator=rng)
    content_hw = track_slots.content_example(batch, config.height, config.width, config.fit)
    tracks = track_slots.example(batch, config.track_slots, config.hidden_dim, rng)
    if config.frames == 1:
        return images, content_hw, *tracks
    prev_memory = torch.randn(batch, config.cells, config.hidden_dim, generator=rng)
    return images, content_hw, prev_memory, (torch.arange(batch) % 2).float(), *tracks


def save_trackformer(model: TrackFormer, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes the weights as float32 safetensors, with the config and `notes` in the file's metadata."""
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes)


def load_trackformer(path: Path | str) -> TrackFormer:
    """The model of a file that `save_trackformer` wrote, in eval mode. Raises EngineError, one line."""
    return load_weights(
        path,
        format=FORMAT,
        make=lambda fields: TrackFormer(TrackFormerConfig.from_dict(fields)),
        mend="import a checkpoint with `sightline models import`",
    )
