"""A graph exported for one picture, made to take any number: where that can be done so that it answers the same.

Exporters write the traced batch into the shapes of inputs and outputs, and often into the targets of Reshape. Both are
opened; what else holds the number (an Expand, a constant position table of that many rows) cannot be told from the
graph. So the opened graph is tried: several pictures at once must give what one after the other gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], list[Array]]

TRIED = 3  # pictures at once
_TOLERANCE = 1e-3  # of the largest value; batches are summed in another order


def session(model: onnx.ModelProto | str) -> ort.InferenceSession:
    """The graph in ONNX Runtime, float32 on the CPU, as the reference."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    given = model if isinstance(model, str) else model.SerializeToString()
    return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def opened(model: onnx.ModelProto, inputs: Sequence[Mapping[str, Array]]) -> onnx.ModelProto | None:
    """A copy that takes any batch, or None if it cannot be had. `inputs` are TRIED pictures' own, of batch 1 each."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    del free.graph.value_info[:]
    held = {tensor.name for tensor in free.graph.initializer}
    for value in (*free.graph.input, *free.graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name not in held and len(dims) and dims[0].dim_value == 1:
            dims[0].dim_param = "B"
    _open_reshapes(free)
    try:
        alone = session(model)
        one_by_one = [alone.run(None, dict(one)) for one in inputs]
        together = session(free).run(
            None, {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}
        )
    except (
        Exception
    ):  # the runtime's exceptions share no nearer class; whatever it is, the graph stays as it was
        return None
    for whole, *parts in zip(together, *one_by_one, strict=True):
        expected = np.concatenate(parts)
        if whole.shape != expected.shape or not np.isfinite(expected).all():
            return None
        apart = np.abs(whole.astype(np.float64) - expected).max(initial=0)
        if apart > _TOLERANCE * max(np.abs(expected).max(initial=0), 1e-6):
            return None
    return free


def _open_reshapes(model: onnx.ModelProto) -> None:
    """Targets such as [1, -1, 64] and [1, 8, 400] take their first number from the data."""
    fixed = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            fixed[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for i, node in enumerate(model.graph.node):
        if node.op_type != "Reshape" or len(node.input) < 2 or node.input[1] not in fixed:
            continue
        target = fixed[node.input[1]]
        if target.ndim != 1 or len(target) < 2 or target[0] != 1:
            continue
        free = target.copy()
        free[0] = 0 if -1 in target[1:] else -1  # 0: as the data's own first; -1: whatever is left
        name = f"sightline/reshape{i}"
        model.graph.initializer.append(numpy_helper.from_array(free, name))
        node.input[1] = name
