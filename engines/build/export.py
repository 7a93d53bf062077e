"""Module → ONNX: opset 17, a dynamic batch, everything from uint8 pixels on inside the graph.

The tracing exporter is used on purpose: on the street model it takes 3 s against 20 s, and its graph has no nodes newer
than opset 17, which every backend here parses. What tracing could get wrong, a number frozen at the traced batch, the
parity gate finds, since it compares at other batches.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from engines.build.recipe import Family
from streamer.ports import TensorSpec

OPSET = 17
TRACED_BATCH = 2


def export(
    module: nn.Module, family: Family, path: Path
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write `module` to `path`; returns what goes in and what comes out, with -1 for the batch.

    Raises RuntimeError or onnx's ValidationError when the module cannot be exported.
    """
    kind = importlib.import_module(family.module)
    inputs: tuple[torch.Tensor, ...] = tuple(
        kind.example_inputs(TRACED_BATCH, getattr(module, "config", None))
    )
    names_in, names_out = list(kind.INPUT_NAMES), list(kind.OUTPUT_NAMES)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's notes on itself; the gate judges its work
        torch.onnx.export(
            module,
            inputs,
            str(path),
            input_names=names_in,
            output_names=names_out,
            dynamic_axes={name: {0: "B"} for name in (*names_in, *names_out)},
            opset_version=OPSET,
            dynamo=False,
        )
        outputs: tuple[torch.Tensor, ...] = tuple(module(*inputs))
    onnx.checker.check_model(onnx.load(str(path)))
    return _specs(names_in, inputs), _specs(names_out, outputs)


def _specs(names: list[str], tensors: tuple[torch.Tensor, ...]) -> tuple[TensorSpec, ...]:
    def one(name: str, tensor: torch.Tensor) -> TensorSpec:
        dtype: np.dtype[Any] = np.dtype(str(tensor.dtype).removeprefix("torch."))
        return TensorSpec(name, (-1, *tensor.shape[1:]), dtype)

    return tuple(one(name, tensor) for name, tensor in zip(names, tensors, strict=True))
