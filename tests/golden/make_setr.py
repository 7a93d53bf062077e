"""Writes setr.npz and setr.layout.json: what both authors' SETR answer, on a small encoder filled by `vit_fill`.

Run once, by hand: `PYTHONPATH=. python tests/golden/make_setr.py --reference FUDAN_CLONE`, with mmcv-lite 2.1, mmengine
and mmsegmentation 1.2.2 importable for the second half. The clone is of the time of mmcv 1: the little that its files
take from mmcv is given to them here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.golden.vit_fill import filled_vit

HERE = Path(__file__).parent
HW, PATCH, DIM, DEPTH, HEADS, CLASSES = 64, 16, 32, 4, 2, 5
NORM = {"type": "BN"}
KINDS = ("naive", "pup", "mla")


def pixels() -> torch.Tensor:
    rng = np.random.default_rng(12)
    return torch.from_numpy(rng.standard_normal((2, 3, HW, HW)).astype(np.float32))


def answer(module: nn.Module, forward: Any) -> tuple[np.ndarray, list[Any]]:
    """Fills the module, runs it; the logits at every fourth cell, and its layout."""
    state = {
        k: torch.from_numpy(filled_vit(k, tuple(v.shape))) if v.is_floating_point() else v
        for k, v in module.state_dict().items()
    }
    module.load_state_dict(state)
    module.eval()
    with torch.inference_mode():
        logits = forward(pixels())
    layout = [[k, list(v.shape)] for k, v in module.state_dict().items() if v.is_floating_point()]
    return logits[..., ::4, 1::4].numpy(), layout


class Registry:
    """Where mmcv keeps classes by name; here the decorator alone."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def register_module(self, *_: Any, **__: Any) -> Any:
        return lambda cls: cls


def stand_ins(root: Path) -> None:
    """The modules that the clone's files import, with what they use of them."""

    def module(name: str, **content: Any) -> None:
        made = types.ModuleType(name)
        made.__dict__.update(content)
        made.__path__ = [str(root.joinpath(*name.split(".")))] if name.startswith("mmseg") else []
        sys.modules[name] = made

    registry = Registry()
    decorator = lambda *a, **k: lambda f: f  # noqa: E731
    module("torch._six", container_abcs=importlib.import_module("collections.abc"))
    module("mmcv")
    module("mmcv.cnn", build_norm_layer=lambda cfg, n: ("bn", nn.BatchNorm2d(n)), normal_init=None)
    module("mmcv.runner", auto_fp16=decorator, force_fp32=decorator)
    module("mmseg")
    module("mmseg.core", build_pixel_sampler=None)
    module("mmseg.ops", resize=F.interpolate)
    module("mmseg.models")
    module("mmseg.models.builder", BACKBONES=registry, HEADS=registry, build_loss=lambda cfg: None)
    module("mmseg.models.losses", accuracy=None)
    module("mmseg.models.backbones")
    module("mmseg.models.decode_heads")


def fudan(root: Path) -> dict[str, tuple[np.ndarray, list[Any]]]:
    stand_ins(root)
    vit = importlib.import_module("mmseg.models.backbones.vit")
    vit_mla = importlib.import_module("mmseg.models.backbones.vit_mla")
    up = importlib.import_module("mmseg.models.decode_heads.vit_up_head")
    mla = importlib.import_module("mmseg.models.decode_heads.vit_mla_head")
    encoder = {
        "img_size": HW,
        "patch_size": PATCH,
        "embed_dim": DIM,
        "depth": DEPTH,
        "num_heads": HEADS,
        "norm_cfg": NORM,
        "random_init": True,
    }
    head = {"img_size": HW, "num_classes": CLASSES, "norm_cfg": NORM, "channels": 16, "align_corners": False}
    found = {}
    for kind in KINDS:
        model = nn.Module()
        if kind == "mla":
            model.backbone = vit_mla.VIT_MLA(**encoder, mla_channels=24, mla_index=(0, 1, 2, 3))
            model.decode_head = mla.VIT_MLAHead(**head, in_channels=DIM, mla_channels=24, mlahead_channels=16)
        else:
            model.backbone = vit.VisionTransformer(**encoder)
            steps = {"num_conv": 2, "num_upsampe_layer": 1, "conv3x3_conv1x1": False}
            if kind == "pup":
                steps = {"num_conv": 4, "num_upsampe_layer": 4}
            model.decode_head = up.VisionTransformerUpHead(
                **head, in_channels=DIM, embed_dim=DIM, in_index=DEPTH - 1, **steps
            )
        found[kind] = answer(model, lambda x, m=model: m.decode_head(m.backbone(x)))
    for name in [n for n in sys.modules if n.split(".")[0] in ("mmcv", "mmseg")]:
        del sys.modules[name]
    return found


