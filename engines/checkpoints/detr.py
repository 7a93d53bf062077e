"""Checkpoints of facebookresearch/detr: R50, R101, their DC5 kind, detection and panoptic.

Everything but three facts is read off the tensors: the size of the picture, that DC5's last stage is dilated (its
tensors are those of the plain kind), and the number of heads where there is no mask head to tell it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engines.checkpoints.fitting import Fitting
from engines.models.coco_labels import COCO_91, COCO_PANOPTIC, NO_NAME
from engines.models.detr import Detr, DetrConfig, save_detr
from engines.models.detr_masks import DetrMasks, DetrMasksConfig, save_detr_masks
from streamer.errors import EngineError

MEND = "give a checkpoint of facebookresearch/detr, or another --family"
NAMES = {len(COCO_91): COCO_91, len(COCO_PANOPTIC): COCO_PANOPTIC}


def plan(tensors: Mapping[str, Tensor], options: Mapping[str, Any], *, where: str) -> Fitting:
    """The module that these tensors are of, and what its authors call them.

    `options` may hold height, width, labels, dilation (True for DC5), heads, attention, and for panoptic masks and
    things. Raises EngineError if a tensor that decides the shape is missing, or the labels do not fit.
    """
    panoptic = any(name.startswith(("detr.", "mask_head.", "bbox_attention.")) for name in tensors)
    prefix = "detr." if panoptic else ""

    def shape(name: str, axes: int) -> tuple[int, ...]:
        tensor = tensors.get(name)
        if tensor is None or tensor.ndim != axes:
            what = "is missing" if tensor is None else f"has {tensor.ndim} axes for {axes}"
            raise EngineError(f"{name} {what}", where=where, mend=MEND)
        return tuple(tensor.shape)

    body = f"{prefix}backbone.0.body."
    queries, dim = shape(f"{prefix}query_embed.weight", 2)
    fields: dict[str, Any] = {
        "labels": _labels(options, shape(f"{prefix}class_embed.weight", 2)[0] - 1, where),
        "backbone_layers": tuple(_count(tensors, rf"{body}layer{i}\.(\d+)\.", where) for i in range(1, 5)),
        "backbone_width": shape(f"{body}conv1.weight", 4)[0],
        "hidden_dim": dim,
        "queries": queries,
        "feed_dim": shape(f"{prefix}transformer.encoder.layers.0.linear1.weight", 2)[0],
        "encoder_layers": _count(tensors, rf"{prefix}transformer\.encoder\.layers\.(\d+)\.", where),
        "decoder_layers": _count(tensors, rf"{prefix}transformer\.decoder\.layers\.(\d+)\.", where),
        "heads": shape("mask_head.lay1.weight", 4)[0] - dim if panoptic else 8,
    }
    if panoptic:
        fields["masks"] = min(DetrMasksConfig().masks, queries)
    taken = ("height", "width", "dilation", "heads", "attention", *(("masks", "things") if panoptic else ()))
    fields |= {name: options[name] for name in taken if options.get(name) is not None}
    if fields["heads"] < 1 or dim % fields["heads"]:
        raise EngineError(f"{fields['heads']} heads do not divide {dim} channels", where=where, mend=MEND)
    module = DetrMasks(DetrMasksConfig(**fields)) if panoptic else Detr(DetrConfig(**fields))
    ours = f"{prefix}backbone."
    names = {name: body + name.removeprefix(ours) for name in module.state_dict() if name.startswith(ours)}
    return Fitting(module, names)


def save(module: nn.Module, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes either kind as its family's weights file."""
    if isinstance(module, DetrMasks):
        save_detr_masks(module, path, notes)
    else:
        assert isinstance(module, Detr)
        save_detr(module, path, notes)


def _labels(options: Mapping[str, Any], count: int, where: str) -> tuple[str, ...]:
    """The names asked for, else COCO's where their number is COCO's, else numbers."""
    if (asked := options.get("labels")) is not None:
        if len(asked) != count:
            raise EngineError(
                f"{len(asked)} labels for {count} classes", where=where, mend="name every class, in order"
            )
        return tuple(str(name) for name in asked)
    return NAMES.get(count) or (NO_NAME, *(f"class {i}" for i in range(1, count)))


def _count(tensors: Mapping[str, Tensor], pattern: str, where: str) -> int:
    """How many layers of a stack there are, by the highest number in their names."""
    numbers = [int(m[1]) for name in tensors if (m := re.match(pattern, name))]
    if not numbers:
        raise EngineError(f"no tensor is named like {pattern}", where=where, mend=MEND)
    return max(numbers) + 1
