"""The street model: one pass detects, segments and follows, because a track is a query that lives on.

Sources, in order of debt: DETR (Carion et al. 2020), TrackFormer (Meinhardt et al. 2022), DAB-DETR's box-anchored
queries (Liu et al. 2022), CenterNet's peaks as proposals (Zhou et al. 2019), Gaussian-biased attention (SMCA, Gao et
al. 2021), dynamic mask kernels (CondInst, Tian et al. 2020).

    pixels ─ backbone ─ pyramid ─┬─ dense head ── top-k peaks ──► Q object queries ─┐
                                 ├─ keys, values, evidence ─────────► decoder x 3 ◄─┤ K track queries (last frame)
                                 └─ mask features ──────► dot ◄──── one row a query ┴─► boxes, classes, next queries

Dimensions: B pictures, K track rows, Q object rows, N = K + Q, D hidden, C classes, M mask channels, S = H/8 * W/8
tokens, S4 = H/4 * W/4 cells. The graph holds no state, no NMS and no matching: tracks come in and go out as tensors,
so many streams share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.attention import MASKED, FeedForward
from engines.models.backbone import Backbone, GlobalContext, Pyramid
from engines.models.files import load_weights, save_weights
from engines.models.street_parts import (
    SMALLEST_SIDE,
    BoxPlace,
    DecoderLayer,
    DenseHead,
    LayerOutput,
    StreetConfig,
)
from streamer.ports import Tensors

__all__ = [
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "LayerOutput",
    "Scene",
    "Street",
    "StreetConfig",
    "example_inputs",
    "load_street",
    "natural_inputs",
    "save_street",
]

INPUT_NAMES = ("images", "track_hs", "track_boxes", "track_valid")
OUTPUT_NAMES = ("pred_logits", "pred_boxes", "mask_embed", "mask_features", "next_hs")
FORMAT = "sightline.street/1"


class Scene(NamedTuple):
    """What the picture alone says; every frame of a training clip has one before any track is known."""

    heat_logits: Tensor  # (B, C, H/4, W/4)
    dense_boxes: Tensor  # f32 (B, S4, 4) cxcywh
    keys: Tensor  # (layers, B, h, S, d)
    values: Tensor  # (layers, B, h, S, d)
    evidence: Tensor  # (B, S, 4 + C): cx - .5, cy - .5, log w, log h, class probabilities
    seed_features: Tensor  # (B, Q, fine_dim)
    seed_boxes: Tensor  # f32 (B, Q, 4) cxcywh
    mask_features: Tensor  # (B, M, H/2, W/2)


class Seen(NamedTuple):
    """A Scene before the decoder layers' keys and values are spread out: `tokens` (B, S, D), the rest as in Scene."""

    tokens: Tensor
    heat_logits: Tensor
    dense_boxes: Tensor
    evidence: Tensor
    seed_features: Tensor
    seed_boxes: Tensor
    mask_features: Tensor


