"""Both TrackFormers against their authors' code, at full size: three frames with track queries, and padded pictures.

The golden files are made by tests/golden/make_trackformer.py; weights are a function of the authors' own key names.
"""

from __future__ import annotations

import importlib.util
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

GOLDEN = Path(__file__).parent.parent / "golden"
HW = 104, 152
TOLERANCE = 1e-4  # measured: see the test's own comment
Checkpoint = dict[str, Tensor]
Model = TrackFormer | TrackFormerDetr


def filled(layout: list[list[Any]]) -> Checkpoint:
    spec = importlib.util.spec_from_file_location("fill", GOLDEN / "fill.py")
    assert spec is not None and spec.loader is not None
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    return {name: torch.from_numpy(tensor) for name, tensor in fill.filled_layout(layout).items()}


def checkpoint(variant: str) -> Checkpoint:
    return filled(json.loads((GOLDEN / f"{variant}.layout.json").read_text()))


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
        hs, at, valid = torch.full((1, width, model.config.hidden_dim), 9.0), torch.full((1, width, 4), 0.3), torch.zeros(1, width)
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
        real = torch.cat((torch.arange(tracks), torch.arange(width, logits.shape[1])))  # rows of no empty slot
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
    print(found)
    assert found < TOLERANCE


@pytest.mark.parametrize("case", ["whole", "padded"])
@pytest.mark.parametrize("slots", [None, 16])
def test_the_plain_one_answers_as_its_authors_does(plain: TrackFormerDetr, case: str, slots: int | None) -> None:
    golden = dict(np.load(GOLDEN / "trackformer_detr.npz"))
    found = follow(plain, case, golden, slots)
    print(found)
    assert found < TOLERANCE
