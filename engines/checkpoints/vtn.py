"""VTN checkpoints of bomri/SlowFast projects/vtn (Apache-2.0), under `model_state`.

The backbone has timm's names, the temporal encoder those of `transformers`' Longformer. No shape tells the heads (64
channels each), the window, nor how many frames make a clip: those are the published configuration's unless given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from engines.checkpoints.fitting import Fitting, Taken
from engines.checkpoints.vit import class_labels, encoder_shape, heads_of, positions_for, triple
from engines.models.vtn import Vtn, VtnConfig, save_vtn
from streamer.errors import EngineError

save = save_vtn

_LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.query_global": "attention.self.query_global",
    "attention.key_global": "attention.self.key_global",
    "attention.value_global": "attention.self.value_global",
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}


def plan(tensors: Mapping[str, Tensor], options: Mapping[str, Any], *, where: str) -> Fitting:
    """The module of these tensors. `options`: height, width (px), labels, heads, temporal_heads, frames, window,
    stride_s, position_hz, mean, std. Raises EngineError, one line, for a file of another layout."""
    encoder, layers = "temporal_encoder.embeddings", "temporal_encoder.encoder.layer"
    shape = encoder_shape(tensors, "backbone.", options, where=where)
    try:
        positions = len(tensors[f"{encoder}.position_embeddings.weight"])
        temporal_mlp_dim = len(tensors[f"{layers}.0.intermediate.dense.bias"])
        head_dim = len(tensors["mlp_head.1.bias"])
        classes = len(tensors["mlp_head.4.bias"])
    except KeyError as error:
        mend = "give a checkpoint of bomri/SlowFast's VTN"
        raise EngineError(f"no VTN is in it: {error}", where=where, mend=mend) from None
    found = {m[1] for name in tensors if (m := re.match(re.escape(layers) + r"\.(\d+)\.", name))}
    asked: dict[str, Any] = {
        name: kind(options[name])
        for name, kind in (("frames", int), ("window", int), ("stride_s", float), ("position_hz", float))
        if options.get(name) is not None
    }
    config = VtnConfig(
        **shape,
        **asked,
        labels=class_labels(options.get("labels"), classes, where=where),
        mean=triple(options.get("mean"), (0.45, 0.45, 0.45)),
        std=triple(options.get("std"), (0.225, 0.225, 0.225)),
        positions=positions,
        temporal_depth=len(found),
        temporal_heads=int(options.get("temporal_heads") or heads_of(shape["dim"])),
        temporal_mlp_dim=temporal_mlp_dim,
        head_dim=head_dim,
    )
    names: dict[str, str | Taken] = {
        "backbone.pos_embed": positions_for("backbone.pos_embed", config.grid_hw),
        "temporal.position.weight": f"{encoder}.position_embeddings.weight",
        "temporal.kind.weight": f"{encoder}.token_type_embeddings.weight",
        "temporal.norm.weight": f"{encoder}.LayerNorm.weight",
        "temporal.norm.bias": f"{encoder}.LayerNorm.bias",
    }
    for i in range(config.temporal_depth):
        for ours, theirs in _LAYER.items():
            for end in ("weight", "bias"):
                names[f"temporal.layers.{i}.{ours}.{end}"] = f"{layers}.{i}.{theirs}.{end}"
    # What LongformerModel brings along and the authors never call.
    unused = (r"temporal_encoder\.embeddings\.word_embeddings\.weight", r"temporal_encoder\.pooler\..*")
    return Fitting(Vtn(config), names, unused)
