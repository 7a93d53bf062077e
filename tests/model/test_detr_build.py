"""DETR compiled: small ones with random weights through the real build, and the laws of batches on what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engines.build import ensure_built, load
from engines.build.chosen import compare
from engines.build.closeness import LIMITS
from engines.build.samples import sample
from engines.models.coco_labels import COCO_80, COCO_91, COCO_PANOPTIC
from engines.models.detr import Detr, DetrConfig, example_inputs, load_detr
from engines.models.detr_masks import DetrMasksConfig
from engines.zoo import recipe_for, task_for
from streamer.errors import EngineError
from streamer.ports import Engine
from streamer.types import Fit

OUTPUTS = {
    "detr": {"pred_logits": (12, 92), "pred_boxes": (12, 4)},
    "detr-panoptic": {
        "pred_logits": (12, 5),
        "pred_boxes": (12, 4),
        "pred_masks": (5, 18, 25),
        "mask_queries": (5,),
    },
}
CASES = [("detr", "openvino"), ("detr", "onnx"), ("detr-panoptic", "openvino"), ("detr-panoptic", "onnx")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detr")


def built(family: str, backend: str, folder: Path) -> tuple[Engine, dict[str, Any]]:
    """A small model of the family, compiled and compared, and the report of the comparison."""
    weights = folder / f"random-{family}.safetensors"
    if not weights.exists():
        sample(family, folder, full=False)
    recipe = recipe_for(str(weights), backend=backend, precision="f32", max_batch_size=3, threads=2)
    artefact = ensure_built(recipe, folder / "cache")
    return load(artefact), json.loads((artefact.folder / "parity.json").read_text())


@pytest.mark.parametrize(("family", "backend"), CASES)
def test_it_compiles_answers_as_torch_does_and_batches_change_nothing(
    family: str, backend: str, folder: Path
) -> None:
    engine, report = built(family, backend, folder)
    assert {(b["batch"], b["kind"]) for b in report["batches"]} == {
        (batch, kind) for batch in (1, 3) for kind in ("noise", "streets")
    }
    # Measured, f32 on both: logits 4.1e-7 rms, boxes 8.4e-8, masks 2.9e-6; limits 1e-4.
    assert max(b["outputs"]["pred_logits"]["largest_abs"] for b in report["batches"]) < 1e-4
    assert {t.name: t.shape[1:] for t in engine.spec.outputs} == OUTPUTS[family]
    assert {t.name: t.dtype.name for t in engine.spec.inputs} == {"images": "uint8", "content_hw": "int32"}

    config = DetrConfig(height=70, width=97)
    inputs = {
        n: t.numpy() for n, t in zip(("images", "content_hw"), example_inputs(3, config, 5), strict=True)
    }
    together = engine.infer(inputs)
    turned = engine.infer({name: array[[2, 0, 1]] for name, array in inputs.items()})
    for b in range(3):
        alone = engine.infer({name: array[b : b + 1] for name, array in inputs.items()})
        for name, rows in together.items():
            np.testing.assert_allclose(alone[name][0], rows[b], atol=2e-5, err_msg=name)
            np.testing.assert_allclose(turned[name][(b + 1) % 3], rows[b], atol=2e-5, err_msg=name)
    task = task_for(engine.spec)
    assert (task.fit, task.input_hw) == (Fit.PAD, (70, 97))
    engine.close()


def test_padding_does_not_reach_the_answer_of_the_compiled_engine(folder: Path) -> None:
    engine, _ = built("detr", "openvino", folder)
    images = example_inputs(1, DetrConfig(height=70, width=97), 3)[0].numpy()
    content = np.array([[40, 97]], np.int32)
    other = images.copy()
    other[:, 40:] = 255 - other[:, 40:]
    seen, again = (engine.infer({"images": i, "content_hw": content}) for i in (images, other))
    whole = engine.infer({"images": images, "content_hw": np.array([[70, 97]], np.int32)})
    np.testing.assert_array_equal(seen["pred_boxes"], again["pred_boxes"])
    assert np.abs(seen["pred_boxes"] - whole["pred_boxes"]).max() > 1e-5
    engine.close()


def test_attention_is_given_where_it_is_asked_for(folder: Path) -> None:
    config = load_detr(sample("detr", folder, full=False)).config
    looking = Detr(
        DetrConfig.from_dict({**json.loads(json.dumps(_fields(config))), "attention": True})
    ).eval()
    with torch.inference_mode():
        answers = dict(zip(looking.output_names, looking(*example_inputs(2, config)), strict=True))
    assert answers["decoder_attention"].shape == (2, 12, 3 * 4)
    assert answers["encoder_attention"].shape == (2, 12, 12)
    for name in ("decoder_attention", "encoder_attention"):
        torch.testing.assert_close(answers[name].sum(-1), torch.ones(2, 12))
    assert len(Detr(config)(*example_inputs(1, config))) == 2


def _fields(config: DetrConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in DetrConfig.__dataclass_fields__}


def test_a_config_that_cannot_be_is_one_line() -> None:
    with pytest.raises(EngineError, match="too small"):
        DetrConfig(height=16)
    with pytest.raises(EngineError, match="30 masks of 20 queries"):
        DetrMasksConfig(masks=30, queries=20)
    again = DetrMasksConfig.from_dict(
        json.loads(json.dumps({"height": 64, "labels": ["a", "b"], "things": 1}))
    )
    assert (again.labels, again.things, again.masks) == (("a", "b"), 1, 20)


def test_cocos_names_stand_at_cocos_ids() -> None:
    assert len(COCO_80) == 80 and len(COCO_91) == 91 and len(COCO_PANOPTIC) == 250
    assert (COCO_91[0], COCO_91[1], COCO_91[12], COCO_91[90]) == ("N/A", "person", "N/A", "toothbrush")
    assert (COCO_PANOPTIC[149], COCO_PANOPTIC[200], COCO_PANOPTIC[201]) == ("road", "rug-merged", "N/A")
    assert sum(name != "N/A" for name in COCO_PANOPTIC) == 133


Answer = dict[str, NDArray[Any]]


def picked(rows: list[int], scores: list[float], seed: int = 0) -> Answer:
    """One picture's answer with masks of these queries; a query's mask depends on its number alone."""
    logits = np.stack([np.log(np.array(scores)), np.log(1 - np.array(scores))], -1)[None].astype(np.float32)
    masks = np.stack([np.random.default_rng(seed + q).standard_normal((4, 4)) for q in rows])[None]
    return {
        "pred_logits": logits,
        "pred_masks": masks.astype(np.float32),
        "mask_queries": np.array([rows]),
    }


def refused(reference: Answer, answer: Answer) -> list[str]:
    return compare(reference, answer, {"images": np.zeros((1, 2, 2, 3))}, "noise", "f32").over(LIMITS["f32"])


def test_masks_are_compared_by_query_and_a_tie_may_fall_either_way() -> None:
    scores = [0.9, 0.8, 0.7, 0.69999, 0.2]
    reference = picked([0, 1, 2], scores)
    assert refused(reference, picked([1, 0, 2], scores)) == []
    assert refused(reference, picked([0, 1, 3], scores)) == []
    [wrong] = refused(reference, picked([0, 1, 4], scores))
    assert wrong.startswith("mask_queries largest 0.5")
    assert "mask_queries flips" in refused(reference, picked([0, 1, 1], scores))[0]
    assert any("pred_masks" in line for line in refused(reference, picked([0, 1, 2], scores, seed=1)))
    assert any("pred_masks" in line for line in refused(reference, picked([3, 3, 3], [0.7] * 5)))
