"""SETR checkpoints, of the authors (fudan-zvg/SETR, MIT) and of mmsegmentation (Apache-2.0), which name them apart.

Where the two compute apart, too: mmseg's MLA numbers the maps from the last block to the first and enlarges without
aligned corners; its decoder's convolutions have no bias, and its patches may have none. Auxiliary heads only trained
the encoder and are left out, as is the authors' `decode_head.conv_seg`, which their decoders inherit and never call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engines.checkpoints.fitting import Fitting, Taken
from engines.checkpoints.vit import class_labels, heads_of, positions_for, triple
from engines.models.setr import Setr, SetrConfig, save_setr
from streamer.errors import EngineError

save = save_setr

LEVELS = 4  # of MLA
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Names = dict[str, str | Taken]


def plan(tensors: Mapping[str, Tensor], options: Mapping[str, Any], *, where: str) -> Fitting:
    """The module of these tensors.

    `options`: height, width (px; else the trained size), labels, heads, mean, std, full_size, logits.
    Raises EngineError, one line, for a file of neither layout.
    """
    theirs = "backbone.blocks." if "backbone.blocks.0.norm1.weight" in tensors else "backbone.layers."
    mla = any(name.startswith(("backbone.mla.", "neck.mla.")) for name in tensors)
    mmseg = theirs == "backbone.layers."
    patches = "backbone.patch_embed." + ("projection" if mmseg else "proj")
    try:
        dim, _, patch, _ = tensors[f"{patches}.weight"].shape
        cells = tensors["backbone.pos_embed"].shape[1] - 1
        mlp_dim = len(tensors[f"{theirs}0.{'ffn.layers.0.0' if mmseg else 'mlp.fc1'}.bias"])
        decoder = _mla_shape(tensors, mmseg) if mla else _up_shape(tensors, mmseg)
    except (KeyError, ValueError) as error:
        mend = "give a checkpoint of fudan-zvg/SETR or of mmseg's SETR"
        raise EngineError(f"no SETR is in it: {error}", where=where, mend=mend) from None
    depth = len({m[1] for name in tensors if (m := re.match(re.escape(theirs) + r"(\d+)\.", name))})
    side = round(cells**0.5) * patch
    classes = decoder.pop("classes")
    if mla:
        decoder["blocks"] = tuple((i + 1) * depth // LEVELS - 1 for i in range(LEVELS))
    config = SetrConfig(
        height=int(options.get("height") or side),
        width=int(options.get("width") or side),
        labels=class_labels(options.get("labels"), classes, where=where),
        patch=patch,
        dim=dim,
        depth=depth,
        heads=int(options.get("heads") or heads_of(dim)),
        mlp_dim=mlp_dim,
        patch_bias=f"{patches}.bias" in tensors,
        mean=triple(options.get("mean"), IMAGENET_MEAN),
        std=triple(options.get("std"), IMAGENET_STD),
        full_size=bool(options.get("full_size", True)),
        logits=bool(options.get("logits", False)),
        **decoder,
    )
    names: Names = {
        "backbone.pos_embed": positions_for(
            "backbone.pos_embed", config.grid_hw, mode="bilinear", antialias=False, class_token=not mla
        )
    }
    if mmseg:
        names |= _mmseg_encoder(config)
    names |= (_mmseg_mla if mmseg else _mla)(config) if mla else (_mmseg_up if mmseg else _up)(config)
    unused = [r"auxiliary_head\..*"]
    if not mmseg:
        unused.append(r"decode_head\.conv_seg\..*")
    if mla:
        unused.append(r"backbone\.cls_token")  # cut off before the first block
    return Fitting(Setr(config), names, unused)


def _up_shape(tensors: Mapping[str, Tensor], mmseg: bool) -> dict[str, Any]:
    """What the shapes say of a naive or progressive decoder."""
    first = tensors["decode_head.up_convs.0.0.conv.weight" if mmseg else "decode_head.conv_0.weight"]
    pattern = (
        r"decode_head\.up_convs\.\d+\.0\.conv\.weight" if mmseg else r"decode_head\.syncbn_fc_\d+\.weight"
    )
    steps = sum(bool(re.fullmatch(pattern, name)) for name in tensors)
    classify = "decode_head.conv_seg" if mmseg else f"decode_head.conv_{steps}"
    naive = steps == 1
    return {
        "decoder": "naive" if naive else "pup",
        "channels": first.shape[0],
        "kernel": first.shape[-1],
        "ups": ((4,) if mmseg else (1,)) if naive else (2,) * steps,
        "conv_bias": not mmseg,
        "classes": len(tensors[f"{classify}.bias"]),
    }


def _mla_shape(tensors: Mapping[str, Tensor], mmseg: bool) -> dict[str, Any]:
    """What the shapes say of an MLA decoder."""
    wide = "neck.mla.channel_proj.0.conv" if mmseg else "backbone.mla.mla_p2_1x1.0"
    narrow = "decode_head.up_convs.0.0.conv" if mmseg else "decode_head.mlahead.head2.0"
    classify = "decode_head.conv_seg" if mmseg else "decode_head.cls"
    return {
        "decoder": "mla",
        "channels": tensors[f"{wide}.weight"].shape[0],
        "head_channels": tensors[f"{narrow}.weight"].shape[0],
        "classify_kernel": tensors[f"{classify}.weight"].shape[-1],
        "align_corners": not mmseg,
        "classes": len(tensors[f"{classify}.bias"]),
    }


def _both(ours: str, theirs: str) -> Names:
    """Weight and bias; the running means come with `_norm`."""
    return {f"{ours}.{end}": f"{theirs}.{end}" for end in ("weight", "bias")}


def _norm(ours: str, theirs: str) -> Names:
    ends = ("weight", "bias", "running_mean", "running_var")
    return {f"{ours}.{end}": f"{theirs}.{end}" for end in ends}


def _step(ours: str, conv: str, norm: str) -> Names:
    return {**_both(f"{ours}.conv", conv), **_norm(f"{ours}.bn", norm)}


def _up(config: SetrConfig) -> Names:
    names = _both("decode_head.classify", f"decode_head.conv_{len(config.ups)}")
    for i in range(len(config.ups)):
        names |= _step(f"decode_head.steps.{i}", f"decode_head.conv_{i}", f"decode_head.syncbn_fc_{i}")
    return names


def _mmseg_up(config: SetrConfig) -> Names:
    names = _both("decode_head.classify", "decode_head.conv_seg")
    for i in range(len(config.ups)):
        step = f"decode_head.up_convs.{i}.0"
        names |= _step(f"decode_head.steps.{i}", f"{step}.conv", f"{step}.bn")
    return names


def _mla(config: SetrConfig) -> Names:
    names = _both("decode_head.classify", "decode_head.cls")
    for i in range(LEVELS):
        p, head = f"backbone.mla.mla_p{i + 2}", f"decode_head.mlahead.head{i + 2}"
        names |= _both(f"neck.norm.{i}", f"backbone.norm_{i}")
        names |= _step(f"neck.project.{i}", f"{p}_1x1.0", f"{p}_1x1.1")
        names |= _step(f"neck.smooth.{i}", f"{p}.0", f"{p}.1")
        names |= _step(f"decode_head.level.{i}.0", f"{head}.0", f"{head}.1")
        names |= _step(f"decode_head.level.{i}.1", f"{head}.3", f"{head}.4")
    return names


def _mmseg_mla(config: SetrConfig) -> Names:
    """Maps are made from the last block to the first, and keep that order up to the classes."""

    def turned(weight: Tensor) -> Tensor:
        """(C, levels * width, k, k) with the levels' channels in our order."""
        return torch.cat(weight.chunk(LEVELS, dim=1)[::-1], dim=1)

    names = _both("decode_head.classify", "decode_head.conv_seg")
    names["decode_head.classify.weight"] = Taken("decode_head.conv_seg.weight", turned)
    for i in range(LEVELS):
        project, smooth = f"neck.mla.channel_proj.{i}", f"neck.mla.feat_extract.{LEVELS - 1 - i}"
        names |= _both(f"neck.norm.{i}", f"neck.norm.{i}")
        names |= _step(f"neck.project.{i}", f"{project}.conv", f"{project}.bn")
        names |= _step(f"neck.smooth.{i}", f"{smooth}.conv", f"{smooth}.bn")
        for j in range(2):
            level = f"decode_head.up_convs.{LEVELS - 1 - i}.{j}"
            names |= _step(f"decode_head.level.{i}.{j}", f"{level}.conv", f"{level}.bn")
    return names


def _mmseg_encoder(config: SetrConfig) -> Names:
    names = _both("backbone.patch_embed.proj", "backbone.patch_embed.projection")
    for i in range(config.depth):
        ours, theirs = f"backbone.blocks.{i}", f"backbone.layers.{i}"
        names |= _both(f"{ours}.norm1", f"{theirs}.ln1")
        names |= _both(f"{ours}.norm2", f"{theirs}.ln2")
        names |= {f"{ours}.attn.qkv.{end}": f"{theirs}.attn.attn.in_proj_{end}" for end in ("weight", "bias")}
        names |= _both(f"{ours}.attn.proj", f"{theirs}.attn.attn.out_proj")
        names |= _both(f"{ours}.mlp.fc1", f"{theirs}.ffn.layers.0.0")
        names |= _both(f"{ours}.mlp.fc2", f"{theirs}.ffn.layers.1")
    return names