class Street(nn.Module):
    """Detects, segments and follows. `forward` is the served graph; training uses `look` and `decode` apart."""

    def __init__(self, config: StreetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or StreetConfig()
        dim, heads, layers = config.hidden_dim, config.heads, config.layers
        self.backbone = Backbone(config.widths)
        self.context = GlobalContext(config.widths[3], dim, heads, (config.height // 16, config.width // 16))
        self.pyramid = Pyramid(config.widths, dim, config.fine_dim, config.mask_channels)
        self.dense = DenseHead(config)
        self.token_norm = nn.LayerNorm(dim)
        self.keys_values = nn.Linear(dim, layers * 2 * dim)
        self.seed = nn.Linear(config.fine_dim, dim)
        self.kind = nn.Parameter(torch.zeros(2, dim))  # row 0 greets a track query, row 1 an object query
        nn.init.normal_(self.kind, std=0.2)
        self.query_norm = nn.LayerNorm(dim)
        self.place = BoxPlace(dim)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(layers))
        self.mask_kernel = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, config.mask_channels))
        self.carry = FeedForward(dim, 2 * dim)

    def look(self, images: Tensor) -> Scene:
        """All that needs no track: `images` uint8 (B, H, W, 3) RGB to a Scene."""
        seen = self.see(images)
        keys, values = self.spread(seen.tokens)
        return Scene(
            seen.heat_logits,
            seen.dense_boxes,
            keys,
            values,
            seen.evidence,
            seen.seed_features,
            seen.seed_boxes,
            seen.mask_features,
        )

    def see(self, images: Tensor) -> Seen:
        """`look`, up to the tokens that the decoder layers' keys and values are made of."""
        pixels = images.permute(0, 3, 1, 2).float() * (1 / 64) - 2.0  # NHWC memory is channels_last already
        x2, x4, x8, x16 = self.backbone(pixels)
        f8, f4, mask_features = self.pyramid(x2, x4, x8, self.context(x16))
        heat_logits, dense_boxes = self.dense(f4)
        tokens = self.token_norm(f8.flatten(2).transpose(1, 2))  # (B, D, rows, columns) -> (B, S, D)
        boxes = dense_boxes.detach()
        probabilities = heat_logits.detach().float().sigmoid()
        chosen = self._peaks(probabilities)  # (B, Q, 1)
        fine = f4.flatten(2).transpose(1, 2)  # (B, fine_dim, H/4, W/4) -> (B, S4, fine_dim)
        return Seen(
            tokens,
            heat_logits,
            dense_boxes,
            self._evidence(boxes, probabilities),
            fine.gather(1, chosen.expand(-1, -1, fine.shape[-1])),
            boxes.gather(1, chosen.expand(-1, -1, 4)),
            mask_features,
        )

    def spread(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder layers attend to: tokens (B, S, D) to keys and values, each (layers, B, h, S, d)."""
        dim, heads, layers = self.config.hidden_dim, self.config.heads, self.config.layers
        s = tokens.shape[1]
        both = self.keys_values(tokens).view(-1, s, 2 * layers, heads, dim // heads)
        both = both.permute(2, 0, 3, 1, 4)  # (B, S, 2*layers, h, d) -> (2*layers, B, h, S, d)
        return both[:layers], both[layers:]

    def _evidence(self, boxes: Tensor, probabilities: Tensor) -> Tensor:
        """What the dense head says, by token: boxes (B, S4, 4), probabilities (B, C, H/4, W/4) to (B, S, 4 + C).

        Of the four cells under a token the likeliest counts most, by a softmax of ten times the probability. Centres
        are counted from the picture's middle, where bfloat16 is finest.
        """
        rows, columns = self.config.grid_hw
        places = torch.cat((boxes[..., :2] - 0.5, boxes[..., 2:].clamp(min=SMALLEST_SIDE).log()), dim=-1)
        said = torch.cat((places, probabilities.flatten(2).transpose(1, 2)), dim=-1)  # (B, S4, E)
        width = said.shape[-1]
        said = said.view(-1, rows, 2, columns, 2, width).transpose(2, 3).reshape(-1, rows * columns, 4, width)
        weights = torch.softmax(10 * said[..., 4:].amax(dim=-1, keepdim=True), dim=2)  # (B, S, 4, 1)
        return (said * weights).sum(dim=2)  # (B, S, E)

    def _peaks(self, probabilities: Tensor) -> Tensor:
        """The Q cells that stand out most: (B, C, H/4, W/4) to indices i64 (B, Q, 1) into the S4 cells.

        A cell that is no 3x3 maximum of its class counts a twentieth, so close neighbours may follow the peaks.
        """
        peak = (F.max_pool2d(probabilities, 3, 1, 1) == probabilities).to(probabilities.dtype)
        standing = (probabilities * (0.05 + 0.95 * peak)).amax(dim=1).flatten(1)  # (B, S4)
        return torch.topk(standing, self.config.object_queries, dim=1).indices.unsqueeze(-1)

    def decode(
        self, scene: Scene, track_hs: Tensor, track_boxes: Tensor, track_valid: Tensor
    ) -> list[LayerOutput]:
        """Each decoder layer's answer for K track rows, then Q object rows. Track shapes as in `forward`."""
        valid = track_valid.unsqueeze(-1)  # (B, K, 1)
        parked = torch.full_like(
            track_boxes, 0.5
        )  # an empty slot needs some box that divides and has a logarithm
        track_boxes = torch.where(valid > 0.5, track_boxes, parked)
        boxes = torch.cat((track_boxes, scene.seed_boxes), dim=1)
        boxes = torch.cat((boxes[..., :2], boxes[..., 2:].clamp(min=SMALLEST_SIDE)), dim=-1)
        tracks = track_hs * valid + self.kind[0]
        hs = self.query_norm(
            torch.cat((tracks, (self.seed(scene.seed_features) + self.kind[1]).float()), dim=1)
        )
        hidden_tracks = (1 - track_valid) * MASKED  # (B, K)
        hidden_rows = F.pad(hidden_tracks, (0, self.config.object_queries))[:, None, None, :]  # (B, 1, 1, N)
        outputs: list[LayerOutput] = []
        for i, layer in enumerate(self.decoder):
            output = layer(
                hs, self.place(boxes), boxes, hidden_rows, scene.keys[i], scene.values[i], scene.evidence
            )
            outputs.append(output)
            hs = output.hs
            boxes = output.boxes.detach()
            boxes = torch.cat(
                (boxes[..., :2].clamp(0.0, 1.0), boxes[..., 2:].clamp(SMALLEST_SIDE, 1.5)), dim=-1
            )
        return outputs

    def next_hs(self, hs: Tensor) -> Tensor:
        """A row's last state made ready to be a track query of the next frame: (B, N, D) to (B, N, D)."""
        out: Tensor = self.carry(hs)
        return out

    def forward(
        self, images: Tensor, track_hs: Tensor, track_boxes: Tensor, track_valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """One frame of each of B streams.

        images u8 (B, H, W, 3) RGB; track_hs f32 (B, K, D); track_boxes f32 (B, K, 4) cxcywh in 0..1; track_valid f32
        (B, K), 1 or 0. To pred_logits (B, N, C), pred_boxes (B, N, 4) cxcywh in 0..1, mask_embed (B, N, M),
        mask_features (B, M, H/2, W/2) and next_hs (B, N, D), the K track rows first. The mask logits of row i are
        mask_embed[i] . mask_features inside its box. Rows of empty slots carry no meaning.
        """
        scene = self.look(images)
        last = self.decode(scene, track_hs, track_boxes, track_valid)[-1]
        logits, boxes, mask_embed, next_hs = self.answer(last)
        return logits, boxes, mask_embed, scene.mask_features, next_hs

    def answer(self, last: LayerOutput) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The last layer's rows as they are served: logits, boxes inside the picture, mask kernels, next queries."""
        centre, size = last.boxes[..., :2].clamp(0.0, 1.0), last.boxes[..., 2:].clamp(SMALLEST_SIDE, 1.0)
        return (
            last.logits,
            torch.cat((centre, size), dim=-1),
            self.mask_kernel(last.hs),
            self.next_hs(last.hs),
        )


def example_inputs(
    batch: int, config: StreetConfig | None = None, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs of the right shapes for `batch` pictures: noise pictures, some tracks valid in each."""
    config = config or StreetConfig()
    rng = torch.Generator().manual_seed(seed)
    slots = config.track_slots
    images = torch.randint(0, 256, (batch, config.height, config.width, 3), dtype=torch.uint8, generator=rng)
    track_hs = torch.randn(batch, slots, config.hidden_dim, generator=rng)
    centre = torch.rand(batch, slots, 2, generator=rng)
    size = 0.05 + 0.2 * torch.rand(batch, slots, 2, generator=rng)
    valid = (torch.arange(slots).unsqueeze(0) < (torch.arange(batch).unsqueeze(1) * 3 + 2) % slots).float()
    return images, track_hs, torch.cat((centre, size), dim=-1), valid


def save_street(model: Street, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes the weights as float16 safetensors with the config in the file's metadata; `notes` go there too.

    Half precision halves the file; everything is computed in the precision the loader's caller chooses.
    """
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes, dtype=torch.float16)


def load_street(path: Path | str) -> Street:
    """The model of a file that `save_street` wrote, float32, in eval mode.

    Raises EngineError, one line, if the file is missing, is no street model, or lacks, adds or reshapes a tensor.
    """
    mend = "train one with `sightline train street`, or take the file shipped with this version"
    return load_weights(
        path, format=FORMAT, make=lambda fields: Street(StreetConfig.from_dict(fields)), mend=mend
    )


def natural_inputs(
    blank: Tensors, pictures: NDArray[np.uint8], reference: Callable[[Tensors], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The later of `pictures` (2, B, H, W, 3) with tracks that `reference` found in the earlier ones.

    As many as would fit a street, another number in each row. `blank` gives the shapes.
    """
    empty = {name: np.zeros_like(array) for name, array in blank.items()}
    first = reference({**empty, "images": pictures[0]})
    slots = empty["track_valid"].shape[1]
    strongest = np.argsort(-first["pred_logits"].max(axis=2), axis=1)[:, :, None]  # (B, N, 1)
    strongest = strongest[:, :slots]
    valid = np.zeros_like(empty["track_valid"])
    for b in range(len(valid)):
        valid[b, : (3 + 4 * b) % slots] = 1
    return {
        "images": pictures[1],
        "track_hs": np.take_along_axis(first["next_hs"], strongest, axis=1),
        "track_boxes": np.take_along_axis(first["pred_boxes"], strongest, axis=1),
        "track_valid": valid,
    }
