"""Users' graphs: each head is served as the untouched file answers; file and card that disagree get one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from engines.backends import registry
from engines.backends.registry import Artefact, Lanes
from engines.build import Recipe, contents, export, inputs, judging
from engines.own.graph import OwnModel, example_inputs, load_own
from engines.zoo import open_engine, recipe_for, task_for
from streamer.config import ConfigFileError
from streamer.errors import EngineError
from streamer.ports import Engine, EngineSpec
from streamer.types import Frame
from tests.fakes import own_graphs
from tests.fakes.core import ref
from tests.fakes.own_graphs import HEIGHT, LABELS, WIDTH

PREPROCESS: dict[str, Any] = {
    "colour": "bgr", "scale": 1 / 128, "mean": [0.9, 1.0, 1.1], "std": [0.5, 0.25, 0.125], "fit": "letterbox",
}  # fmt: skip

GRAPHS: dict[str, Callable[[Path], Path]] = {
    "detr": lambda path: own_graphs.detr(path, input=PREPROCESS),
    "detr softmax": lambda path: own_graphs.detr(path, scores="softmax"),
    "boxes": own_graphs.boxes,
    "boxes cxcywh": lambda path: own_graphs.boxes(path, corners="cxcywh"),
    "yolo": own_graphs.yolo,
    "yolo flat, objectness": lambda path: own_graphs.yolo(path, upright=False, objectness=True),
    "yolo of one picture": lambda path: own_graphs.yolo(path, batch=1),
    "yolo stuck at one": lambda path: own_graphs.yolo(path, batch=1, stuck=True),
}


def engine_of(recipe: Recipe, module: OwnModel, folder: Path) -> Engine:
    """What the build's child makes, in this process."""
    folder.mkdir()
    names = inputs.input_names(module, recipe.family), inputs.output_names(module, recipe.family)
    takes, gives, _ = export.export(
        module, *names, export.examples(module, recipe.family), folder / "model.onnx"
    )
    most = min(3, module.max_batch_size)
    spec = EngineSpec(recipe.name, recipe.backend, "f32", "cpu", "0" * 64, takes, gives, most, {})
    artefact = Artefact(folder, spec, recipe.weights, recipe.family.loader, Lanes(2, 1))
    backend = registry.backend(recipe.backend)
    backend.prepare(artefact)
    return backend.load(artefact)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_served_answers_as_the_untouched_file(name: str, backend: str, tmp_path: Path) -> None:
    path = GRAPHS[name](tmp_path / "mine.onnx")
    recipe = recipe_for(str(path), backend=backend, precision="f32", max_batch_size=3)
    assert recipe.name == "mine"
    module = load_own(path)
    stuck = name == "yolo stuck at one"
    assert module.max_batch_size == (1 if stuck else 64) and bool(module.notes) == stuck
    engine = engine_of(recipe, module, tmp_path / "engine")
    gate = judging.gate_of(recipe.family)
    report: Any = gate.gate(judging.compared(recipe, module, engine), "f32", name)
    assert {b["batch"] for b in report["batches"]} == ({1} if stuck else {1, 3})
    images = torch.cat(
        [example_inputs(1, module.config, seed)[0] for seed in range(engine.spec.max_batch_size)]
    )
    together = engine.infer({"images": images.numpy()})
    for b, image in enumerate(images):  # a picture's answer does not depend on its neighbours
        for output, alone in engine.infer({"images": image[None].numpy()}).items():
            assert np.allclose(together[output][b], alone[0], atol=1e-5), output
    engine.close()


