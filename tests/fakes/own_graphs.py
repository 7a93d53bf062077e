"""Users' graphs in small, written with the onnx library as exporters write them, each with its card.

Every graph looks at the picture in the same way: its mean brightness by cell of a coarse grid, through fixed weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 32, 48
LABELS = ["person", "car", "dog"]
CELLS = (4, 6)  # the coarse grid: 24 cells, which are the queries or anchors


class Sketch:
    """A graph being written: NCHW float in, one feature vector a cell out."""

    def __init__(self, *, batch: int | str = "B", opset: int = 17, channels_last: bool = False) -> None:
        self.batch, self.opset = batch, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        shape = [batch, HEIGHT, WIDTH, 3] if channels_last else [batch, 3, HEIGHT, WIDTH]
        self.inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)]
        at = self.node("Transpose", "pixels", perm=[0, 3, 1, 2]) if channels_last else "pixels"
        kernel = [HEIGHT // CELLS[0], WIDTH // CELLS[1]]
        at = self.node("AveragePool", at, kernel_shape=kernel, strides=kernel)  # (B, 3, 4, 6)
        rows = batch if isinstance(batch, int) else 0
        at = self.node("Reshape", at, self.constant([rows, 3, CELLS[0] * CELLS[1]], np.int64))
        self.cells = self.node("Transpose", at, perm=[0, 2, 1])  # (B, 24, 3)

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def linear(self, at: str, wide: int, *, seed: int, scale: float = 4.0) -> str:
        """(B, 24, 3) to (B, 24, wide): fixed weights, and a bias of its own for each cell."""
        draw = np.random.default_rng(seed)
        product = self.node("MatMul", at, self.constant(scale * draw.standard_normal((3, wide))))
        return self.node("Add", product, self.constant(draw.standard_normal((1, 24, wide))))

    def output(self, name: str, kind: int = TensorProto.FLOAT, rank: int = 3) -> None:
        shape = [self.batch, *[None] * (rank - 1)]
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def save(self, path: Path, card: dict[str, Any]) -> Path:
        graph = helper.make_graph(self.nodes, "sketch", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.save(model, str(path))
        path.with_suffix(".yaml").write_text(yaml.safe_dump({"task": "detect", "labels": LABELS} | card))
        return path


def detr(path: Path, *, scores: str = "sigmoid", batch: int | str = "B", **card: Any) -> Path:
    """Logits and boxes of 24 queries, as DETR-like exports have them."""
    sketch = Sketch(batch=batch)
    wide = len(LABELS) + (scores == "softmax")
    sketch.node("Identity", sketch.linear(sketch.cells, wide, seed=1), output="logits")
    sketch.node("Sigmoid", sketch.linear(sketch.cells, 4, seed=2), output="dets")
    sketch.output("logits")
    sketch.output("dets")
    head = {"kind": "detr", "scores": scores, "logits": "logits", "boxes": "dets"}
    return sketch.save(path, {"outputs": head} | card)


def boxes(path: Path, *, corners: str = "xyxy", **card: Any) -> Path:
    """The surest 8 of 24 cells, as RT-DETR and D-FINE are exported: their boxes in pixels of `orig_target_sizes`."""
    sketch = Sketch()
    sketch.inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["B", 2]))
    shares = sketch.node("Sigmoid", sketch.linear(sketch.cells, len(LABELS), seed=3))
    best = sketch.node("ReduceMax", shares, axes=[2], keepdims=0)
    sketch.nodes.append(
        helper.make_node("TopK", [best, sketch.constant([8], np.int64)], ["scores", "rows"], axis=1)
    )
    label = sketch.node("ArgMax", shares, axis=2, keepdims=0)
    sketch.node("GatherElements", label, "rows", output="labels", axis=1)
    size = sketch.node("Cast", "orig_target_sizes", to=TensorProto.FLOAT)
    whole = sketch.node(
        "Unsqueeze", sketch.node("Concat", size, size, axis=1), sketch.constant([1], np.int64)
    )
    own = sketch.node("Sigmoid", sketch.linear(sketch.cells, 4, seed=4))
    centre = sketch.node("Gather", own, sketch.constant([0, 1], np.int64), axis=2)
    spread = sketch.node(
        "Mul", sketch.node("Gather", own, sketch.constant([2, 3], np.int64), axis=2), sketch.constant(0.5)
    )
    pair = (centre, spread)
    if corners == "xyxy":
        half = sketch.node("Mul", spread, sketch.constant(0.5))
        pair = (sketch.node("Sub", centre, half), sketch.node("Add", centre, half))
    found = sketch.node("Mul", sketch.node("Concat", *pair, axis=2), whole)  # (B, 24, 4) px
    chosen = sketch.node("Expand", sketch.node("Unsqueeze", "rows", sketch.constant([2], np.int64)),
                         sketch.constant([1, 1, 4], np.int64))  # fmt: skip
    sketch.node("GatherElements", found, chosen, output="boxes", axis=1)
    sketch.output("labels", TensorProto.INT64, rank=2)
    sketch.output("boxes")
    sketch.output("scores", rank=2)
    head = {"kind": "boxes", "corners": corners}
    return sketch.save(path, {"input": {"picture_wh": "orig_target_sizes"}, "outputs": head} | card)


def yolo(
    path: Path,
    *,
    upright: bool = True,
    objectness: bool = False,
    batch: int | str = "B",
    stuck: bool = False,
    **card: Any,
) -> Path:
    """A box and scores on 24 anchors: (B, 4 + C, 24) or (B, 24, 4 + C). `stuck`: cannot take more than its batch."""
    sketch = Sketch(batch=batch)
    scale = sketch.constant([WIDTH, HEIGHT, WIDTH / 4, HEIGHT / 4])
    own = sketch.node("Mul", sketch.node("Sigmoid", sketch.linear(sketch.cells, 4, seed=5)), scale)
    if stuck:  # a number that an exporter worked out for one picture: of several, only the first is looked at
        own = sketch.node("Gather", own, sketch.constant([0], np.int64), axis=0)
    shares = sketch.node("Sigmoid", sketch.linear(sketch.cells, len(LABELS) + objectness, seed=6))
    rows = sketch.node("Concat", own, shares, axis=2) if not stuck else sketch.node(
        "Concat", own, sketch.node("Gather", shares, sketch.constant([0], np.int64), axis=0), axis=2
    )  # fmt: skip
    sketch.node("Transpose", rows, output="output0", perm=[0, 2, 1] if upright else [0, 1, 2])
    sketch.output("output0")
    return sketch.save(path, {"outputs": {"kind": "yolo", "objectness": objectness}} | card)
