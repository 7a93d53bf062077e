"""Writes vit.npz and vit.layout.json: what timm's ViT-B/16 answers when filled by `vit_fill`.

Run once, by hand, where timm 1.x is installed: `PYTHONPATH=. python tests/golden/make_vit.py`.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import torch

from tests.golden.vit_fill import filled_vit

HERE = Path(__file__).parent
MODEL, BLOCK = "vit_base_patch16_224", 5
GRIDS = ((8, 20), (7, 5), (14, 20))  # positions resized to these, and one channel in 96 kept


def main() -> None:
    timm = importlib.import_module("timm")
    model = timm.create_model(MODEL, pretrained=False).eval()
    state = {k: torch.from_numpy(filled_vit(k, tuple(v.shape))) for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    pixels = np.random.default_rng(11).standard_normal((1, 3, 224, 224)).astype(np.float32)
    kept: dict[str, torch.Tensor] = {}
    model.blocks[BLOCK].register_forward_hook(lambda _m, _i, out: kept.update(tokens=out))
    with torch.inference_mode():
        logits = model(torch.from_numpy(pixels))
        feature = model.forward_features(torch.from_numpy(pixels))[:, 0]
        resample = importlib.import_module("timm.layers").resample_abs_pos_embed
        resized = {
            f"positions_{h}x{w}": resample(state["pos_embed"], [h, w])[..., ::96].numpy() for h, w in GRIDS
        }
    np.savez_compressed(
        HERE / "vit.npz",
        logits=logits.numpy(),
        feature=feature.numpy(),
        tokens=kept["tokens"][:, ::28].numpy(),
        **resized,
    )
    layout = [[k, list(v.shape)] for k, v in model.state_dict().items()]
    (HERE / "vit.layout.json").write_text(json.dumps(layout))


if __name__ == "__main__":
    main()
