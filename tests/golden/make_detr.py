"""Golden answers of DETR: `python tests/golden/make_detr.py --reference CLONE` with torchvision and pillow at hand.

CLONE is a checkout of facebookresearch/detr. Its models are filled by tests/golden/fill.py and look at two
pictures, one smaller than the other and so padded. Written beside this file: detr.npz, detr.layout.json and
detr_panoptic.layout.json.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
CONTENT_HW = ((97, 130), (70, 101))  # rows and columns of the two pictures; the first fills the engine's
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERY = 5  # of the queries, in the panoptic answers
MASKED_QUERIES = tuple(range(3, 100, 12))


def pictures() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """u8 (2, 97, 130, 3): coarse colours under noise; what lies beside the content is to be ignored."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 200, (2, 7, 9, 3)).repeat(15, axis=1).repeat(15, axis=2)
    height, width = CONTENT_HW[0]
    return (coarse[:, :height, :width] + rng.integers(0, 56, (2, height, width, 3))).astype(np.uint8)


def weights(layout: Any) -> dict[str, torch.Tensor]:
    """A layout's tensors by tests/golden/fill.py, sharpened as training does it.

    As they come, attention is nearly flat and all queries nearly say the same, so that an error in what sets them
    apart would be lost in what they share.
    """
    fill = importlib.import_module("tests.golden.fill" if __package__ else "fill")
    tensors = {name: torch.from_numpy(array) for name, array in fill.filled_layout(layout).items()}
    for name, tensor in tensors.items():
        if name.endswith("query_embed.weight"):
            tensor *= 16
        elif name.endswith("in_proj_weight"):
            tensor[:512] *= 2.5  # queries and keys
            if ".encoder." in name:
                tensor[512:] *= 0.2  # else six layers average all tokens into one
        elif name.endswith(("q_linear.weight", "k_linear.weight")):
            tensor *= 2.5
        elif name == "mask_head.lay1.weight":
            tensor[:, 256:] *= (
                100  # the attention maps: shares of some hundred cells, beside features of size 1
            )
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=Path, required=True)
    sys.path[:0] = [str(parser.parse_args().reference), str(HERE)]
    torch.manual_seed(0)
    importlib.import_module("models.backbone").is_main_process = lambda: False  # it would fetch weights
    hub = importlib.import_module("hubconf")
    unit = torch.from_numpy(pictures()).permute(0, 3, 1, 2).float() / 255
    pixels = (unit - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    given = [pixels[i, :, :h, :w] for i, (h, w) in enumerate(CONTENT_HW)]
    found: dict[str, Any] = {}
    for name, mask, dilation in (
        ("detr", False, False),
        ("dc5", False, True),
        ("detr_panoptic", True, False),
    ):
        classes = 250 if mask else 91
        model = hub._make_detr("resnet50", dilation=dilation, mask=mask, num_classes=classes).eval()
        layout = [[key, list(t.shape)] for key, t in model.state_dict().items()]
        model.load_state_dict(weights(layout))
        if not dilation:
            (HERE / f"{name}.layout.json").write_text(json.dumps(layout))
        looks: dict[str, Any] = {}
        detr = model.detr if mask else model
        detr.transformer.encoder.layers[-1].self_attn.register_forward_hook(
            lambda _m, _i, out, kept=looks: kept.update(encoder=out[1])
        )
        detr.transformer.decoder.layers[-1].multihead_attn.register_forward_hook(
            lambda _m, _i, out, kept=looks: kept.update(decoder=out[1])
        )
        with torch.no_grad():
            answer = model(given)
        every = EVERY if name != "detr" else 1
        found[f"{name}/pred_logits"] = answer["pred_logits"][:, ::every].numpy()
        found[f"{name}/pred_boxes"] = answer["pred_boxes"][:, ::every].numpy()
        if mask:
            found["detr_panoptic/pred_masks"] = answer["pred_masks"][:, list(MASKED_QUERIES)].numpy()
        if name == "detr":
            found["detr/decoder_attention"] = looks["decoder"].numpy()
            found["detr/encoder_attention"] = looks["encoder"].numpy()
    found |= panoptic_maps()
    np.savez_compressed(HERE / "detr.npz", **found)


def panoptic_case() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Made-up answers of one picture of 97x130: 12 queries, of which some are sure; broad blobs as masks.

    Stuff of one class comes once: the published code loses the pixels of a second mask of the same stuff.
    """
    rng = np.random.default_rng(11)
    logits = rng.standard_normal((1, 12, 251)).astype(np.float32)
    for query, label in enumerate((1, 1, 17, 149, 187, 193, 44, 62, 1, 250, 250, 84)):
        logits[0, query, label] += 12.0 if query < 9 else 4.0
    y, x = np.mgrid[:25, :33].astype(np.float32)
    centres, widths = rng.uniform(0, 1, (12, 2)) * (25, 33), rng.uniform(3, 9, 12)
    widths[6] = 0.4  # so small that it is dropped
    blobs = [6 - ((y - cy) ** 2 + (x - cx) ** 2) / w**2 for (cy, cx), w in zip(centres, widths, strict=True)]
    boxes = rng.uniform(0.2, 0.8, (1, 12, 4)).astype(np.float32)
    return {
        "pred_logits": logits,
        "pred_boxes": boxes,
        "pred_masks": np.stack(blobs)[None].astype(np.float32),
    }


def panoptic_maps() -> dict[str, Any]:
    """What the published postprocess makes of `panoptic_case`: the map of segments, and their classes."""
    segmentation = importlib.import_module("models.segmentation")
    # The published code packs ids in RGB with a library of its own; for ids below 256 that is one channel.
    segmentation.id2rgb = lambda ids: np.stack([ids, 0 * ids, 0 * ids], -1).astype(np.uint8)
    segmentation.rgb2id = lambda rgb: rgb[..., 0].astype(np.int64)
    case = {name: torch.from_numpy(array) for name, array in panoptic_case().items()}
    things = {i: i <= 90 for i in range(251)}
    [done] = segmentation.PostProcessPanoptic(things, threshold=0.85)(case, [CONTENT_HW[0]])
    image = importlib.import_module("PIL.Image").open(io.BytesIO(done["png_string"]))
    classes = [segment["category_id"] for segment in done["segments_info"]]
    return {"panoptic/segments": np.array(image)[..., 0], "panoptic/classes": np.array(classes, np.int64)}


if __name__ == "__main__":
    main()
