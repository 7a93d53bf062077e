"""DETR's mask head: for the likeliest queries, where in the picture each one's object or stuff is.

Source: Carion et al. 2020, section 4.4, and the released panoptic weights of facebookresearch/detr. A query's attention
to the picture, one map a head, grows through five convolutions and the backbone's finer features to stride 4.

The head costs as much for each query as the whole decoder for all, and most queries say "nothing": so only the K
likeliest have a mask, chosen inside the graph by a top-k of fixed size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.models.attention import MASKED
from engines.models.coco_labels import COCO_PANOPTIC, THINGS
from engines.models.detr import (
    ATTENTION_NAMES,
    INPUT_NAMES,
    Detr,
    DetrAnswer,
    DetrConfig,
    attention_of,
    example_inputs,
    normalised,
)
from engines.models.files import load_weights, save_weights
from streamer.errors import EngineError

__all__ = [
    "FORMAT",
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "AttentionMap",
    "DetrMasks",
    "DetrMasksConfig",
    "MaskHead",
    "example_inputs",
    "load_detr_masks",
    "save_detr_masks",
]

OUTPUT_NAMES = ("pred_logits", "pred_boxes", "pred_masks", "mask_queries")
FORMAT = "sightline.detr-panoptic/1"
GROUPS = 8  # of each group norm


@dataclass(frozen=True, slots=True)
class DetrMasksConfig(DetrConfig):
    """DETR's config, and `masks`: how many queries have one. Labels below `things` are things, the others stuff."""

    labels: tuple[str, ...] = COCO_PANOPTIC
    masks: int = 20
    things: int = THINGS

    def __post_init__(self) -> None:
        DetrConfig.__post_init__(self)
        if not 1 <= self.masks <= self.queries:
            raise EngineError(
                f"{self.masks} masks of {self.queries} queries",
                where="DetrMasksConfig",
                mend="choose 1 to as many as there are queries",
            )

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> DetrMasksConfig:
        """The inverse of `dataclasses.asdict` after a trip through JSON (lists become tuples again)."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})  # type: ignore[arg-type]


class DetrMasks(nn.Module):
    """Detects and segments. Parameter names are the authors': all of DETR lies under `detr.`."""

    def __init__(self, config: DetrMasksConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DetrMasksConfig()
        self.output_names = OUTPUT_NAMES + (ATTENTION_NAMES if config.attention else ())
        self.detr = Detr(config, stages=(1, 2, 3, 4))
        channels = self.detr.backbone.channels
        self.bbox_attention = AttentionMap(config.hidden_dim, config.heads)
        self.mask_head = MaskHead(config.hidden_dim, config.heads, (channels[2], channels[1], channels[0]))

    def forward(self, images: Tensor, content_hw: Tensor) -> tuple[Tensor, ...]:
        """Inputs as DETR's. To pred_logits (B, Q, C + 1), pred_boxes (B, Q, 4) cxcywh in 0..1 of the content,
        pred_masks (B, K, H/4, W/4) logits over the padded picture, mask_queries i64 (B, K): which query each mask is
        of, the likeliest first; and attention as DETR's.
        """
        answer = self.detr.answer(normalised(images, content_hw), content_hw)
        chosen = self.likeliest(answer.logits)
        return answer.logits, answer.boxes, self.masks(answer, chosen), chosen, *attention_of(answer)

    def likeliest(self, logits: Tensor) -> Tensor:
        """The K queries surest of some class that is not "nothing": (B, Q, C + 1) to i64 (B, K)."""
        sure = torch.softmax(logits, dim=-1)[..., :-1].amax(dim=-1)  # (B, Q)
        return torch.topk(sure, self.config.masks, dim=1).indices

    def masks(self, answer: DetrAnswer, chosen: Tensor) -> Tensor:
        """The mask logits of the queries `chosen` i64 (B, K): (B, K, H/4, W/4)."""
        hs = answer.hs.gather(1, chosen.unsqueeze(-1).expand(-1, -1, answer.hs.shape[-1]))  # (B, K, D)
        rows, columns = map(int, answer.projected.shape[2:])
        looks = self.bbox_attention(hs, answer.memory, answer.padding)  # (B, K, h, S)
        looks = looks.reshape(-1, self.config.masks, self.config.heads, rows, columns)
        out: Tensor = self.mask_head(answer.projected, looks, answer.features)
        return out


class AttentionMap(nn.Module):
    """How much each query looks where, by head: one softmax over all heads and tokens of a query together."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(dim, dim)
        self.k_linear = nn.Linear(dim, dim)

    def forward(self, hs: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        """`hs` (B, K, D), `memory` (B, S, D), `padding` bool (B, S) to (B, K, h, S)."""
        (k, dim), s = map(int, hs.shape[1:]), int(memory.shape[1])
        head_dim = dim // self.heads
        queries = self.q_linear(hs).reshape(-1, k, self.heads, head_dim).transpose(1, 2)  # (B, h, K, d)
        keys = self.k_linear(memory).reshape(-1, s, self.heads, head_dim).transpose(1, 2)  # (B, h, S, d)
        logits = (queries * head_dim**-0.5) @ keys.transpose(-1, -2)  # (B, h, K, S)
        logits = logits + (padding.to(logits.dtype) * MASKED)[:, None, None, :]
        together = logits.transpose(1, 2).reshape(-1, k, self.heads * s)  # (B, h, K, S) -> (B, K, h * S)
        return torch.softmax(together, dim=-1).reshape(-1, k, self.heads, s)


class MaskHead(nn.Module):
    """Attention maps to mask logits: five convolutions, with the finer features added on the way up.

    `fine_channels` are those of the features at strides 16, 8 and 4. Every query goes through by itself, so K joins
    the batch; what does not depend on the query is computed once a picture and added to all of its queries.
    """

    def __init__(self, dim: int, heads: int, fine_channels: tuple[int, int, int]) -> None:
        super().__init__()
        widths = (dim + heads, dim // 2, dim // 4, dim // 8, dim // 16)
        self.lay1, self.gn1 = nn.Conv2d(widths[0], widths[0], 3, padding=1), nn.GroupNorm(GROUPS, widths[0])
        self.lay2, self.gn2 = nn.Conv2d(widths[0], widths[1], 3, padding=1), nn.GroupNorm(GROUPS, widths[1])
        self.lay3, self.gn3 = nn.Conv2d(widths[1], widths[2], 3, padding=1), nn.GroupNorm(GROUPS, widths[2])
        self.lay4, self.gn4 = nn.Conv2d(widths[2], widths[3], 3, padding=1), nn.GroupNorm(GROUPS, widths[3])
        self.lay5, self.gn5 = nn.Conv2d(widths[3], widths[4], 3, padding=1), nn.GroupNorm(GROUPS, widths[4])
        self.out_lay = nn.Conv2d(widths[4], 1, 3, padding=1)
        self.adapter1 = nn.Conv2d(fine_channels[0], widths[1], 1)
        self.adapter2 = nn.Conv2d(fine_channels[1], widths[2], 1)
        self.adapter3 = nn.Conv2d(fine_channels[2], widths[3], 1)

    def forward(self, projected: Tensor, looks: Tensor, features: tuple[Tensor, ...]) -> Tensor:
        """`projected` (B, D, h, w), `looks` (B, K, heads, h, w), `features` at strides 4, 8, 16 to (B, K, H/4, W/4)."""
        k, dim = int(looks.shape[1]), int(projected.shape[1])
        x4, x8, x16 = features
        # A convolution of stacked channels is the sum of theirs: the picture's part is the same for all its queries.
        shared = F.conv2d(projected, self.lay1.weight[:, :dim], self.lay1.bias, padding=1)
        own = F.conv2d(
            looks.reshape(-1, *map(int, looks.shape[2:])), self.lay1.weight[:, dim:], padding=1
        )  # (B * K, D + heads, h, w)
        x = F.relu(self.gn1(_with(own, shared, k)))
        x = F.relu(self.gn2(self.lay2(x)))
        x = _with(_grown(x, x16), self.adapter1(x16), k)
        x = F.relu(self.gn3(self.lay3(x)))
        x = _with(_grown(x, x8), self.adapter2(x8), k)
        x = F.relu(self.gn4(self.lay4(x)))
        x = _with(_grown(x, x4), self.adapter3(x4), k)
        x = self.out_lay(F.relu(self.gn5(self.lay5(x))))  # (B * K, 1, H/4, W/4)
        out: Tensor = x.reshape(-1, k, int(x.shape[2]), int(x.shape[3]))
        return out


def _with(own: Tensor, shared: Tensor, k: int) -> Tensor:
    """Adds `shared` (B, c, h, w) to each of a picture's K rows of `own` (B * K, c, h, w)."""
    c, h, w = map(int, own.shape[1:])
    return (own.reshape(-1, k, c, h, w) + shared.unsqueeze(1)).reshape(-1, c, h, w)


def _grown(x: Tensor, like: Tensor) -> Tensor:
    """`x` at the rows and columns of `like`, each cell as its nearest: with DC5 they may be the same already."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=(int(like.shape[2]), int(like.shape[3])), mode="nearest")


def save_detr_masks(model: DetrMasks, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes float32 safetensors with the config in the file's metadata; `notes` go there too."""
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes)


def load_detr_masks(path: Path | str) -> DetrMasks:
    """The model of a file that `save_detr_masks` wrote, float32, in eval mode. Raises EngineError, one line."""

    def make(fields: Mapping[str, Any]) -> DetrMasks:
        return DetrMasks(DetrMasksConfig.from_dict(fields))

    return load_weights(path, format=FORMAT, make=make, mend="import one with `sightline models import`")
