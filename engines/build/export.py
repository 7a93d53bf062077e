"""Module → ONNX: opset 17, a dynamic batch, everything from uint8 pixels on inside the graph.

The tracing exporter is used on purpose: on the street model it takes 3 s against 20 s, and its graph has no nodes newer
than opset 17, which every backend here parses. What tracing could get wrong, a number frozen at the traced batch, the
parity gate finds, since it compares at other batches.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import nn

from engines.build.inputs import input_names
from engines.build.recipe import Family
from streamer.ports import TensorSpec

OPSET = 17
TRACED_BATCH = 2


def export(
    module: nn.Module,
    names_in: Sequence[str],
    names_out: Sequence[str],
    inputs: Mapping[str, torch.Tensor],
    path: Path,
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], dict[str, torch.Tensor]]:
    """Write `module` to `path`; returns what goes in and what comes out, with -1 for the batch, and its answer.

    `inputs` may hold more than `names_in`. A module that is a graph already has `write_graph(path)`, and is not traced.
    Raises RuntimeError or onnx's ValidationError when the module cannot be
    exported.
    """
    given = tuple(inputs[name] for name in names_in)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's notes on itself; the gate judges its work
        if hasattr(module, "write_graph"):
            cast(Callable[[Path], None], module.write_graph)(path)
        else:
            _trace(module, given, names_in, names_out, path)
        answer: tuple[torch.Tensor, ...] = tuple(module(*given))
    onnx.checker.check_model(str(path))
    outputs = dict(zip(names_out, answer, strict=True))
    return _specs({name: inputs[name] for name in names_in}), _specs(outputs), outputs


def _trace(
    module: nn.Module,
    given: tuple[torch.Tensor, ...],
    names_in: Sequence[str],
    names_out: Sequence[str],
    path: Path,
) -> None:
    torch.onnx.export(
        module,
        given,
        str(path),
        input_names=list(names_in),
        output_names=list(names_out),
        dynamic_axes={name: {0: "B"} for name in (*names_in, *names_out)},
        opset_version=OPSET,
        dynamo=False,
    )


def examples(module: nn.Module, family: Family) -> dict[str, torch.Tensor]:
    """The family's example inputs at the traced batch, by name."""
    kind = importlib.import_module(family.module)
    tensors = kind.example_inputs(TRACED_BATCH, getattr(module, "config", None))
    return dict(zip(input_names(module, family), tensors, strict=True))


def _specs(tensors: Mapping[str, torch.Tensor]) -> tuple[TensorSpec, ...]:
    def one(name: str, tensor: torch.Tensor) -> TensorSpec:
        dtype: np.dtype[Any] = np.dtype(str(tensor.dtype).removeprefix("torch."))
        return TensorSpec(name, (-1, *tensor.shape[1:]), dtype)

    return tuple(one(name, tensor) for name, tensor in tensors.items())
