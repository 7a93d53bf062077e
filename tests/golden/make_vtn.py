"""Writes vtn.npz and vtn.layout.json: what bomri's VTN and `transformers`' Longformer answer when filled by `vit_fill`.

Run once, by hand, where timm and transformers 5 are installed:
`PYTHONPATH=. python tests/golden/make_vtn.py --reference SLOWFAST_CLONE`. The authors' class, which is `transformers`'
LongformerModel between a backbone and a head, is used as it is, on a small backbone; what their package imports beside
it (fvcore, detectron2 …) is stood in for, as VTN uses none of it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch

from tests.golden.vit_fill import filled_vit

HERE = Path(__file__).parent
HW, PATCH, DIM, DEPTH, HEADS, CLASSES, WINDOW = 32, 16, 48, 2, 3, 7, 18
CLIPS = (16, 250)  # frames, each eighth: 250 pass the number of places in time many times


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        k: torch.from_numpy(filled_vit(k, tuple(v.shape))) if v.is_floating_point() else v
        for k, v in model.state_dict().items()
    }


def vtn_class(root: Path) -> Any:
    """The authors' VTN, from their file."""

    class Registry:
        def __init__(self, *_: Any) -> None: ...

        def register(self) -> Any:
            return lambda cls: cls

    for name in ("fvcore", "fvcore.common", "fvcore.common.config", "fvcore.nn", "fvcore.nn.weight_init"):
        sys.modules[name] = MagicMock()
    registry = types.ModuleType("fvcore.common.registry")
    registry.Registry = Registry  # type: ignore[attr-defined]
    sys.modules["fvcore.common.registry"] = registry
    for name in ("slowfast", "slowfast.models"):
        made = types.ModuleType(name)
        made.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[name] = made
    for name in ("head_helper", "resnet_helper", "stem_helper", "batchnorm_helper"):
        sys.modules[f"slowfast.models.{name}"] = MagicMock()
    sys.modules["slowfast.utils"] = sys.modules["slowfast.utils.weight_init_helper"] = MagicMock()
    return importlib.import_module("slowfast.models.video_model_builder")


def config() -> Any:
    """The published configuration, VIT_B_VTN.yaml, with the small sizes."""
    vtn = types.SimpleNamespace(
        PRETRAINED=False,
        MLP_DIM=40,
        DROP_PATH_RATE=0.0,
        DROP_RATE=0.0,
        HIDDEN_DIM=DIM,
        MAX_POSITION_EMBEDDINGS=288,
        NUM_ATTENTION_HEADS=HEADS,
        NUM_HIDDEN_LAYERS=3,
        ATTENTION_MODE="sliding_chunks",
        PAD_TOKEN_ID=-1,
        ATTENTION_WINDOW=[WINDOW] * 3,
        INTERMEDIATE_SIZE=96,
        ATTENTION_PROBS_DROPOUT_PROB=0.1,
        HIDDEN_DROPOUT_PROB=0.1,
    )
    model = types.SimpleNamespace(ARCH="VIT", NUM_CLASSES=CLASSES, DROPOUT_RATE=0.5)
    return types.SimpleNamespace(VTN=vtn, MODEL=model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True)
    module = vtn_class(parser.parse_args().reference)
    backbones = importlib.import_module("timm.models.vision_transformer")
    module.vit_base_patch16_224 = lambda **_: backbones.VisionTransformer(
        img_size=HW, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, num_classes=0
    )
    model = module.VTN(config()).eval()
    model.load_state_dict(state_of(model))
    pictures = np.random.default_rng(13).standard_normal((1, 3, 16, HW, HW)).astype(np.float32)
    kept: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for frames in CLIPS:
            clip = torch.from_numpy(pictures[:, :, np.arange(frames) * 7 % 16])
            positions = (torch.arange(frames) * 8)[None]
            tokens: dict[str, torch.Tensor] = {}
            hook = model.temporal_encoder.register_forward_hook(
                lambda _m, _i, out, tokens=tokens: tokens.update(last=out["last_hidden_state"])
            )
            kept[f"logits_{frames}"] = model((clip, positions)).numpy()
            hook.remove()
            kept[f"tokens_{frames}"] = tokens["last"][:, : 1 + frames : 5].numpy()
    np.savez_compressed(HERE / "vtn.npz", **kept)
    layout = [[k, list(v.shape)] for k, v in model.state_dict().items() if v.is_floating_point()]
    (HERE / "vtn.layout.json").write_text(json.dumps(layout, separators=(",", ":")))


if __name__ == "__main__":
    main()
