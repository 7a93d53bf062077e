"""Both TrackFormers against their authors' code, at full size: three frames with track queries, and padded pictures.

The golden files are made by tests/golden/make_trackformer.py; weights are a function of the authors' own key names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.checkpoints.fitting import fit
from engines.checkpoints.reading import read_checkpoint
from engines.checkpoints.trackformer import plan, save
from engines.models.trackformer import TrackFormer, load_trackformer
from engines.models.trackformer_detr import TrackFormerDetr, load_trackformer_detr
from streamer.errors import EngineError
from tests.golden.fill import filled_layout

GOLDEN = Path(__file__).parent.parent / "golden"
HW = 104, 152
TOLERANCE = 1e-4  # measured: 1.9e-6 at most, both variants, after three frames
Checkpoint = dict[str, Tensor]
Model = TrackFormer | TrackFormerDetr


def checkpoint(variant: str) -> Checkpoint:
    layout = json.loads((GOLDEN / f"{variant}.layout.json").read_text())
    return {name: torch.from_numpy(tensor) for name, tensor in filled_layout(layout).items()}


@pytest.fixture(scope="module")
def deformable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, TrackFormer]:
    """Through a file as the authors write it."""
    tensors = checkpoint("trackformer")
    path = tmp_path_factory.mktemp("authors") / "checkpoint_epoch_40.pth"
    torch.save({"model": tensors, "epoch": 40}, path)
    read = read_checkpoint(path)
    path.unlink()
    options = {"height": HW[0], "width": HW[1]}
    return tensors, fit(plan(read, options, where=str(path)), read, where=str(path))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def plain() -> TrackFormerDetr:
    tensors = checkpoint("trackformer_detr")
    options = {"height": HW[0], "width": HW[1]}
    return fit(plan(tensors, options, where="plain.pth"), tensors, where="plain.pth")  # type: ignore[return-value]


def pixels(count: int, content_hw: tuple[int, int]) -> Tensor:
    """The golden script's frames."""
    found = np.random.default_rng(7).standard_normal((count, 3, *HW)).astype(np.float32)
    found[:, :, content_hw[0] :] = 0
    found[:, :, :, content_hw[1] :] = 0
    return torch.from_numpy(found)


def follow(model: Model, case: str, golden: Mapping[str, Any], slots: int | None) -> float:
    """Follows through a case's frames on the model's own answers, in `slots` padded slots; the largest difference."""
    content_hw = torch.from_numpy(golden[f"{case}_content_hw"])[None]
    count = sum(name.startswith(f"{case}_told_") for name in golden)
    rows, boxes, memory, worst = torch.zeros(0), torch.zeros(0, 4), None, 0.0
    for t, picture in enumerate(pixels(count, tuple(int(x) for x in content_hw[0]))):
        tracks = len(golden[f"{case}_rows_{t}"]) if t else 0
        width = tracks if slots is None else slots
        hs, at, valid = (
            torch.full((1, width, model.config.hidden_dim), 9.0),
            torch.full((1, width, 4), 0.3),
            torch.zeros(1, width),
        )
        if tracks:
            hs[0, :tracks], at[0, :tracks], valid[0, :tracks] = rows, boxes, 1
        with torch.no_grad():
            looked = model.look_pixels(picture[None], content_hw)
            if isinstance(model, TrackFormer):
                before = torch.zeros_like(looked.memory) if memory is None else memory  # type: ignore[union-attr]
                seen = torch.tensor([0.0 if memory is None else 1.0])
                logits, found, next_hs = model.follow(looked, before, seen, hs, at, valid)  # type: ignore[arg-type]
                memory = looked.as_previous  # type: ignore[union-attr]
            else:
                logits, found, next_hs = model.follow(looked, hs, valid)  # type: ignore[arg-type]
        real = torch.cat(
            (torch.arange(tracks), torch.arange(width, logits.shape[1]))
        )  # rows of no empty slot
        answer = {"pred_logits": logits[0, real], "pred_boxes": found[0, real], "next_hs": next_hs[0, real]}
        told = golden[f"{case}_told_{t}"]
        for name, value in answer.items():
            apart = np.abs(value[told].numpy() - golden[f"{case}_{name}_{t}"]).max()
            worst = max(worst, float(apart))
        if f"{case}_rows_{t + 1}" in golden:
            kept = golden[f"{case}_rows_{t + 1}"]
            rows, boxes = answer["next_hs"][kept], answer["pred_boxes"][kept]
    return worst