def test_the_preprocess_is_the_cards(tmp_path: Path) -> None:
    """Against numbers worked out here, not by the code under test."""
    module = load_own(own_graphs.detr(tmp_path / "mine.onnx", input=PREPROCESS))
    [images] = example_inputs(2, module.config)
    pixels = np.empty((2, 3, HEIGHT, WIDTH), np.float32)
    for channel, (source, mean, std) in enumerate([(2, 0.9, 0.5), (1, 1.0, 0.25), (0, 1.1, 0.125)]):
        pixels[:, channel] = (images.numpy()[..., source] / 128 - mean) / std
    session = ort.InferenceSession(str(tmp_path / "mine.onnx"), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"pixels": pixels})
    for ours, theirs in zip(module(images), wanted, strict=True):
        assert np.allclose(ours.numpy(), theirs, atol=1e-4)


def test_boxes_come_back_in_source_pixels_whatever_the_head(tmp_path: Path) -> None:
    """The same object in each head's form, through each head's task: letterboxed, so that the fit counts."""
    source_hw, box = (320, 960), [192.0, 80.0, 384.0, 240.0]  # twice as wide as the engine's picture
    frame = Frame(ref(), np.zeros((HEIGHT, WIDTH, 3), np.uint8), source_hw, 0)
    inner = HEIGHT // 2  # of the 32 rows 16 hold the source, 8 grey ones above
    x0, y0, x1, y1 = box[0] / 960, (8 + inner * 0.25) / 32, box[2] / 960, (8 + inner * 0.75) / 32
    cxcywh = np.array([[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], [0.5, 0.5, 0.1, 0.1]], np.float32)
    scores = np.array([[0.1, 0.9, 0.1], [0.1, 0.2, 0.1]], np.float32)
    logits = np.log(scores / (1 - scores))
    answers: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "detect": ({"scores": "sigmoid"}, {"pred_logits": logits, "pred_boxes": cxcywh}),
        "boxes": ({}, {"labels": np.array([1, 1]), "scores": scores[:, 1], "boxes": np.array([[x0, y0, x1, y1]] * 2)}),
        "yolo": ({}, {"boxes": np.stack([cxcywh[0], cxcywh[0] + 0.001, cxcywh[0]]),
                      "class_scores": np.array([[0.1, 0.9, 0.1], [0.1, 0.8, 0.1], [0.1, 0.3, 0.7]], np.float32)}),
    }  # fmt: skip
    for name, (config, answer) in answers.items():
        outputs = {key: np.asarray(value)[None] for key, value in answer.items()}
        task = task_for(spec_of(name, config | {"fit": "letterbox", "threshold": 0.5}, outputs))
        state = task.initial_state()
        for _ in range(2):  # told once it was seen twice
            [(seen, state)] = task.postprocess(outputs, [frame], [state])
        found = seen.tracks.detections
        assert found.boxes_xyxy[0] == pytest.approx(box, abs=1e-2), name
        # YOLO's third anchor is another class on the same spot, its second the first one again.
        assert found.labels.tolist() == ([1, 2] if name == "yolo" else [1])
        assert found.scores.tolist() == pytest.approx([0.9, 0.7] if name == "yolo" else [0.9])
        assert seen.label_names == tuple(LABELS)


def spec_of(task: str, config: dict[str, Any], outputs: dict[str, Any]) -> EngineSpec:
    from streamer.ports import TensorSpec

    images = TensorSpec("images", (-1, HEIGHT, WIDTH, 3), np.dtype(np.uint8))
    gives = tuple(TensorSpec(name, (-1, *a.shape[1:]), a.dtype) for name, a in outputs.items())
    meta = {"task": task, "labels": LABELS, "config": config}
    return EngineSpec("mine", "onnx", "f32", "cpu", "0" * 64, (images,), gives, 8, meta)


