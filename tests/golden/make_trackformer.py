"""Makes trackformer.npz, trackformer_detr.npz and their layouts from the authors' code (timmeinhardt/trackformer).

    PYTHONPATH=. python tests/golden/make_trackformer.py --reference CLONE

Needs torch, torchvision, scipy and pyyaml. Their CUDA operator is replaced by their own PyTorch version of it, and
libraries that only training or drawing needs by empty modules. Both variants at full size, as their configuration files
say (cfgs/train.yaml, with train_deformable, train_multi_frame and train_tracking for the deformable one), with weights
made by fill.py, over three frames of a whole picture and two of a padded one. The tracks of a frame are rows of the
frame before, chosen by the score of class 0. DETR-based models are run through DETR.forward: the authors' tracking
class hands it one argument more than it takes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from tests.golden.fill import filled

HERE = Path(__file__).parent
HW = 104, 152
CONTENT_HW = 88, 120
TRACKS = 3, 7  # how many rows of the first and second frame go on
KEPT_ROWS = 20  # every 20th object row is written down, and every track row


def open_reference(clone: Path) -> None:
    """Makes `import trackformer` find the clone, without what a CPU or this script lacks."""
    sys.path.insert(0, str(clone / "src"))
    for name in ("visdom", "pycocotools", "pycocotools.mask", "panopticapi", "panopticapi.utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["visdom"].Visdom = object  # type: ignore[attr-defined]
    sys.modules["panopticapi.utils"].id2rgb = sys.modules["panopticapi.utils"].rgb2id = None  # type: ignore[attr-defined]
    operator = types.ModuleType("MultiScaleDeformableAttention")

    def forward(value: Any, shapes: Any, locations: Any, weights: Any, _step: int) -> Any:
        functions = importlib.import_module("trackformer.models.ops.functions")
        return functions.ms_deform_attn_core_pytorch(value, shapes.tolist(), locations, weights)

    operator.ms_deform_attn_forward = forward  # type: ignore[attr-defined]
    sys.modules[operator.__name__] = operator


def build(clone: Path, *configs: str) -> torch.nn.Module:
    models = importlib.import_module("trackformer.models")
    importlib.import_module("trackformer.models.backbone").is_main_process = lambda: (
        False
    )  # or it downloads weights
    options: dict[str, Any] = {}
    for name in ("train", *configs):
        options |= yaml.safe_load((clone / "cfgs" / f"{name}.yaml").read_text())
    options |= {"device": "cpu", "dataset": "mot"}
    model, _, _ = models.build_model(argparse.Namespace(**options))
    state = model.state_dict()
    alias = "transformer.decoder.bbox_embed."  # another name for bbox_embed
    tensors = {
        name: torch.from_numpy(filled(name.replace(alias, "bbox_embed."), tuple(t.shape)))
        for name, t in state.items()
    }
    model.load_state_dict(tensors)
    model.tracking()  # eval mode, and targets are track queries
    return model


def frames(count: int, seed: int, content_hw: tuple[int, int]) -> torch.Tensor:
    """(count, 3, H, W) normalised pixels, zero in the padding."""
    pixels = np.random.default_rng(seed).standard_normal((count, 3, *HW)).astype(np.float32)
    pixels[:, :, content_hw[0] :] = 0
    pixels[:, :, :, content_hw[1] :] = 0
    return torch.from_numpy(pixels)


def run(model: torch.nn.Module, pixels: torch.Tensor, content_hw: tuple[int, int]) -> dict[str, np.ndarray]:
    """Follows through the frames; to what was asked and answered, by name."""
    plain = importlib.import_module("trackformer.models.detr").DETR
    nested = importlib.import_module("trackformer.util.misc").NestedTensor
    mask = torch.ones(1, *HW, dtype=torch.bool)
    mask[:, : content_hw[0], : content_hw[1]] = False
    deformable = hasattr(model, "multi_frame_attention")
    features, out, kept = None, None, []
    found: dict[str, np.ndarray] = {"content_hw": np.array(content_hw, np.float32)}
    for t, picture in enumerate(pixels):
        targets = None
        if out is not None:
            order = out["pred_logits"][0, :, 0].argsort(descending=True)
            kept = order[: TRACKS[t - 1]]
            found[f"rows_{t}"] = kept.numpy()
            targets = [
                {
                    "track_query_hs_embeds": out["hs_embed"][0, kept],
                    "track_query_boxes": out["pred_boxes"][0, kept],
                }
            ]
        samples = nested(picture[None], mask)
        with torch.no_grad():
            if deformable:
                out, _, features, _, _ = model(samples, targets, features)
            else:
                out, _, _, _, _ = plain.forward(model, samples, targets)
        tracks = len(kept)
        rows = [*range(tracks), *range(tracks, out["hs_embed"].shape[1], KEPT_ROWS)]
        found[f"told_{t}"] = np.array(rows)
        for ours, theirs in (
            ("pred_logits", "pred_logits"),
            ("pred_boxes", "pred_boxes"),
            ("next_hs", "hs_embed"),
        ):
            found[f"{ours}_{t}"] = out[theirs][0, rows].numpy()
    return found


def write(name: str, model: torch.nn.Module) -> None:
    arrays: dict[str, np.ndarray] = {}
    for case, count, content_hw in (("whole", 3, HW), ("padded", 2, CONTENT_HW)):
        found = run(model, frames(count, 7, content_hw), content_hw)
        arrays |= {f"{case}_{key}": value for key, value in found.items()}
    np.savez_compressed(HERE / f"{name}.npz", **arrays)
    layout = [[key, list(t.shape)] for key, t in model.state_dict().items()]
    (HERE / f"{name}.layout.json").write_text(json.dumps(layout, separators=(",", ":")) + "\n")
    print(name, (HERE / f"{name}.npz").stat().st_size, len(layout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True)
    clone = parser.parse_args().reference
    open_reference(clone)
    write("trackformer", build(clone, "train_deformable", "train_multi_frame", "train_tracking"))
    write("trackformer_detr", build(clone, "train_tracking"))


if __name__ == "__main__":
    main()
