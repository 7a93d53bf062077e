"""ViT checkpoints as timm writes them (huggingface/pytorch-image-models, Apache-2.0): our names are theirs.

All sizes are read off the shapes but the number of heads, which no shape tells: 64 channels a head, as in the tiny,
small, base and large models, 80 in the huge one. Position embeddings of another picture size are resized as timm does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from engines.checkpoints.fitting import Fitting, Taken
from engines.models.vit import Triple, ViT, ViTConfig, resized_positions, save_vit
from streamer.errors import EngineError

save = save_vit


def plan(tensors: Mapping[str, Tensor], options: Mapping[str, Any], *, where: str) -> Fitting:
    """The module of these tensors. `options`: height, width (px; else the trained size), labels, heads, mean, std.

    timm's own `vit_*` weights want mean and std 0.5 (the default), DeiT's ImageNet's. Raises EngineError, one line.
    """
    shape = encoder_shape(tensors, "", options, where=where)
    classes = len(tensors["head.bias"]) if "head.bias" in tensors else 0
    config = ViTConfig(
        **shape,
        labels=class_labels(options.get("labels"), classes, where=where),
        mean=triple(options.get("mean"), (0.5, 0.5, 0.5)),
        std=triple(options.get("std"), (0.5, 0.5, 0.5)),
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
    )
    return Fitting(ViT(config), {"pos_embed": positions_for("pos_embed", config.grid_hw)})


def encoder_shape(
    tensors: Mapping[str, Tensor], prefix: str, options: Mapping[str, Any], *, where: str
) -> dict[str, Any]:
    """height, width, patch, dim, depth, heads, mlp_dim of an encoder with timm's names behind `prefix`."""
    try:
        dim, _, patch, _ = tensors[f"{prefix}patch_embed.proj.weight"].shape
        cells = tensors[f"{prefix}pos_embed"].shape[1] - 1
        mlp_dim = len(tensors[f"{prefix}blocks.0.mlp.fc1.bias"])
    except (KeyError, ValueError) as error:
        raise EngineError(
            f"no ViT is in it: {error}", where=where, mend="give a checkpoint of timm's layout"
        ) from None
    depth = 0
    while f"{prefix}blocks.{depth}.norm1.weight" in tensors:
        depth += 1
    side = round(cells**0.5) * patch
    return {
        "height": int(options.get("height") or side),
        "width": int(options.get("width") or side),
        "patch": patch,
        "dim": dim,
        "depth": depth,
        "heads": int(options.get("heads") or heads_of(dim)),
        "mlp_dim": mlp_dim,
    }


def heads_of(dim: int) -> int:
    """How many heads a published ViT of this width has."""
    return 16 if dim == 1280 else max(1, dim // 64)


def class_labels(given: Sequence[str] | None, classes: int, *, where: str) -> tuple[str, ...]:
    """The names given, which must be as many as there are classes, or numbers for want of names."""
    if given and len(given) != classes:
        raise EngineError(
            f"{len(given)} labels for {classes} classes", where=where, mend="name each class once, in order"
        )
    return tuple(given) if given else tuple(f"class {i}" for i in range(classes))


def triple(given: Any, otherwise: Triple) -> Triple:
    """One number a colour channel: of a list of three, or of one number for all."""
    if given is None:
        return otherwise
    values = [float(v) for v in (given if isinstance(given, (list, tuple)) else [given] * 3)]
    if len(values) != 3:
        raise EngineError(f"{len(values)} numbers for 3 colour channels", where="mean, std")
    return values[0], values[1], values[2]


def positions_for(
    name: str,
    grid_hw: tuple[int, int],
    *,
    mode: str = "bicubic",
    antialias: bool = True,
    class_token: bool = True,
) -> Taken:
    """Their position embeddings laid over our grid; without `class_token` those of the patches alone."""
    resize = partial(resized_positions, grid_hw=grid_hw, mode=mode, antialias=antialias)
    return Taken(name, resize if class_token else lambda t: resize(t)[:, 1:])