def test_objectness_multiplies_and_empty_answers_are_empty() -> None:
    shares = np.array([[[0.5, 0.9, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1]]], np.float32)
    outputs = {"boxes": np.full((1, 2, 4), 0.3, np.float32), "class_scores": shares}
    frame = Frame(ref(), np.zeros((HEIGHT, WIDTH, 3), np.uint8), (HEIGHT, WIDTH), 0)
    task = task_for(spec_of("yolo", {"objectness": True, "threshold": 0.6}, outputs))
    state = task.initial_state()
    for _ in range(2):
        [(seen, state)] = task.postprocess(outputs, [frame], [state])
    assert seen.tracks.detections.scores.tolist() == pytest.approx([0.81])
    [(none, _)] = task.postprocess(outputs | {"class_scores": shares * 0}, [frame], [task.initial_state()])
    assert len(none.tracks) == 0


def test_the_whole_way_once(tmp_path: Path) -> None:
    path = own_graphs.yolo(tmp_path / "mine.onnx", batch=1, stuck=True)
    said = list[str]()
    engine = open_engine(
        str(path), backend="onnx", max_batch_size=4, threads=1, cache_dir=tmp_path, on_progress=said.append
    )
    assert engine.spec.max_batch_size == 1 and engine.spec.meta["family"] == "own-yolo"
    assert any("mine.onnx takes one picture at a time" in line for line in said)
    engine.close()


def test_the_digest_covers_graph_card_and_what_the_graph_refers_to(tmp_path: Path) -> None:
    path = own_graphs.yolo(tmp_path / "mine.onnx")
    first = contents.digest(path)
    card = path.with_suffix(".yaml")
    card.write_text(card.read_text() + "threshold: 0.3\n")
    second = contents.digest(path)
    onnx.save(
        onnx.load(str(path)), str(path), save_as_external_data=True, location="far.bin", size_threshold=0
    )
    third = contents.digest(path)
    (tmp_path / "far.bin").write_bytes((tmp_path / "far.bin").read_bytes()[:-1] + b"x")
    assert len({first, second, third, contents.digest(path)}) == 4
    assert [p.name for p in contents.files(path)] == ["mine.onnx", "far.bin", "mine.yaml"]


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (
            {"outputs": {"kind": "yolo", "rows": "rows"}},
            r"outputs.rows: the graph has no output rows — there is output0",
        ),
        ({"input": {"name": "x"}}, r"input.name: the graph has no input x — there is pixels"),
        ({"input": {"layout": "nhwc"}}, r"input.layout: the graph's pixels is \?x3x32x48"),
        ({"input": {"dtype": "uint8"}}, r"input.dtype: the graph takes float32"),
        (
            {"input": {"size": [64, 64]}},
            r"input.size: the graph takes pictures of 32x48 — write size: \[32, 48\]",
        ),
        ({"input": {"picture_wh": "size"}}, r"input.picture_wh: the graph has no input size"),
        ({"labels": ["a"]}, r"labels: the output is 1x7x24, and 1 labels make 5 numbers a row"),
    ],
)
def test_where_graph_and_card_contradict_each_other_one_line_says_so(
    card: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = own_graphs.yolo(tmp_path / "mine.onnx", **card)
    with pytest.raises(EngineError, match=says) as caught:
        load_own(path)
    assert str(path.with_suffix(".yaml")) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_graphs_get_one_line(tmp_path: Path) -> None:
    path = own_graphs.detr(tmp_path / "mine.onnx")
    path.write_bytes(b"plain text")
    with pytest.raises(EngineError, match="this is no ONNX graph that can be read") as caught:
        load_own(path)
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(EngineError, match="there is no such file"):
        recipe_for(str(path), backend="onnx")
    own_graphs.detr(path).with_suffix(".yaml").unlink()
    with pytest.raises(EngineError, match=r"its card mine\.yaml is missing — write one beside it"):
        recipe_for(str(path), backend="onnx")


def test_the_mistakes_of_a_card_are_told_before_anything_is_built(tmp_path: Path) -> None:
    path = own_graphs.detr(tmp_path / "mine.onnx", threshold=2)
    with pytest.raises(ConfigFileError, match=r"mine.yaml:\d+: threshold: out of range"):
        recipe_for(str(path), backend="onnx")
