"""Public models: every class is exported, compiled and compared as in service; what cannot be served gets one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engines.backends import registry
from engines.backends.registry import Artefact, Lanes
from engines.backends.torch import load_module
from engines.build import Recipe, export, inputs, judging
from engines.hub import module as hub
from engines.zoo import open_engine, recipe_for, task_for
from streamer.errors import EngineError, ParityError
from streamer.ports import Engine, EngineSpec
from streamer.types import Fit, Frame
from tests.fakes import hub_models
from tests.fakes.core import ref
from tests.fakes.hub_models import LABELS, MODELS, QUERIES

BATCH = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("hub")
    return {name: hub_models.write(name, root / name) for name in MODELS}


def engine_of(recipe: Recipe, module: hub.HubModel, folder: Path) -> Engine:
    """What the build's child makes, in this process."""
    names = inputs.input_names(module, recipe.family), inputs.output_names(module, recipe.family)
    folder.mkdir()
    takes, gives, _ = export.export(
        module, *names, export.examples(module, recipe.family), folder / "model.onnx"
    )
    meta = {"task": recipe.family.task, "labels": list(module.config.labels), "config": {"fit": module.config.fit,
            "scores": module.config.scores, "boxes_of": module.config.boxes_of}}  # fmt: skip
    spec = EngineSpec(recipe.name, recipe.backend, "f32", "cpu", "0" * 64, takes, gives, BATCH, meta)
    artefact = Artefact(folder, spec, recipe.weights, recipe.family.loader, Lanes(2, 1))
    backend = registry.backend(recipe.backend)
    backend.prepare(artefact)
    return backend.load(artefact)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_model_answers_as_the_library_does(
    name: str, backend: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    recipe = recipe_for(f"hf://{folders[name]}", backend=backend, precision="f32", max_batch_size=BATCH)
    chosen = name in ("rt_detr_v2", "d_fine")
    assert recipe.family.gate == f"engines.build.{'rows' if chosen else 'closeness'}"
    module = load_module(recipe.family.loader, recipe.weights)
    assert isinstance(module, hub.HubModel)
    engine = engine_of(recipe, module, tmp_path / "engine")
    comparisons = list(judging.compared(recipe, module, engine))
    report: Any = judging.gate_of(recipe.family).gate(comparisons, "f32", name)
    assert {(b["batch"], b["kind"]) for b in report["batches"]} == {
        (batch, kind) for batch in (1, BATCH) for kind in ("noise", "streets")
    }
    if name == "segformer":  # a map of one class would be equal for nothing
        [images] = hub.example_inputs(1, module.config)
        outputs, task = engine.infer({"images": images.numpy()}), task_for(engine.spec)
        assert len(np.unique(outputs["map"])) > 1
        [(seen, _)] = task.postprocess(outputs, [Frame(ref(), images.numpy()[0], (480, 640), 0)], [None])
        assert seen.semantic_names == LABELS and np.array_equal(seen.semantic, outputs["map"][0])
    engine.close()


def test_the_graph_feeds_the_network_as_its_own_processor_says(folders: dict[str, Path]) -> None:
    module = hub.load_hub(folders["yolos"])
    [images] = hub.example_inputs(2, module.config)
    with torch.inference_mode():
        logits, boxes = module(images)
        share = images.numpy().astype(np.float64) / 255
        own = (share - hub_models.IMAGENET["image_mean"]) / hub_models.IMAGENET["image_std"]
        wanted = module.model(pixel_values=torch.from_numpy(own.transpose(0, 3, 1, 2).astype(np.float32)))
    assert float((logits - wanted.logits).abs().max()) < 1e-5
    assert float((boxes - wanted.pred_boxes).abs().max()) < 1e-5


def test_a_padded_picture_is_answered_as_the_library_does_with_its_mask(folders: dict[str, Path]) -> None:
    module = hub.load_hub(folders["detr"])
    assert (module.config.fit, module.config.boxes_of, module.config.scores) == ("pad", "content", "softmax")
    images, _ = hub.example_inputs(1, module.config)
    rows, columns = 32, 50
    mean, std = (np.array(hub_models.IMAGENET[f"image_{name}"], np.float32) for name in ("mean", "std"))
    pixels = (images.numpy() / np.float32(255) - mean) / std
    pixels[:, rows:] = 0  # its processor pads with zeros, after normalisation
    pixels[:, :, columns:] = 0
    mask = np.zeros(images.shape[:3], np.int64)
    mask[:, :rows, :columns] = 1
    with torch.inference_mode():
        logits, boxes = module(images, torch.tensor([[rows, columns]], dtype=torch.float32))
        wanted = module.model(
            pixel_values=torch.from_numpy(pixels.transpose(0, 3, 1, 2)), pixel_mask=torch.from_numpy(mask)
        )
        unmasked = module.model(pixel_values=torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
    assert float((logits - wanted.logits).abs().max()) < 1e-5
    assert float((boxes - wanted.pred_boxes).abs().max()) < 1e-5
    assert float((logits - unmasked.logits).abs().max()) > 1e-3  # the mask counts


def test_a_fresh_two_stage_model_is_refused_with_numbers(tmp_path: Path) -> None:
    """Never trained, its encoder sees the same everywhere: the choice of rows is rounding noise."""
    folder = hub_models.write("rt_detr_v2", tmp_path / "fresh", trained=False)
    recipe = recipe_for(f"hf://{folder}", backend="onnx", max_batch_size=BATCH)
    module = load_module(recipe.family.loader, folder)
    assert isinstance(module, hub.HubModel)
    engine = engine_of(recipe, module, tmp_path / "engine")
    with pytest.raises(ParityError, match=r"rows without a partner \S+ over 0\.1"):
        judging.gate_of(recipe.family).gate(judging.compared(recipe, module, engine), "f32", "fresh")


def test_a_model_is_built_served_and_followed(folders: dict[str, Path], tmp_path: Path) -> None:
    """The whole way once, through the builder's child: any size, names and threshold from the address."""
    said = list[str]()
    address = f"hf://{folders['detr']}?height=64&width=64&threshold=0.3"
    engine = open_engine(
        address, backend="onnx", max_batch_size=2, threads=2, cache_dir=tmp_path, on_progress=said.append
    )
    spec = engine.spec
    assert (spec.name, spec.input_hw, spec.meta["family"]) == ("detr", (64, 64), "hub-detect")
    assert spec.meta["labels"] == list(LABELS) and any("comparing" in line for line in said)
    task = task_for(spec)
    assert task.fit is Fit.PAD and task.stateful
    state = task.initial_state()
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for seq in range(3):
        frame = Frame(ref(seq=seq), image, (480, 640), 0)
        given = task.preprocess([frame], [state])
        assert given["content_hw"].tolist() == [[48, 64]]
        [(seen, state)] = task.postprocess(engine.infer(given), [frame], [state])
    assert seen.label_names == LABELS and len(state.ids) <= QUERIES
    engine.close()


def changed(folder: Path, target: Path, file: str, **fields: Any) -> Path:
    """A copy of a model's folder with some of a JSON file's fields replaced, or (None) taken out."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    settings = json.loads((target / file).read_text()) | fields
    (target / file).write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    return target


CONFIG, PREPROCESS = "config.json", "preprocessor_config.json"


@pytest.mark.parametrize(
    ("file", "fields", "says"),
    [
        (CONFIG, {"architectures": ["BertModel"]}, r"config.json: architectures: BertModel neither detects"),
        (CONFIG, {"architectures": None}, "a model without a class neither detects"),
        (CONFIG, {"id2label": None}, r"id2label: the classes have no names"),
        (PREPROCESS, {"size": None}, r"size: no size of pictures that is understood — give one, as in hf://"),
        (PREPROCESS, {"image_std": [1]}, r"preprocessor_config.json: image_std: not three numbers"),
    ],
)
def test_what_the_files_lack_gets_one_line(
    file: str, fields: dict[str, Any], says: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = changed(folders["yolos"], tmp_path / "model", file, **fields)
    with pytest.raises(EngineError, match=says) as caught:
        recipe_for(f"hf://{folder}", backend="onnx")
    assert "\n" not in str(caught.value)


def test_what_the_library_cannot_load_gets_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(folders["yolos"], tmp_path / "names", CONFIG, id2label={"0": "a", "1": "b"})
    with pytest.raises(EngineError, match=r"2 weights are of another shape: class_labels_\S+, class_labels_"):
        hub.load_hub(folder)
    folder = changed(folders["yolos"], tmp_path / "lacking", CONFIG)
    kept = load_file(folder / "model.safetensors")
    del kept["bbox_predictor.layers.0.weight"]
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"1 weights are missing: bbox_predictor.layers.0.weight — give"):
        hub.load_hub(folder)
    timm = {"use_timm_backbone": True, "backbone": "resnet50", "backbone_config": None}
    folder = changed(folders["detr"], tmp_path / "timm", CONFIG, **timm)
    with pytest.raises(EngineError, match=r"needs a package that is not installed: .*timm"):
        hub.load_hub(folder)
    folder = changed(folders["detr"], tmp_path / "broken", CONFIG)
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(EngineError, match="the library cannot load it"):
        hub.load_hub(folder)