def mmseg() -> dict[str, tuple[np.ndarray, list[Any]]]:
    sys.modules["mmcv._ext"] = MagicMock()  # compiled operators, which mmcv-lite has not and SETR needs not
    # Its __init__ files import all of mmseg and operators that mmcv-lite has not; the modules wanted need none of it.
    root = Path(importlib.util.find_spec("mmseg").submodule_search_locations[0])  # type: ignore[attr-defined]
    for name in ("mmseg.models", "mmseg.models.backbones", "mmseg.models.decode_heads", "mmseg.models.necks"):
        made = types.ModuleType(name)
        made.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = made
    builder = types.ModuleType("mmseg.models.builder")
    builder.build_loss = lambda cfg: None
    sys.modules["mmseg.models.builder"] = builder
    losses = types.ModuleType("mmseg.models.losses")
    losses.accuracy = None
    sys.modules["mmseg.models.losses"] = losses
    vit = importlib.import_module("mmseg.models.backbones.vit")
    up = importlib.import_module("mmseg.models.decode_heads.setr_up_head")
    mla = importlib.import_module("mmseg.models.decode_heads.setr_mla_head")
    neck = importlib.import_module("mmseg.models.necks.mla_neck")
    found = {}
    head = {"num_classes": CLASSES, "norm_cfg": NORM, "dropout_ratio": 0, "align_corners": False}
    for kind in KINDS:
        model = nn.Module()
        model.backbone = vit.VisionTransformer(
            img_size=(HW, HW),
            patch_size=PATCH,
            embed_dims=DIM,
            num_layers=DEPTH,
            num_heads=HEADS,
            out_indices=(0, 1, 2, 3),
            norm_cfg={"type": "LN", "eps": 1e-6},
            with_cls_token=kind != "mla",
            interpolate_mode="bilinear",
            patch_bias=kind == "pup",  # both occur: it was the default before version 1
        )
        if kind == "mla":
            model.neck = neck.MLANeck(
                in_channels=[DIM] * 4, out_channels=24, norm_cfg=NORM, act_cfg={"type": "ReLU"}
            )
            model.decode_head = mla.SETRMLAHead(
                in_channels=(24,) * 4, channels=64, in_index=(0, 1, 2, 3), mla_channels=16, **head
            )
        else:
            steps = {"num_convs": 4, "up_scale": 2, "kernel_size": 3}
            if kind == "naive":
                steps = {"num_convs": 1, "up_scale": 4, "kernel_size": 1}
            model.decode_head = up.SETRUPHead(in_channels=DIM, channels=16, in_index=3, **head, **steps)

        def forward(x: torch.Tensor, m: nn.Module = model) -> torch.Tensor:
            levels = m.backbone(x)
            logits = m.decode_head(m.neck(levels) if hasattr(m, "neck") else levels)
            # What its EncoderDecoder does to the logits before the argmax.
            return F.interpolate(logits, size=(HW, HW), mode="bilinear", align_corners=False)

        found[kind] = answer(model, forward)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    path = str(parser.parse_args().reference)
    found = {f"fudan_{kind}": one for kind, one in fudan(Path(path)).items()}
    found |= {f"mmseg_{kind}": one for kind, one in mmseg().items()}
    assert all(math.isfinite(logits.sum()) for logits, _ in found.values())
    np.savez_compressed(HERE / "setr.npz", **{name: logits for name, (logits, _) in found.items()})
    layouts = {name: layout for name, (_, layout) in found.items()}
    (HERE / "setr.layout.json").write_text(json.dumps(layouts, separators=(",", ":")))


if __name__ == "__main__":
    main()
