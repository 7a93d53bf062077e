"""TrackFormer on plain DETR: the decoder takes last frame's queries before its own, and nothing else is remembered.

Source: Meinhardt et al. 2022, TrackFormer, on DETR (Carion et al. 2020); module names are the authors', but for the
backbone's. Two things differ from DETR: positions are counted from the cells' middles, and a row's next query is the
decoder's last state *before* the norm that its own answer is read behind.

Dimensions: B pictures, S tokens, K track rows, Q object rows, N = K + Q, D hidden, C classes and "nothing".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engines.models import track_slots
from engines.models.detr import normalised
from engines.models.detr_layers import MLP, Transformer
from engines.models.files import load_weights, save_weights
from engines.models.positions import padding_mask, sine_2d
from engines.models.resnet import ResNet, grid_hw
from engines.models.track_slots import natural_inputs
from engines.models.trackformer_config import TrackFormerDetrConfig

__all__ = [
    "FORMAT",
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "DetrLooked",
    "TrackFormerDetr",
    "TrackFormerDetrConfig",
    "example_inputs",
    "load_trackformer_detr",
    "natural_inputs",
    "save_trackformer_detr",
]

INPUT_NAMES = ("images", "content_hw", "track_hs", "track_valid")
OUTPUT_NAMES = ("pred_logits", "pred_boxes", "next_hs")
FORMAT = "sightline.trackformer-detr/1"


class DetrLooked(NamedTuple):
    """What a picture says without any state."""

    memory: Tensor  # (B, S, D)
    extent_hw: Tensor  # i32 (B, 2) rows and columns of the picture that are content


class TrackFormerDetr(nn.Module):
    """Detects and follows. `forward` is the served graph, `look` then `follow`."""

    def __init__(self, config: TrackFormerDetrConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TrackFormerDetrConfig()
        dim = config.hidden_dim
        self.backbone = ResNet(
            config.backbone_layers, (4,), width=config.backbone_width, dilation=config.dilation
        )
        self.input_proj = nn.Conv2d(self.backbone.channels[-1], dim, 1)
        self.query_embed = nn.Embedding(config.object_queries, dim)
        self.transformer = Transformer(
            dim, config.heads, config.feed_dim, config.encoder_layers, config.decoder_layers
        )
        self.class_embed = nn.Linear(dim, config.classes + 1)
        self.bbox_embed = MLP(dim, dim, 4, 3)

    def look(self, images: Tensor, content_hw: Tensor) -> DetrLooked:
        """`images` u8 (B, H, W, 3) RGB with their content at the top left: `content_hw` i32 (B, 2) rows, columns."""
        return self.look_pixels(normalised(images, content_hw), content_hw)

    def look_pixels(self, pixels: Tensor, content_hw: Tensor) -> DetrLooked:
        """As `look`, from normalised pixels (B, 3, H, W), zero in the padding."""
        (last,) = self.backbone(pixels)
        tokens = self.input_proj(last).flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, S, D)
        places, padding = self._places(content_hw)
        memory, _ = self.transformer.encoder(tokens, places, padding)
        return DetrLooked(memory, content_hw.clone())

    def _places(self, content_hw: Tensor) -> tuple[Tensor, Tensor]:
        """Each token's position (B, S, D), and whether it is padding, bool (B, S)."""
        config = self.config
        picture = config.height, config.width
        padding = padding_mask(content_hw, picture, grid_hw(picture, 16 if config.dilation else 32))
        return sine_2d(padding, config.hidden_dim, first=0.5).flatten(1, 2), padding.flatten(1)

    def follow(
        self, looked: DetrLooked, track_hs: Tensor, track_valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One frame of each of B streams, to pred_logits, pred_boxes and next_hs. Shapes as in `forward`."""
        places, padding = self._places(looked.extent_hw)
        asked = self.query_embed.weight.unsqueeze(0).expand(track_hs.shape[0], -1, -1)  # (B, Q, D)
        query_places = torch.cat((torch.zeros_like(track_hs), asked), dim=1)  # (B, N, D)
        hs = torch.cat((track_hs * track_valid.unsqueeze(-1), torch.zeros_like(asked)), dim=1)
        empty = track_slots.empty_rows(track_valid, self.config.object_queries)
        memory, decoder = looked.memory, self.transformer.decoder
        placed = memory + places
        for layer in decoder.layers:
            hs, _ = layer(hs, query_places, memory, placed, padding, "none", empty)
        seen = decoder.norm(hs)
        return self.class_embed(seen), self.bbox_embed(seen).sigmoid(), hs

    def forward(
        self, images: Tensor, content_hw: Tensor, track_hs: Tensor, track_valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One frame of each of B streams.

        images u8 (B, H, W, 3) RGB; content_hw i32 (B, 2), rows and columns of it that are no padding; track_hs f32
        (B, K, D); track_valid f32 (B, K), 1 or 0. To pred_logits (B, N, C + 1), pred_boxes (B, N, 4) cxcywh in 0..1 of
        the content, next_hs (B, N, D), the K track rows first. Rows of empty slots carry no meaning.
        """
        return self.follow(self.look(images, content_hw), track_hs, track_valid)


def example_inputs(
    batch: int, config: TrackFormerDetrConfig | None = None, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs of the right shapes for `batch` pictures: noise, some tracks in each."""
    config = config or TrackFormerDetrConfig()
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, config.height, config.width, 3), dtype=torch.uint8, generator=rng)
    content_hw = track_slots.content_example(batch, config.height, config.width, config.fit)
    track_hs, _, track_valid = track_slots.example(batch, config.track_slots, config.hidden_dim, rng)
    return images, content_hw, track_hs, track_valid


def save_trackformer_detr(model: TrackFormerDetr, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes the weights as float32 safetensors, with the config and `notes` in the file's metadata."""
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes)


def load_trackformer_detr(path: Path | str) -> TrackFormerDetr:
    """The model of a file that `save_trackformer_detr` wrote, in eval mode. Raises EngineError, one line."""
    return load_weights(
        path,
        format=FORMAT,
        make=lambda fields: TrackFormerDetr(TrackFormerDetrConfig.from_dict(fields)),
        mend="import a checkpoint with `sightline models import`",
    )
