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

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.attention import MASKED, FeedForward
from engines.models.backbone import Backbone, GlobalContext, Pyramid
from engines.models.street_heads import DETAIL, Actions, Detail, Keys, MaskPlaces
from engines.models.street_parts import (
    SMALLEST_SIDE,
    BoxPlace,
    DecoderLayer,
    DenseHead,
    LayerOutput,
    StreetConfig,
)

INPUT_NAMES = ("images", "track_hs", "track_boxes", "track_valid")
RING_NAMES = ("ring", "ring_age", "ring_valid")
OUTPUT_NAMES = ("pred_logits", "pred_boxes", "mask_embed", "mask_features", "next_hs")
KEY_NAMES = ("key_embed", "key_logits", "key_offset")
ACTION_NAMES = ("object_feature", "clip_feature", "action_logits", "scene_logits")
FORMAT = "sightline.street/1"


class Scene(NamedTuple):
    """What the picture alone says; every frame of a training clip has one before any track is known.

    What an absent head would have said is None.
    """

    heat_logits: Tensor  # (B, C, H/4, W/4)
    dense_boxes: Tensor  # f32 (B, S4, 4) cxcywh
    keys: Tensor  # (layers, B, h, S, d)
    values: Tensor  # (layers, B, h, S, d)
    evidence: Tensor  # (B, S, 4 + C): cx - .5, cy - .5, log w, log h, class probabilities
    seed_features: Tensor  # (B, Q, fine_dim)
    seed_boxes: Tensor  # f32 (B, Q, 4) cxcywh
    mask_features: Tensor  # (B, M, H/2, W/2)
    tokens: Tensor | None = None  # (B, S, D)
    semantic_logits: Tensor | None = None  # (B, classes, H/2, W/2)
    key_features: Tensor | None = None  # (B, key_channels, H/2, W/2)
    clip_feature: Tensor | None = None  # f32 (B, F)


