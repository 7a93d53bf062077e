"""What a graph and its card say together: which tensors, of what type and size. Every contradiction is one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from streamer.errors import EngineError
from streamer.model_card import BoxesHead, DetrHead, ModelCard
from streamer.types import Hw

_DTYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.UINT8: "uint8",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """The graph's picture input `picture` (`dtype`, px `input_hw`, fixed to `batch` pictures or 0 for any), the input
    that wants the picture's width and height or "", and the outputs that the card names, by their role there."""

    picture: str
    dtype: str
    input_hw: Hw
    batch: int
    picture_wh: str
    outputs: Mapping[str, str]

    def prefixed(self, prefix: str) -> Layout:
        """The same of a graph all of whose names got this prefix."""
        return dataclasses.replace(
            self,
            picture=prefix + self.picture,
            picture_wh=prefix + self.picture_wh if self.picture_wh else "",
            outputs={role: prefix + name for role, name in self.outputs.items()},
        )


def parsed(path: Path) -> onnx.ModelProto:
    """The graph with all its tensors. Raises EngineError, one line, if the file is none."""
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's, the checker's, the system's: they share no nearer class
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise EngineError(f"this is no ONNX graph that can be read: {said[:200]}", where=str(path)) from None
    return model


def layout_of(model: onnx.ModelProto, card: ModelCard, path: Path) -> Layout:
    """Raises EngineError, one line with the card's field, where graph and card do not go together."""
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in held}
    wanted = card.input.picture_wh or ""
    if wanted and wanted not in inputs:
        raise _refused(path, "input.picture_wh", f"the graph has no input {wanted}", inputs)
    pictures = [name for name in inputs if name != wanted]
    name = card.input.name or pictures[0]
    if name not in inputs:
        raise _refused(path, "input.name", f"the graph has no input {name}", inputs)
    if len(pictures) > 1:
        extra = next(other for other in pictures if other != name)
        raise _refused(path, "input", f"the graph also wants {extra}, which nothing here gives", [name])
    kind = inputs[name].type.tensor_type
    dtype = _DTYPES.get(kind.elem_type, "another type")
    if dtype not in _DTYPES.values() or (card.input.dtype and card.input.dtype != dtype):
        raise _refused(path, "input.dtype", f"the graph takes {dtype}", [dtype])
    dims = [dim.dim_value for dim in kind.shape.dim]  # 0 where the graph leaves it open
    channel = 1 if card.input.layout == "nchw" else 3
    if len(dims) != 4 or dims[channel] not in (0, 3):
        raise _refused(path, "input.layout", f"the graph's {name} is {_shape(dims)}", ["nchw", "nhwc"])
    return Layout(
        picture=name,
        dtype=dtype,
        input_hw=_size(card, [d for i, d in enumerate(dims) if i not in (0, channel)], path),
        batch=dims[0],
        picture_wh=wanted,
        outputs=_outputs(model, card, path),
    )


def _size(card: ModelCard, fixed: Sequence[int], path: Path) -> Hw:
    size = card.input.size or (fixed[0], fixed[1])
    if not all(size):
        raise EngineError(
            "the graph leaves the picture's size open",
            where=_at(path, "input.size"),
            mend="add size: [640, 640]",
        )
    if any(own and own != asked for own, asked in zip(fixed, size, strict=True)):
        raise EngineError(
            f"the graph takes pictures of {fixed[0]}x{fixed[1]}",
            where=_at(path, "input.size"),
            mend=f"write size: [{fixed[0]}, {fixed[1]}], or leave it out",
        )
    return size


def _outputs(model: onnx.ModelProto, card: ModelCard, path: Path) -> dict[str, str]:
    given = [value.name for value in model.graph.output]
    head = card.outputs
    if isinstance(head, DetrHead):
        wanted = {"logits": head.logits, "boxes": head.boxes}
    elif isinstance(head, BoxesHead):
        wanted = {"labels": head.labels, "boxes": head.boxes, "scores": head.scores}
    else:
        wanted = {"rows": head.rows or given[0]}
    for role, name in wanted.items():
        if name not in given:
            raise _refused(path, f"outputs.{role}", f"the graph has no output {name}", given)
    return wanted


def _refused(path: Path, field: str, what: str, choices: Mapping[str, object] | Sequence[str]) -> EngineError:
    return EngineError(what, where=_at(path, field), mend=f"there is {', '.join(choices)}")


def _at(path: Path, field: str) -> str:
    return f"{path.with_suffix('.yaml')}: {field}"


def _shape(dims: Sequence[int]) -> str:
    return "x".join(str(d or "?") for d in dims)
