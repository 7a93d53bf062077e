"""What a strongly typed compiler wants of a graph: bytes made numbers at the door, and no cast that undoes another.

TensorRT takes uint8 only to cast it: pictures that are turned from (B, H, W, 3) to (B, 3, H, W) as bytes are refused.
So the cast is moved to the input; the values, 0 to 255, are the same. Where two parts in 16 bits meet, each has a cast
at its border, up and down again: both go. And a cast that the tracing exporter numbers wrongly is put right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

# Operators that move values and do not look at them.
_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Concat", "Gather", "Identity")
_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def prepare_types(path: Path, into: Path | None = None) -> None:
    """Rewrite the ONNX file, `into` another or in place. Raises onnx's ValidationError if no model comes out."""
    model = onnx.load(str(path))
    _right_bfloat_casts(model)
    _cast_bytes_first(model)
    _drop_double_casts(model)
    onnx.save(model, str(into or path))
    onnx.checker.check_model(str(into or path))


def _right_bfloat_casts(model: ModelProto) -> None:
    """The exporter of torch 2.13 writes torch's own number of bfloat16, 15, beside a power; in ONNX that is complex128.

    No graph here has a complex number in it, so there is nothing to mistake it for.
    """
    for cast in _casts(model):
        for attribute in cast.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.COMPLEX128:
                attribute.i = TensorProto.BFLOAT16


def _cast_bytes_first(model: ModelProto) -> None:
    graph = model.graph
    for given in graph.input:
        if given.type.tensor_type.elem_type != TensorProto.UINT8 or not _only_moved(model, given.name):
            continue
        name = f"{given.name}_as_numbers"
        for node in graph.node:
            _replace_input(node, given.name, name)
        cast = helper.make_node("Cast", [given.name], [name], name=f"/{name}", to=TensorProto.FLOAT)
        graph.node.insert(0, cast)
        del graph.value_info[:]  # its types are those of before


def _only_moved(model: ModelProto, name: str) -> bool:
    """Does every way from this tensor lead to a cast to float32, over operators that only move values?"""
    waiting, met = [name], False
    results = {output.name for output in model.graph.output}
    while waiting:
        tensor = waiting.pop()
        if tensor in results:
            return False
        for node in model.graph.node:
            if tensor not in node.input:
                continue
            if node.op_type == "Cast" and _target(node) == TensorProto.FLOAT:
                met = True
            elif node.op_type in _MOVES:
                waiting += node.output
            elif node.op_type != "Shape":
                return False
    return met


def _drop_double_casts(model: ModelProto) -> None:
    """16 bits → 32 → the same 16: whoever reads the end of it reads the beginning."""
    graph = model.graph
    kinds = _kinds(model)
    makers = {output: node for node in graph.node for output in node.output}
    results = {output.name for output in graph.output}
    for down in _casts(model):
        up = makers.get(down.input[0])
        if up is None or up.op_type != "Cast" or _target(up) != TensorProto.FLOAT:
            continue
        if _target(down) not in _NARROW or kinds.get(up.input[0]) != _target(down):
            continue
        if down.output[0] in results:
            continue
        for node in graph.node:
            _replace_input(node, down.output[0], up.input[0])
    used = {name for node in graph.node for name in node.input} | results
    while idle := [n for n in _casts(model) if n.output[0] not in used]:
        for node in idle:
            graph.node.remove(node)
        used = {name for node in graph.node for name in node.input} | results


def _kinds(model: ModelProto) -> dict[str, int]:
    """Element types by tensor name, as far as they can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    told = (*inferred.input, *inferred.value_info, *inferred.output)
    found = {value.name: value.type.tensor_type.elem_type for value in told}
    return {**found, **{weight.name: weight.data_type for weight in inferred.initializer}}


def _casts(model: ModelProto) -> Iterator[NodeProto]:
    yield from [node for node in model.graph.node if node.op_type == "Cast"]


def _target(cast: NodeProto) -> int:
    return next(int(a.i) for a in cast.attribute if a.name == "to")


def _replace_input(node: NodeProto, old: str, new: str) -> None:
    for i, name in enumerate(node.input):
        if name == old:
            node.input[i] = new