class Seen(NamedTuple):
    """A Scene before the decoder layers' keys and values are spread out: `tokens` (B, S, D), the rest as in Scene."""

    tokens: Tensor
    heat_logits: Tensor
    dense_boxes: Tensor
    evidence: Tensor
    seed_features: Tensor
    seed_boxes: Tensor
    mask_features: Tensor
    semantic_logits: Tensor | None
    key_features: Tensor | None
    clip_feature: Tensor | None


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
        self.detail = Detail(config) if config.detailed else None
        self.mask_places = MaskPlaces(config) if config.mask_places else None
        self.mask_detail = nn.Conv2d(DETAIL, config.mask_channels, 1) if config.mask_places else None
        self.semantic = nn.Conv2d(DETAIL, len(config.semantic_labels), 1) if config.semantic_labels else None
        self.keypoints = Keys(config) if config.keypoint_names else None
        self.actions = Actions(config) if config.action_labels else None
        self.input_names = INPUT_NAMES + (RING_NAMES if self.actions else ())
        self.output_names = tuple(
            name
            for name, there in (
                *((name, config.masks or not name.startswith("mask")) for name in OUTPUT_NAMES),
                ("semantic", self.semantic),
                ("key_features", self.keypoints),
                *((name, self.keypoints) for name in KEY_NAMES),
                *((name, self.actions) for name in ACTION_NAMES),
            )
            if there
        )

    def look(self, images: Tensor) -> Scene:
        """All that needs no track: `images` uint8 (B, H, W, 3) RGB to a Scene."""
        seen = self.see(images)
        keys, values = self.spread(seen.tokens)
        return Scene(keys=keys, values=values, **seen._asdict())

    def see(self, images: Tensor) -> Seen:
        """`look`, up to the tokens that the decoder layers' keys and values are made of."""
        *fine, x16 = self.strides(images)
        return self.seen(images, fine, self.context(x16))

    def strides(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The backbone's features (B, c, H/s, W/s) of a picture at strides s of 2, 4, 8 and 16."""
        pixels = images.permute(0, 3, 1, 2).float() * (1 / 64) - 2.0  # NHWC memory is channels_last already
        x2, x4, x8, x16 = self.backbone(pixels)
        return x2, x4, x8, x16

    def seen(self, images: Tensor, fine: Sequence[Tensor], context: Tensor) -> Seen:
        """`see`, from the features at strides 2, 4 and 8 on, and the context at 16 (B, D, H/16, W/16)."""
        x2, x4, x8 = fine
        f8, f4, mask_features = self.pyramid(x2, x4, x8, context)
        heat_logits, dense_boxes = self.dense(f4)
        tokens = self.token_norm(f8.flatten(2).transpose(1, 2))  # (B, D, rows, columns) -> (B, S, D)
        boxes = dense_boxes.detach()
        probabilities = heat_logits.detach().float().sigmoid()
        chosen = self._peaks(probabilities)  # (B, Q, 1)
        cells = f4.flatten(2).transpose(1, 2)  # (B, fine_dim, H/4, W/4) -> (B, S4, fine_dim)
        detail = self.detail(x2, f4, f8, context) if self.detail is not None else None
        if self.mask_detail is not None and self.mask_places is not None:
            places = self.mask_places.channels.expand(images.shape[0], -1, -1, -1)
            mask_features = torch.cat(((mask_features + self.mask_detail(detail)).float(), places), dim=1)
        return Seen(
            tokens,
            heat_logits,
            dense_boxes,
            self._evidence(boxes, probabilities),
            cells.gather(1, chosen.expand(-1, -1, cells.shape[-1])),
            boxes.gather(1, chosen.expand(-1, -1, 4)),
            mask_features,
            self.semantic(detail) if self.semantic is not None else None,
            self.keypoints.features(detail) if self.keypoints is not None else None,
            self.actions.scene_feature(tokens) if self.actions is not None else None,
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
        self,
        scene: Scene,
        track_hs: Tensor,
        track_boxes: Tensor,
        track_valid: Tensor,
        looks: list[Tensor] | None = None,
    ) -> list[LayerOutput]:
        """Each decoder layer's answer for K track rows, then Q object rows. Track shapes as in `forward`.

        `looks`, where given, gets how each layer's rows looked at the tokens: (B, N, S), the mean over heads.
        """
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
                hs,
                self.place(boxes),
                boxes,
                hidden_rows,
                scene.keys[i],
                scene.values[i],
                scene.evidence,
                looks,
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

    def mask_embed(self, hs: Tensor, boxes: Tensor) -> Tensor:
        """Mask kernels (B, N, M) of rows hs (B, N, D) with boxes f32 (B, N, 4); M counts the places' channels."""
        kernel: Tensor = self.mask_kernel(hs)
        if self.mask_places is None:
            return kernel
        return torch.cat((kernel.float(), self.mask_places.kernel(hs, boxes)), dim=-1)

    def forward(
        self, images: Tensor, track_hs: Tensor, track_boxes: Tensor, track_valid: Tensor, *ring: Tensor
    ) -> tuple[Tensor, ...]:
        """One frame of each of B streams, from `input_names` to `output_names`.

        images u8 (B, H, W, 3) RGB; track_hs f32 (B, K, D); track_boxes f32 (B, K, 4) cxcywh in 0..1; track_valid f32
        (B, K), 1 or 0. With actions also ring f32 (B, 1 + K, T-1, F), ring_age i64 (B, 1 + K, T-1) ticks and ring_valid
        f32, row 0 of them the stream's, the oldest first.

        To pred_logits (B, N, C), pred_boxes (B, N, 4) cxcywh in 0..1, mask_embed (B, N, M), mask_features (B, M, H/2,
        W/2), next_hs (B, N, D), the K track rows first. The mask logits of row i are mask_embed[i] . mask_features
        inside its box. Then, as far as the heads are there: semantic u8 (B, H/2, W/2), key_features (B, c, H/2, W/2),
        key_embed (B, N, P * c), key_logits (B, N, P), key_offset (B, N, P, 2), object_feature (B, N, F), clip_feature
        (B, F), action_logits (B, K, A) of the tracks in their slots, scene_logits (B, A). Rows of empty slots carry no
        meaning.
        """
        scene = self.look(images)
        last = self.decode(scene, track_hs, track_boxes, track_valid)[-1]
        said = self.answer(last, scene.tokens, scene.clip_feature, ring) | self.picture(scene)
        return tuple(said[name] for name in self.output_names)

    def picture(self, scene: Scene | Seen) -> dict[str, Tensor]:
        """What is served of a picture, by name, as far as the heads are there."""
        said = {"mask_features": scene.mask_features}
        if scene.semantic_logits is not None:
            said["semantic"] = scene.semantic_logits.argmax(dim=1).to(torch.uint8)
        if scene.key_features is not None:
            said["key_features"] = scene.key_features
        if scene.clip_feature is not None:
            said["clip_feature"] = scene.clip_feature
        return said

    def answer(
        self, last: LayerOutput, tokens: Tensor | None, clip_feature: Tensor | None, ring: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """The rows as served, by name: logits, boxes inside the picture, kernels, next queries."""
        centre, size = last.boxes[..., :2].clamp(0.0, 1.0), last.boxes[..., 2:].clamp(SMALLEST_SIDE, 1.0)
        boxes = torch.cat((centre, size), dim=-1)
        said = {"pred_logits": last.logits, "pred_boxes": boxes, "next_hs": self.next_hs(last.hs)}
        if self.config.masks:
            said["mask_embed"] = self.mask_embed(last.hs, boxes)
        if self.keypoints is not None:
            said.update(zip(KEY_NAMES, self.keypoints(last.hs), strict=True))
        if self.actions is not None:
            assert tokens is not None and clip_feature is not None
            feature = self.actions.features(last.hs, self.actions.region(tokens, boxes), boxes)
            said["object_feature"] = feature
            tracks = feature[:, : self.config.track_slots]
            said["action_logits"], said["scene_logits"] = self.actions(tracks, clip_feature, *ring)
        return said
