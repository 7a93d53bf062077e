"""A model of every family with weights drawn at random, small or at full size: what is verified where no weights are.

Random weights are harder on a comparison than trained ones: nothing is sure, so nothing hides a difference.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from streamer.errors import EngineError
from streamer.world import ACTIONS, KEYPOINTS, SEMANTIC

Save = Callable[[nn.Module, Path], None]
Make = Callable[[bool], tuple[nn.Module, Save]]


def _street(full: bool) -> tuple[nn.Module, Save]:
    kind = importlib.import_module("engines.models.street_family")
    heads: dict[str, Any] = dict(
        mask_places=True, semantic_labels=SEMANTIC, keypoint_names=KEYPOINTS, action_labels=ACTIONS
    )
    small = dict(
        height=48, width=64, widths=(8, 12, 16, 16), hidden_dim=32, heads=4, layers=2, feed_dim=32, fine_dim=16,
        mask_channels=6, object_queries=6, track_slots=7,
    )  # fmt: skip
    model = kind.Street(kind.StreetConfig(**({} if full else small), **heads))
    torch.nn.init.normal_(model.mask_places.fall.weight, std=0.1)  # zero before training: every place alike
    return model, kind.save_street


_SMALL_DETR: Mapping[str, Any] = dict(
    height=70, width=97, backbone_layers=(1, 1, 1, 1), backbone_width=8, hidden_dim=128, heads=8, feed_dim=64,
    encoder_layers=2, decoder_layers=2, queries=12,
)  # fmt: skip


def _detr(full: bool) -> tuple[nn.Module, Save]:
    kind = importlib.import_module("engines.models.detr")
    return kind.Detr(kind.DetrConfig(**({} if full else _SMALL_DETR))), kind.save_detr


def _detr_panoptic(full: bool) -> tuple[nn.Module, Save]:
    kind = importlib.import_module("engines.models.detr_masks")
    small = {**_SMALL_DETR, "masks": 5, "labels": ("person", "car", "road", "sky"), "things": 2}
    return kind.DetrMasks(kind.DetrMasksConfig(**({} if full else small))), kind.save_detr_masks


_SMALL_TRACKFORMER: Mapping[str, Any] = dict(
    height=70, width=97, backbone_layers=(1, 1, 1, 1), backbone_width=8, hidden_dim=96, feed_dim=64,
    encoder_layers=2, decoder_layers=2, object_queries=12, track_slots=7,
)  # fmt: skip
_FULL_TRACKFORMER: Mapping[str, Any] = dict(
    height=256, width=448
)  # two frames of the authors' 800x1333 are slow


def _trackformer(full: bool) -> tuple[nn.Module, Save]:
    kind = importlib.import_module("engines.models.trackformer")
    model = kind.TrackFormer(kind.TrackFormerConfig(**(_FULL_TRACKFORMER if full else _SMALL_TRACKFORMER)))
    for name, weight in model.named_parameters():
        if name.endswith(("sampling_offsets.weight", "attention_weights.weight")):
            torch.nn.init.normal_(
                weight, std=weight.shape[1] ** -0.5
            )  # zero before training: all queries read alike
    return model, kind.save_trackformer


def _trackformer_detr(full: bool) -> tuple[nn.Module, Save]:
    kind = importlib.import_module("engines.models.trackformer_detr")
    config = kind.TrackFormerDetrConfig(**(_FULL_TRACKFORMER if full else _SMALL_TRACKFORMER))
    return kind.TrackFormerDetr(config), kind.save_trackformer_detr


_SMALL_VIT: Mapping[str, Any] = dict(height=32, width=48, dim=32, depth=2, heads=2, mlp_dim=64)


def _vit(full: bool) -> tuple[nn.Module, Save]:
    kind = importlib.import_module("engines.models.vit")
    config: dict[str, Any] = {} if full else {**_SMALL_VIT, "blocks": (0,)}
    return kind.ViT(kind.ViTConfig(**config, labels=("cat", "dog", "cow"))), kind.save_vit


def _setr(full: bool) -> tuple[nn.Module, Save]:
    kind = importlib.import_module("engines.models.setr")
    # ViT-L and PUP as the authors have them, on a picture that a CPU gets through: theirs has nine times the tokens.
    config: dict[str, Any] = dict(height=256, width=256) if full else {**_SMALL_VIT, "channels": 16}
    return kind.Setr(kind.SetrConfig(**config)), kind.save_setr


def _vtn(full: bool) -> tuple[nn.Module, Save]:
    kind = importlib.import_module("engines.models.vtn")
    small: dict[str, Any] = dict(
        frames=6, window=4, positions=32, temporal_depth=2, temporal_heads=2, temporal_mlp_dim=48, head_dim=32,
    )  # fmt: skip
    return kind.Vtn(kind.VtnConfig(**({} if full else {**_SMALL_VIT, **small}))), kind.save_vtn


SAMPLES: Mapping[str, Make] = {
    "street": _street,
    "detr": _detr,
    "detr-panoptic": _detr_panoptic,
    "trackformer": _trackformer,
    "trackformer-detr": _trackformer_detr,
    "vit": _vit,
    "setr": _setr,
    "vtn": _vtn,
}


def samples(folder: Path, *, full: bool, only: Sequence[str] | None = None, seed: int = 0) -> Iterator[Path]:
    """Weight files of all families, or of `only` these, written into `folder` one by one as they are asked for.

    Raises EngineError for an unknown family.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or SAMPLES:
        if name not in SAMPLES:
            raise EngineError(f"no family {name!r}", mend=f"choose one of {', '.join(SAMPLES)}")
        yield sample(name, folder, full=full, seed=seed)


def sample(name: str, folder: Path, *, full: bool, seed: int = 0) -> Path:
    """One family's weight file, `random-NAME.safetensors`."""
    torch.manual_seed(seed)
    module, save = SAMPLES[name](full)
    path = folder / f"random-{name}.safetensors"
    save(module.eval(), path)
    return path
