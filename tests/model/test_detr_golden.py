"""DETR against its authors' code (answers kept by tests/golden/make_detr.py), and their checkpoints into ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.checkpoints.detr import plan, save
from engines.checkpoints.fitting import fit
from engines.checkpoints.reading import read_checkpoint
from engines.models.coco_labels import COCO_91, COCO_PANOPTIC
from engines.models.detr import Detr, load_detr, normalised
from engines.models.detr_masks import DetrMasks, load_detr_masks
from streamer.errors import EngineError
from tests.golden.make_detr import CONTENT_HW, EVERY, MASKED_QUERIES, pictures, weights

GOLDEN = Path(__file__).parent.parent / "golden"
CLOSE = 1e-4
OPTIONS = {"height": CONTENT_HW[0][0], "width": CONTENT_HW[0][1]}
Golden = dict[str, np.ndarray[Any, np.dtype[Any]]]


@pytest.fixture(scope="module")
def golden() -> Golden:
    with np.load(GOLDEN / "detr.npz") as file:
        return dict(file)


def layout(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in json.loads((GOLDEN / f"{name}.layout.json").read_text())}


def checkpoint(folder: Path, name: str) -> Path:
    """A file in the authors' layout."""
    path = folder / f"{name}.pth"
    torch.save({"model": weights(layout(name)), "epoch": 3}, path)
    return path


@pytest.fixture(scope="module")
def detr_tensors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return read_checkpoint(checkpoint(tmp_path_factory.mktemp("authors"), "detr"))


def imported(tensors: dict[str, Tensor], options: dict[str, Any]) -> Any:
    return fit(plan(tensors, options, where="detr.pth"), tensors, where="detr.pth")


def inputs() -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pictures()), torch.tensor(CONTENT_HW, dtype=torch.int32)


def furthest(found: Tensor, wanted: np.ndarray[Any, np.dtype[Any]]) -> float:
    assert found.shape == wanted.shape
    return float((found - torch.from_numpy(wanted)).abs().max())


