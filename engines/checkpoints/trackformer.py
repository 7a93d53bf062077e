"""TrackFormer as its authors keep it (timmeinhardt/trackformer, under "model"), DETR-based and deformable.

Which variant, how many layers, levels, frames, queries and classes is read off the tensors; what they do not say (boxes
that may reach out of the picture, the size of the picture, the names of the classes) comes from the options.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engines.checkpoints.fitting import Fitting
from engines.models.trackformer import TrackFormer, TrackFormerConfig, save_trackformer
from engines.models.trackformer_detr import TrackFormerDetr, TrackFormerDetrConfig, save_trackformer_detr
from streamer.errors import EngineError

BODY = "backbone.0.body."
HEADS = 8  # in every configuration of theirs; the shapes do not tell it
# The same tensors under a second name, and an embedding that old files have and no model reads.
UNUSED = (r"transformer\.decoder\.bbox_embed\..*", r".*track_encoding.*")


def plan(tensors: Mapping[str, Tensor], options: Mapping[str, Any], *, where: str) -> Fitting:
    """The module a checkpoint is of, and what its authors call each tensor.

    `options` may hold any field of the variant's config, such as height, width, labels, track_slots. Raises
    EngineError, one line, if a tensor that the shapes are read from is missing, or the two frames are encoded together.
    """
    deformable = "transformer.level_embed" in tensors
    module = _deformable(tensors, options, where) if deformable else _plain(tensors, options, where)
    names = {
        name: BODY + name.removeprefix("backbone.")
        for name in module.state_dict()
        if name.startswith("backbone.")
    }
    return Fitting(module, names, UNUSED)


def save(module: nn.Module, path: Path, notes: Mapping[str, str]) -> None:
    """Writes either variant's weights file."""
    if isinstance(module, TrackFormer):
        save_trackformer(module, path, notes)
    else:
        assert isinstance(module, TrackFormerDetr)
        save_trackformer_detr(module, path, notes)


def _deformable(tensors: Mapping[str, Tensor], options: Mapping[str, Any], where: str) -> TrackFormer:
    levels = _count(tensors, r"input_proj\.(\d+)\.")
    seen, dim = _shape(tensors, "transformer.level_embed", where)
    queries, _ = _shape(tensors, "query_embed.weight", where)
    classes, _ = _shape(tensors, "class_embed.0.weight", where)
    feed, _ = _shape(tensors, "transformer.encoder.layers.0.linear1.weight", where)
    encoder_weights, _ = _shape(
        tensors, "transformer.encoder.layers.0.self_attn.attention_weights.weight", where
    )
    decoder_weights, _ = _shape(
        tensors, "transformer.decoder.layers.0.cross_attn.attention_weights.weight", where
    )
    frames = seen // levels if levels else 0
    if frames == 2 and encoder_weights == decoder_weights:
        raise EngineError(
            "this model encodes both frames together",
            where=where,
            mend="only multi_frame_attention_separate_encoder: true is served",
        )
    read = {
        **_backbone(tensors, where),
        "classes": classes,
        "hidden_dim": dim,
        "heads": HEADS,
        "encoder_layers": _count(tensors, r"transformer\.encoder\.layers\.(\d+)\."),
        "decoder_layers": _count(tensors, r"transformer\.decoder\.layers\.(\d+)\."),
        "encoder_points": encoder_weights // (HEADS * max(levels, 1)),
        "decoder_points": decoder_weights // (HEADS * max(seen, 1)),
        "feed_dim": feed,
        "levels": levels,
        "frames": frames,
        "object_queries": queries,
        "box_refine": any(name.startswith("transformer.decoder.bbox_embed.") for name in tensors),
    }
    return TrackFormer(TrackFormerConfig(**read | _asked(TrackFormerConfig, options, where)))


def _plain(tensors: Mapping[str, Tensor], options: Mapping[str, Any], where: str) -> TrackFormerDetr:
    queries, dim = _shape(tensors, "query_embed.weight", where)
    logits, _ = _shape(tensors, "class_embed.weight", where)
    feed, _ = _shape(tensors, "transformer.encoder.layers.0.linear1.weight", where)
    read = {
        **_backbone(tensors, where),
        "classes": logits - 1,
        "hidden_dim": dim,
        "heads": HEADS,
        "encoder_layers": _count(tensors, r"transformer\.encoder\.layers\.(\d+)\."),
        "decoder_layers": _count(tensors, r"transformer\.decoder\.layers\.(\d+)\."),
        "feed_dim": feed,
        "object_queries": queries,
    }
    return TrackFormerDetr(TrackFormerDetrConfig(**read | _asked(TrackFormerDetrConfig, options, where)))


def _asked(config: type[Any], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options that were given, in the config's types. Raises EngineError for one that is no field of it."""
    known = {field.name for field in dataclasses.fields(config)}
    if unknown := sorted(set(options) - known):
        raise EngineError(
            f"unknown option {unknown[0]!r}", where=where, mend=f"known: {', '.join(sorted(known))}"
        )
    return {n: tuple(v) if isinstance(v, list) else v for n, v in options.items() if v is not None}


def _backbone(tensors: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    width = _shape(tensors, BODY + "conv1.weight", where)[0]
    blocks = tuple(_count(tensors, rf"backbone\.0\.body\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    return {"backbone_layers": blocks, "backbone_width": width}


def _count(tensors: Mapping[str, Tensor], numbered: str) -> int:
    """How many numbers a name's pattern takes: one more than the highest."""
    found = [int(m[1]) for m in (re.match(numbered, name) for name in tensors) if m]
    return max(found, default=-1) + 1


def _shape(tensors: Mapping[str, Tensor], name: str, where: str) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim < 2:
        raise EngineError(
            f"1 missing: {name}", where=where, mend="give a checkpoint of timmeinhardt/trackformer's layout"
        )
    return tuple(tensors[name].shape)
