"""A user's graph as the builder's model: what it answers is ONNX Runtime's answer to the untouched file, picture
preprocess in numpy; what it writes is the same graph with both ends as nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from engines.own import edges
from engines.own.batches import TRIED, opened, session
from engines.own.layout import Layout, layout_of, parsed
from streamer.errors import EngineError
from streamer.model_card import DetrHead, ModelCard, YoloHead, load_card
from streamer.model_names import card_of

INPUT_NAMES = ("images",)
OUTPUT_NAMES: tuple[str, ...] = ()  # by the head's kind: see edges.CANONICAL
ANY_BATCH = 64
_OWN = "own/"
_WEIGHTS_NEED_NOT_BE_INPUTS = 4  # the IR version since which that is so


@dataclass(frozen=True, slots=True)
class OwnConfig:
    """What tasks need to know; `objectness` and `nms` are a YOLO head's."""

    height: int
    width: int
    labels: tuple[str, ...]
    fit: str
    threshold: float
    scores: str = ""
    boxes_of: str = "picture"
    objectness: bool = False
    nms: float = 0.5


class OwnModel(nn.Module):
    """`forward` is the reference; `write_graph` is what is built.

    `max_batch_size` is 1, and `notes` says so, where the graph was made for one picture and cannot take more.
    """

    input_names = INPUT_NAMES
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.card: ModelCard = load_card(card_of(path))
        self.graph = parsed(path)
        self.layout: Layout = layout_of(self.graph, self.card, path)
        self.output_names = edges.CANONICAL[self.card.outputs.kind]
        head = self.card.outputs
        self.config = OwnConfig(
            height=self.layout.input_hw[0],
            width=self.layout.input_hw[1],
            labels=self.card.names,
            fit=self.card.input.fit,
            threshold=self.card.threshold,
            scores=head.scores if isinstance(head, DetrHead) else "",
            objectness=isinstance(head, YoloHead) and head.objectness,
            nms=head.nms if isinstance(head, YoloHead) else 0.5,
        )
        self.reference = _reference(path)
        self.max_batch_size = ANY_BATCH
        self.served = self._served(path)
        self.form = _checked_answer(self, path)

    def _served(self, path: Path) -> onnx.ModelProto:
        """The graph that is built upon: itself, or opened to any batch; says so where it can be neither."""
        if self.layout.batch == 0:
            return self.graph
        if self.layout.batch > 1:
            raise EngineError(
                f"the graph takes {self.layout.batch} pictures at once and no other number",
                where=str(path),
                mend="export it with a dynamic batch, or for one picture",
            )
        images = example_inputs(TRIED, self.config)[0].numpy()
        pictures = [images[i : i + 1] for i in range(TRIED)]
        free = opened(self.graph, [edges.picture_arrays(p, self.card.input, self.layout) for p in pictures])
        if free is None:
            self.max_batch_size = 1
            self.notes = (
                f"{path.name} takes one picture at a time and cannot be made to take more: batches of 1",
            )
        return free or self.graph

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """`images` u8 (B, H, W, 3) RGB to the canonical outputs of the card's kind of head."""
        answers = edges.answer_arrays(self.raw(images.numpy()), self.card.outputs, self.layout, self.form)
        return tuple(torch.from_numpy(np.array(answer)) for answer in answers)

    def raw(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The untouched graph's outputs by name; picture by picture where it takes no more."""
        names = [output.name for output in self.reference.get_outputs()]
        step = len(images) if self.layout.batch == 0 else 1
        parts = [
            self.reference.run(
                names, edges.picture_arrays(images[i : i + step], self.card.input, self.layout)
            )
            for i in range(0, len(images), step)
        ]
        return {
            name: np.concatenate(rows) for name, rows in zip(names, zip(*parts, strict=True), strict=True)
        }

    def write_graph(self, path: Path) -> None:
        """The served graph: pictures in, the user's nodes, canonical outputs."""
        whole = onnx.compose.add_prefix(self.served, _OWN)  # so that none of the user's names meets ours
        graph, layout = whole.graph, self.layout.prefixed(_OWN)
        front, back = edges.Writer("in"), edges.Writer("out")
        edges.picture_nodes(front, INPUT_NAMES[0], self.card.input, layout)
        edges.answer_nodes(back, self.card.outputs, layout, self.form)
        nodes = [*front.nodes, *graph.node, *back.nodes]
        del graph.node[:], graph.output[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend([*front.constants, *back.constants])
        whole.ir_version = max(whole.ir_version, _WEIGHTS_NEED_NOT_BE_INPUTS)
        held = {tensor.name for tensor in graph.initializer}
        kept = [
            value for value in graph.input if value.name in held
        ]  # older files list their weights as inputs
        del graph.input[:]
        batch: Any = 1 if self.max_batch_size == 1 else "B"
        shape = [batch, *self.layout.input_hw, 3]
        graph.input.extend([helper.make_tensor_value_info(INPUT_NAMES[0], TensorProto.UINT8, shape), *kept])
        for name in self.output_names:
            kind = TensorProto.INT64 if name == "labels" else TensorProto.FLOAT
            rest = [None] if name in ("labels", "scores") else [None, None]  # the graph's own to say
            graph.output.append(helper.make_tensor_value_info(name, kind, [batch, *rest]))
        onnx.save(whole, str(path))


def _reference(path: Path) -> Any:
    try:
        return session(str(path))
    except Exception as error:  # the runtime's exceptions share no nearer class
        raise EngineError(
            f"ONNX Runtime cannot open it: {str(error).splitlines()[0][:200]}", where=str(path)
        ) from None


def _checked_answer(model: OwnModel, path: Path) -> edges.RowForm:
    """Asks the graph about two pictures, and finds how YOLO's rows come.

    Raises EngineError, one line, if an answer has another form than the card's head, or another with other pictures.
    """
    head, card = model.card.outputs, f"{path.with_suffix('.yaml')}"
    said = [
        {role: answer[name] for role, name in model.layout.outputs.items()}
        for answer in (model.raw(example_inputs(1, model.config, seed)[0].numpy()) for seed in (1, 2))
    ]
    shapes = {role: array.shape for role, array in said[0].items()}
    if any(array.shape != shapes[role] for answer in said for role, array in answer.items()):
        raise EngineError(
            "the number of its rows changes with the picture",
            where=str(path),
            mend="export it without NMS or filtering; both are done here",
        )
    classes = len(model.config.labels)
    if isinstance(head, YoloHead):
        width = 4 + classes + head.objectness
        shape = shapes["rows"]
        if len(shape) != 3 or width not in shape[1:]:
            raise EngineError(
                f"the output is {'x'.join(map(str, shape))}, and {classes} labels make {width} numbers a row",
                where=f"{card}: labels",
                mend="name each class once, and set outputs.objectness where a row holds one",
            )
        return edges.RowForm(bool(shape[2] != width), width)
    if isinstance(head, DetrHead):
        width = classes + (head.scores == "softmax")
        if shapes["logits"][2:] != (width,):
            raise EngineError(
                f"the logits are {'x'.join(map(str, shapes['logits']))}, and {classes} labels make {width}",
                where=f"{card}: labels",
                mend="name each class once, without one for nothing",
            )
    rows = shapes["boxes"][1:2]
    for role, shape in shapes.items():
        if shape[1:2] != rows or (role == "boxes" and shape[2:] != (4,)):
            raise EngineError(
                f"the output {model.layout.outputs[role]} is {'x'.join(map(str, shape))}",
                where=f"{card}: outputs.{role}",
                mend="boxes are (B, N, 4), and the other outputs have as many rows",
            )
    return edges.RowForm()


def example_inputs(batch: int, config: OwnConfig, seed: int = 0) -> tuple[Tensor, ...]:
    """Random pictures, u8 (B, H, W, 3)."""
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.randint(0, 256, (batch, config.height, config.width, 3), dtype=torch.uint8, generator=draw),
    )


def load_own(path: Path) -> OwnModel:
    """The model of a graph with its card beside it. Raises EngineError or ConfigError."""
    return OwnModel(path)