@pytest.mark.parametrize("case", ["whole", "padded"])
@pytest.mark.parametrize("slots", [None, 16])
def test_the_deformable_one_answers_as_its_authors_does(
    deformable: tuple[Checkpoint, TrackFormer], case: str, slots: int | None
) -> None:
    golden = dict(np.load(GOLDEN / "trackformer.npz"))
    found = follow(deformable[1], case, golden, slots)
    assert found < TOLERANCE


@pytest.mark.parametrize("case", ["whole", "padded"])
@pytest.mark.parametrize("slots", [None, 16])
def test_the_plain_one_answers_as_its_authors_does(
    plain: TrackFormerDetr, case: str, slots: int | None
) -> None:
    golden = dict(np.load(GOLDEN / "trackformer_detr.npz"))
    found = follow(plain, case, golden, slots)
    assert found < TOLERANCE


def test_the_released_layout_is_read_off_the_tensors(deformable: tuple[Checkpoint, TrackFormer]) -> None:
    """d 288, FFN 1024, 500 queries, 4 levels of 2 frames, boxes that move from layer to layer, 20 logits."""
    config = deformable[1].config
    found = (
        config.hidden_dim,
        config.feed_dim,
        config.object_queries,
        config.levels,
        config.frames,
        config.classes,
    )
    assert found == (288, 1024, 500, 4, 2, 20)
    assert (config.encoder_layers, config.decoder_layers, config.encoder_points, config.decoder_points) == (
        6,
        6,
        4,
        4,
    )
    assert config.box_refine and config.backbone_layers == (3, 4, 6, 3)


def test_a_weights_file_holds_the_imported_model(plain: TrackFormerDetr, tmp_path: Path) -> None:
    save(plain, tmp_path / "plain.safetensors", {})
    again = load_trackformer_detr(tmp_path / "plain.safetensors")
    assert again.config == plain.config
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in plain.state_dict().items())
    with pytest.raises(EngineError, match=r"is not 'sightline\.trackformer/1'"):
        load_trackformer(tmp_path / "plain.safetensors")


BROKEN: dict[str, tuple[Callable[[Checkpoint], object], str]] = {
    "missing": (
        lambda t: t.pop("transformer.decoder.layers.3.cross_attn.output_proj.bias"),
        "1 missing: transformer.decoder.layers.3.cross_attn.output_proj.bias",
    ),
    "missing of the shapes": (lambda t: t.pop("query_embed.weight"), "1 missing: query_embed.weight"),
    "missing in the backbone": (
        lambda t: t.pop("backbone.0.body.layer4.2.bn3.running_var"),
        "1 missing: backbone.0.body.layer4.2.bn3.running_var",
    ),
    "wrong shape": (
        lambda t: t.update({"input_proj.3.0.weight": torch.zeros(288, 2048, 1, 1)}),
        r"1 wrong shape: input_proj.3.0.weight \(288, 2048, 1, 1\) for \(288, 2048, 3, 3\)",
    ),
    "left over": (
        lambda t: t.update({"merge_features.0.weight": torch.zeros(1)}),
        "1 left over: merge_features.0.weight",
    ),
    "encoded together": (
        lambda t: t.update(
            {"transformer.encoder.layers.0.self_attn.attention_weights.weight": torch.zeros(256, 288)}
        ),
        "encodes both frames together",
    ),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_checkpoint_is_told_in_one_line(
    deformable: tuple[Checkpoint, TrackFormer], case: str
) -> None:
    damage, told = BROKEN[case]
    tensors = dict(deformable[0])
    damage(tensors)
    with pytest.raises(EngineError, match=told) as caught:
        fit(plan(tensors, {"height": HW[0], "width": HW[1]}, where="a.pth"), tensors, where="a.pth")
    assert "\n" not in str(caught.value) and "a.pth" in str(caught.value)
