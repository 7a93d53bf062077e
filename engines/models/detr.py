"""DETR: a set of queries reads a picture through a transformer, and each says of one object what and where it is.

Source: Carion et al. 2020, "End-to-End Object Detection with Transformers"; released weights of
facebookresearch/detr (R50, R101, and DC5, where the backbone's last stage keeps stride 16).

    pixels ─ ResNet ─ 1x1 to D ─ + sines ─ encoder x 6 ─┬─► decoder x 6 ─┬─ class_embed ─► pred_logits (C + 1 classes)
                                       Q learned queries ┘                └─ bbox_embed ──► pred_boxes

Dimensions: B pictures, S = h * w tokens at stride 32 (16 with DC5), Q queries, D hidden, C classes. Pictures keep their
aspect and are padded (`streamer.types.Fit.PAD`): the graph is told how much of each is content, blanks the rest and
keeps all attention off it, as the authors do with their mask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engines.models.coco_labels import COCO_91
from engines.models.detr_layers import MLP, Transformer
from engines.models.files import load_weights, save_weights
from engines.models.positions import padding_mask, sine_2d
from engines.models.resnet import RESNET_50, ResNet, grid_hw
from streamer.errors import EngineError

INPUT_NAMES = ("images", "content_hw")
OUTPUT_NAMES = ("pred_logits", "pred_boxes")
ATTENTION_NAMES = ("decoder_attention", "encoder_attention")
FORMAT = "sightline.detr/1"

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pixels in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class DetrConfig:
    """All that fixes the graph. `height` and `width` in pixels: the authors test at a short side of 800.

    `backbone_layers` are the bottlenecks of each stage, `backbone_width` the stem's channels; `dilation` is DC5.
    `attention` adds the last layers' weights to the outputs. `scores` and `boxes_of` tell the task how to read the
    answer: a softmax whose last class is "nothing", boxes as shares of the content and not of the padded picture.
    """

    height: int = 800
    width: int = 1066
    labels: tuple[str, ...] = COCO_91
    fit: str = "pad"
    scores: str = "softmax"
    boxes_of: str = "content"
    backbone_layers: tuple[int, ...] = RESNET_50
    backbone_width: int = 64
    dilation: bool = False
    hidden_dim: int = 256
    heads: int = 8
    feed_dim: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    queries: int = 100
    attention: bool = False

    def __post_init__(self) -> None:
        if self.height < 32 or self.width < 32:
            raise EngineError(
                f"a picture of {self.width}x{self.height} is too small for DETR",
                where="DetrConfig",
                mend="choose a height and width of at least 32",
            )

    @property
    def input_hw(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the tokens."""
        return grid_hw(self.input_hw, 16 if self.dilation else 32)

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> DetrConfig:
        """The inverse of `dataclasses.asdict` after a trip through JSON (lists become tuples again)."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})  # type: ignore[arg-type]


class DetrAnswer(NamedTuple):
    """What the queries said, and what a mask head needs of the way there."""

    logits: Tensor  # (B, Q, C + 1), the last class is "nothing"
    boxes: Tensor  # (B, Q, 4) cxcywh in 0..1 of the content
    hs: Tensor  # (B, Q, D)
    memory: Tensor  # (B, S, D)
    padding: Tensor  # bool (B, S), True = padding
    projected: Tensor  # (B, D, h, w): the backbone's last features
    features: tuple[Tensor, ...]  # of the stages before the last one asked for, finest first
    decoder_attention: Tensor | None  # (B, Q, S)
    encoder_attention: Tensor | None  # (B, S, S)


class Detr(nn.Module):
    """Detects. `forward` is the served graph; `answer` starts from normalised pixels, as the authors' model does.

    `stages` of the backbone are kept in the answer's features; a mask head wants them all, detection the last alone.
    """

    def __init__(self, config: DetrConfig | None = None, stages: tuple[int, ...] = (4,)) -> None:
        super().__init__()
        self.config = config = config or DetrConfig()
        self.output_names = OUTPUT_NAMES + (ATTENTION_NAMES if config.attention else ())
        dim = config.hidden_dim
        self.backbone = ResNet(
            config.backbone_layers, stages, width=config.backbone_width, dilation=config.dilation
        )
        self.input_proj = nn.Conv2d(self.backbone.channels[-1], dim, 1)
        self.query_embed = nn.Embedding(config.queries, dim)
        self.transformer = Transformer(
            dim, config.heads, config.feed_dim, config.encoder_layers, config.decoder_layers
        )
        self.class_embed = nn.Linear(dim, len(config.labels) + 1)
        self.bbox_embed = MLP(dim, dim, 4, 3)

    def forward(self, images: Tensor, content_hw: Tensor) -> tuple[Tensor, ...]:
        """`images` u8 (B, H, W, 3) RGB, `content_hw` i32 (B, 2): rows and columns that are not padding.

        To pred_logits (B, Q, C + 1), pred_boxes (B, Q, 4) cxcywh in 0..1 of the content, and with `config.attention`
        decoder_attention (B, Q, S) and encoder_attention (B, S, S).
        """
        answer = self.answer(normalised(images, content_hw), content_hw)
        return answer.logits, answer.boxes, *attention_of(answer)

    def answer(self, pixels: Tensor, content_hw: Tensor) -> DetrAnswer:
        """`pixels` f32 (B, 3, H, W) normalised, zero where padded; `content_hw` as in `forward`."""
        *fine, last = self.backbone(pixels)
        padding = padding_mask(content_hw, (pixels.shape[2], pixels.shape[3]), last.shape[2:])  # (B, h, w)
        places = sine_2d(padding, self.config.hidden_dim).flatten(1, 2)  # (B, h, w, D) -> (B, S, D)
        projected = self.input_proj(last)
        tokens = projected.flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, S, D)
        flat = padding.flatten(1)  # (B, h, w) -> (B, S)
        hs, memory, looks, encoder_looks = self.transformer(
            tokens, places, flat, self.query_embed.weight, self.config.attention
        )
        return DetrAnswer(
            logits=self.class_embed(hs),
            boxes=self.bbox_embed(hs).sigmoid(),
            hs=hs,
            memory=memory,
            padding=flat,
            projected=projected,
            features=tuple(fine),
            decoder_attention=looks,
            encoder_attention=encoder_looks,
        )


def normalised(images: Tensor, content_hw: Tensor) -> Tensor:
    """u8 (B, H, W, 3) RGB to f32 (B, 3, H, W), ImageNet's mean and deviation taken out; padding becomes 0, the mean."""
    height, width = map(int, images.shape[1:3])  # plain numbers: a tracer would keep them as tensors
    scale = torch.tensor([1 / (255 * s) for s in IMAGENET_STD]).view(1, 3, 1, 1)
    shift = torch.tensor([m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]).view(1, 3, 1, 1)
    # Cast before all else: TensorRT takes bytes only to cast them.
    pixels = images.float().permute(0, 3, 1, 2) * scale - shift
    content = content_hw.to(torch.int32)  # integers keep their value in bfloat16
    rows = (torch.arange(height, dtype=torch.int32) < content[:, :1]).float()  # (B, H)
    columns = (torch.arange(width, dtype=torch.int32) < content[:, 1:]).float()  # (B, W)
    return pixels * rows[:, None, :, None] * columns[:, None, None, :]


