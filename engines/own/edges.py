"""The two ends of a served graph: uint8 pictures to what the user's graph takes, and its answer to what tasks read.

Each end is written twice, as ONNX nodes and as numpy: the nodes are served, numpy and the user's untouched graph are
what they are compared with. Only operators that are the same from opset 8 on are used.

    kind     canonical outputs
    detr     pred_logits f32 (B, Q, C or C + 1), pred_boxes f32 (B, Q, 4) cxcywh in 0..1
    boxes    labels i64 (B, N), boxes f32 (B, N, 4) xyxy in 0..1 of the picture, scores f32 (B, N)
    yolo     boxes f32 (B, A, 4) cxcywh in 0..1 of the picture, class_scores f32 (B, A, C), with objectness C + 1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.own.layout import Layout
from streamer.model_card import BoxesHead, CardInput, DetrHead, YoloHead

CANONICAL: Mapping[str, tuple[str, ...]] = {
    "detr": ("pred_logits", "pred_boxes"),
    "boxes": ("labels", "boxes", "scores"),
    "yolo": ("boxes", "class_scores"),
}
_PREFIX = "sightline/"  # of all names that are added between the two ends
_ONNX_DTYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}

Array = NDArray[Any]
Head = DetrHead | BoxesHead | YoloHead


@dataclass(frozen=True, slots=True)
class RowForm:
    """How YOLO's rows come: `upright` as (B, `width`, A), else as (B, A, `width`). No matter for other heads."""

    upright: bool = False
    width: int = 0


@dataclass(slots=True)
class Writer:
    """Collects nodes and constants; each call returns the name of what it made, unique by `place`."""

    place: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{_PREFIX}{self.place}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"{name}:node", **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"{_PREFIX}{self.place}/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name


def picture_nodes(write: Writer, images: str, asked: CardInput, layout: Layout) -> None:
    """`images` u8 (B, H, W, 3) RGB to the graph's own picture input, and the picture's size where it wants that."""
    at = images
    if layout.picture_wh:
        count = write.node("Gather", write.node("Shape", images), write.constant([0], np.int64), axis=0)
        whole = write.node("Concat", count, write.constant([2], np.int64), axis=0)
        width_height = write.constant([layout.input_hw[::-1]], np.int64)
        write.node("Expand", width_height, whole, output=layout.picture_wh)
    at = write.node("Cast", at, to=TensorProto.FLOAT)  # first: TensorRT takes bytes only to cast them
    if asked.colour == "bgr":
        at = write.node("Gather", at, write.constant([2, 1, 0], np.int64), axis=3)
    if layout.dtype != "uint8":
        at = write.node("Mul", at, write.constant(asked.scale))
        at = write.node("Sub", at, write.constant(asked.mean))
        at = write.node("Div", at, write.constant(asked.std))
    if asked.layout == "nchw":
        at = write.node("Transpose", at, perm=[0, 3, 1, 2])
    write.node("Cast", at, output=layout.picture, to=_ONNX_DTYPES[layout.dtype])


def picture_arrays(images: NDArray[np.uint8], asked: CardInput, layout: Layout) -> dict[str, Array]:
    """The same in numpy: `images` u8 (B, H, W, 3) to the graph's inputs by name."""
    at: Array = images[..., ::-1] if asked.colour == "bgr" else images
    if layout.dtype != "uint8":
        mean, std = np.array(asked.mean, np.float32), np.array(asked.std, np.float32)
        at = (at.astype(np.float32) * np.float32(asked.scale) - mean) / std
    if asked.layout == "nchw":
        at = at.transpose(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W)
    inputs = {layout.picture: np.ascontiguousarray(at.astype(layout.dtype))}
    if layout.picture_wh:
        inputs[layout.picture_wh] = np.tile(np.array(layout.input_hw[::-1], np.int64), (len(images), 1))
    return inputs


def answer_nodes(write: Writer, head: Head, layout: Layout, form: RowForm) -> None:
    """The graph's own outputs to the canonical ones."""
    own = layout.outputs
    if isinstance(head, DetrHead):
        for role, name in (("logits", "pred_logits"), ("boxes", "pred_boxes")):
            write.node("Cast", own[role], output=name, to=TensorProto.FLOAT)
    elif isinstance(head, BoxesHead):
        write.node("Cast", own["labels"], output="labels", to=TensorProto.INT64)
        write.node("Cast", own["scores"], output="scores", to=TensorProto.FLOAT)
        at = write.node("Cast", own["boxes"], to=TensorProto.FLOAT)
        if head.corners == "cxcywh":
            first, last = (write.constant(pair, np.int64) for pair in ([0, 1], [2, 3]))
            half = write.node("Mul", write.node("Gather", at, last, axis=2), write.constant(0.5))
            centre = write.node("Gather", at, first, axis=2)
            corners = (write.node(way, centre, half) for way in ("Sub", "Add"))
            at = write.node("Concat", *corners, axis=2)
        write.node("Mul", at, write.constant(_share(head.unit, layout)), output="boxes")
    else:
        at = write.node("Cast", own["rows"], to=TensorProto.FLOAT)
        if form.upright:
            at = write.node("Transpose", at, perm=[0, 2, 1])
        boxes = write.node("Gather", at, write.constant([0, 1, 2, 3], np.int64), axis=2)
        write.node("Mul", boxes, write.constant(_share(head.unit, layout)), output="boxes")
        others = write.constant(range(4, form.width), np.int64)
        write.node("Gather", at, others, output="class_scores", axis=2)


def answer_arrays(said: Mapping[str, Array], head: Head, layout: Layout, form: RowForm) -> tuple[Array, ...]:
    """The same in numpy: the graph's own outputs by name to the canonical ones in CANONICAL's order."""
    own = {role: said[name] for role, name in layout.outputs.items()}
    if isinstance(head, DetrHead):
        return own["logits"].astype(np.float32), own["boxes"].astype(np.float32)
    share = np.array(_share(head.unit, layout), np.float32)
    if isinstance(head, BoxesHead):
        boxes = own["boxes"].astype(np.float32)
        if head.corners == "cxcywh":
            half = boxes[..., 2:] * np.float32(0.5)
            boxes = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=2)
        return own["labels"].astype(np.int64), boxes * share, own["scores"].astype(np.float32)
    rows = own["rows"].astype(np.float32)
    if form.upright:
        rows = rows.transpose(0, 2, 1)  # (B, 4 + C, A) -> (B, A, 4 + C)
    return rows[..., :4] * share, np.ascontiguousarray(rows[..., 4:])


def _share(unit: str, layout: Layout) -> tuple[float, float, float, float]:
    """What a box is multiplied by to become shares of the picture."""
    height, width = layout.input_hw if unit == "pixel" else (1, 1)
    return 1 / width, 1 / height, 1 / width, 1 / height