def test_detection_answers_as_the_authors_do_and_shows_the_same_attention(
    golden: Golden, detr_tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    model = imported(detr_tensors, {**OPTIONS, "attention": True})
    save(model, tmp_path / "detr.safetensors", {"imported_from": "detr.pth"})
    model = load_detr(tmp_path / "detr.safetensors")
    assert model.config.labels == COCO_91
    assert model.config.backbone_layers == (3, 4, 6, 3)
    with torch.inference_mode():
        answers = dict(zip(model.output_names, model(*inputs()), strict=True))
    # Measured: logits 5.4e-6 (of 2.3), boxes 7.2e-7, decoder attention 1.7e-6, encoder attention 1.3e-6.
    for name, answer in answers.items():
        assert furthest(answer, golden[f"detr/{name}"]) < CLOSE, name
    assert float(answers["decoder_attention"][1, :, 4::5].max()) < 1e-6  # the last column is padding there


def test_what_lies_beside_the_content_is_not_seen(detr_tensors: dict[str, Tensor]) -> None:
    model = imported(detr_tensors, OPTIONS)
    images, content_hw = inputs()
    black = images.clone()
    black[1, CONTENT_HW[1][0] :] = 0
    black[1, :, CONTENT_HW[1][1] :] = 0
    with torch.inference_mode():
        for seen, blanked in zip(model(images, content_hw), model(black, content_hw), strict=True):
            assert torch.equal(seen, blanked)


def test_dc5_answers_as_the_authors_do(golden: Golden, detr_tensors: dict[str, Tensor]) -> None:
    model = imported(detr_tensors, {**OPTIONS, "dilation": True})
    assert model.config.grid_hw == (7, 9)
    with torch.inference_mode():
        logits, boxes = model(*inputs())
    # Measured: logits 3.7e-6, boxes 3.6e-7.
    assert furthest(logits[:, ::EVERY], golden["dc5/pred_logits"]) < CLOSE
    assert furthest(boxes[:, ::EVERY], golden["dc5/pred_boxes"]) < CLOSE


@pytest.fixture(scope="module")
def panoptic(tmp_path_factory: pytest.TempPathFactory) -> DetrMasks:
    folder = tmp_path_factory.mktemp("authors")
    tensors = read_checkpoint(checkpoint(folder, "detr_panoptic"))
    model = imported(tensors, {**OPTIONS, "masks": len(MASKED_QUERIES)})
    save(model, folder / "panoptic.safetensors", {})
    return load_detr_masks(folder / "panoptic.safetensors")


def test_masks_are_the_authors(golden: Golden, panoptic: DetrMasks) -> None:
    assert panoptic.config.labels == COCO_PANOPTIC
    assert (panoptic.config.heads, panoptic.config.things) == (8, 91)
    images, content_hw = inputs()
    with torch.inference_mode():
        answer = panoptic.detr.answer(normalised(images, content_hw), content_hw)
        masks = panoptic.masks(answer, torch.tensor(MASKED_QUERIES).expand(2, -1))
    # Measured: logits 5.2e-6, boxes 3.6e-7, mask logits 6.5e-6 (of 2.1).
    assert furthest(answer.logits[:, ::EVERY], golden["detr_panoptic/pred_logits"]) < CLOSE
    assert furthest(answer.boxes[:, ::EVERY], golden["detr_panoptic/pred_boxes"]) < CLOSE
    assert furthest(masks, golden["detr_panoptic/pred_masks"]) < CLOSE


def test_the_likeliest_queries_have_the_masks(panoptic: DetrMasks) -> None:
    images, content_hw = inputs()
    with torch.inference_mode():
        logits, _, masks, chosen = panoptic(images, content_hw)
        answer = panoptic.detr.answer(normalised(images, content_hw), content_hw)
        again = panoptic.masks(answer, chosen)
    sure = logits.softmax(-1)[..., :-1].amax(-1)
    for b in range(2):
        others = [q for q in range(100) if q not in chosen[b].tolist()]
        assert sure[b, chosen[b]].min() >= sure[b, others].max()
        assert (sure[b, chosen[b]].diff() <= 0).all()
    torch.testing.assert_close(masks, again)


def test_a_checkpoint_that_does_not_fit_is_named_in_one_line(detr_tensors: dict[str, Tensor]) -> None:
    def refused(tensors: dict[str, Tensor], options: dict[str, Any] | None = None) -> str:
        with pytest.raises(EngineError) as caught:
            imported(tensors, options or {})
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def without(*names: str) -> dict[str, Tensor]:
        return {name: t for name, t in detr_tensors.items() if name not in names}

    lost = "backbone.0.body.layer3.5.bn2.running_var"
    assert f"1 missing: {lost}" in refused(without(lost))
    assert "query_embed.weight is missing" in refused(without("query_embed.weight"))
    moved = {**detr_tensors, "bbox_embed.layers.1.weight": torch.zeros(256, 255)}
    assert "1 wrong shape: bbox_embed.layers.1.weight (256, 255) for (256, 256)" in refused(moved)
    more = {**detr_tensors, "transformer.encoder.norm.weight": torch.zeros(256)}
    assert "1 left over: transformer.encoder.norm.weight" in refused(more)
    assert "2 labels for 91 classes" in refused(detr_tensors, {"labels": ("cat", "dog")})
    assert "is missing" in refused({"blocks.0.norm1.weight": torch.zeros(4)})


def test_a_checkpoint_of_r101_and_own_classes_is_read_off_its_shapes() -> None:
    shapes = layout("detr")
    for name, shape in list(shapes.items()):
        if "layer3.5." in name:
            shapes |= {name.replace("layer3.5.", f"layer3.{i}."): shape for i in range(6, 23)}
    shapes |= {"class_embed.weight": (4, 256), "class_embed.bias": (4,)}
    with torch.device("meta"):
        fitting = plan({n: torch.empty(s) for n, s in shapes.items()}, {}, where="r101.pth")
    assert isinstance(fitting.module, Detr)
    assert fitting.module.config.backbone_layers == (3, 4, 23, 3)
    assert fitting.module.config.labels == ("N/A", "class 1", "class 2")
    ours = {fitting.names.get(n, n): tuple(t.shape) for n, t in fitting.module.state_dict().items()}
    assert ours == shapes
