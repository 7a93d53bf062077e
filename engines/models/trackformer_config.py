"""TrackFormer's shapes: all that fixes the graphs of its two variants, and what is checked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.models.deform_attention import Sampler
from engines.models.resnet import RESNET_50, grid_hw
from streamer.errors import EngineError

FITS = ("pad", "stretch")  # content lies at the top left, or there is no padding


@dataclass(frozen=True, slots=True)
class TrackFormerConfig:
    """All that fixes the graph's shapes; as released for MOT17, on an engine's picture of `height` x `width` px.

    `labels` name the first classes; the others are never objects (the released model has 20 classes, and only the
    first, person, was trained). `frames` 2: this one and the one before; 1: this one alone. `overflow_boxes`: boxes
    may reach out of the picture. `sampler`: how deformable attention reads, see engines/models/deform_attention.py.
    """

    height: int = 800
    width: int = 1333
    labels: tuple[str, ...] = ("person",)
    fit: str = "pad"
    classes: int = 20
    backbone_layers: tuple[int, int, int, int] = RESNET_50
    backbone_width: int = 64
    hidden_dim: int = 288
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    encoder_points: int = 4
    decoder_points: int = 4
    feed_dim: int = 1024
    levels: int = 4
    frames: int = 2
    object_queries: int = 500
    track_slots: int = 100
    box_refine: bool = True
    overflow_boxes: bool = True
    scores: str = "sigmoid"
    boxes_of: str = "content"
    sampler: Sampler = "grid"

    def __post_init__(self) -> None:
        check_picture(self.height, self.width, self.fit)
        check_labels(self.labels, self.classes)
        if self.levels < 3 or self.frames not in (1, 2):
            raise EngineError(
                f"{self.levels} levels of {self.frames} frames: at least 3, of 1 or 2 frames, are known"
            )
        if self.hidden_dim % (6 if self.frames == 2 else 4) or self.hidden_dim % 32:
            raise EngineError(
                f"hidden_dim {self.hidden_dim} does not divide into 32 groups and pairs of sines"
            )

    @property
    def grids_hw(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the levels' grids: strides 8, 16, 32, and each further one half of the one before."""
        grids = [grid_hw((self.height, self.width), stride) for stride in (8, 16, 32)]
        while len(grids) < self.levels:
            grids.append(grid_hw(grids[-1], 2))
        return tuple(grids)

    @property
    def cells(self) -> int:
        """S, the cells of all grids."""
        return sum(rows * columns for rows, columns in self.grids_hw)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> TrackFormerConfig:
        """The inverse of `dataclasses.asdict` through JSON, where tuples come back as lists."""
        return cls(**_tuples(fields))


@dataclass(frozen=True, slots=True)
class TrackFormerDetrConfig:
    """All that fixes the DETR-based variant, as its authors train it; see TrackFormerConfig.

    `classes` are those of objects: logits have one more, "nothing", and scores are a softmax. `dilation` is DC5.
    """

    height: int = 800
    width: int = 1333
    labels: tuple[str, ...] = ("person",)
    fit: str = "pad"
    classes: int = 20
    backbone_layers: tuple[int, int, int, int] = RESNET_50
    backbone_width: int = 64
    dilation: bool = False
    hidden_dim: int = 256
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    feed_dim: int = 2048
    object_queries: int = 100
    track_slots: int = 100
    overflow_boxes: bool = False
    scores: str = "softmax"
    boxes_of: str = "content"

    def __post_init__(self) -> None:
        check_picture(self.height, self.width, self.fit)
        check_labels(self.labels, self.classes)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> TrackFormerDetrConfig:
        """The inverse of `dataclasses.asdict` through JSON, where tuples come back as lists."""
        return cls(**_tuples(fields))


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def check_picture(height: int, width: int, fit: str) -> None:
    """Raises EngineError for a picture that leaves the last stage of the backbone no cell to halve, or another fit."""
    if min(height, width) < 64:
        raise EngineError(
            f"a picture of {width}x{height} is too small", mend="give at least 64 pixels each way"
        )
    if fit not in FITS:
        raise EngineError(f"fit {fit!r} is not one of {', '.join(FITS)}")


def check_labels(labels: tuple[str, ...], classes: int) -> None:
    if not 1 <= len(labels) <= classes:
        raise EngineError(f"{len(labels)} labels for {classes} classes")