def attention_of(answer: DetrAnswer) -> tuple[Tensor, ...]:
    """The weights that were asked for, or nothing."""
    return tuple(t for t in (answer.decoder_attention, answer.encoder_attention) if t is not None)


def example_inputs(batch: int, config: DetrConfig | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise pictures, each with another share of padding at the right or below, the first of every four with none."""
    config = config or DetrConfig()
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, *config.input_hw, 3), dtype=torch.uint8, generator=rng)
    share = 0.55 + 0.45 * torch.rand(batch, 2, generator=rng)
    share[0::2, 0] = 1.0
    share[0::4, 1] = share[1::2, 1] = 1.0
    content_hw = (share * torch.tensor(config.input_hw, dtype=torch.float32)).to(torch.int32)
    return images, content_hw


def save_detr(model: Detr, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes float32 safetensors with the config in the file's metadata; `notes` go there too."""
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes)


def load_detr(path: Path | str, attention: str = "") -> Detr:
    """The model of a file that `save_detr` wrote, float32, in eval mode. Raises EngineError, one line.

    `attention`, any text, adds the last layers' weights to the outputs.
    """

    def make(fields: Mapping[str, Any]) -> Detr:
        config = DetrConfig.from_dict(fields)
        return Detr(dataclasses.replace(config, attention=True) if attention else config)

    return load_weights(path, format=FORMAT, make=make, mend="import one with `sightline models import`")
