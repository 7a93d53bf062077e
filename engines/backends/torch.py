"""PyTorch itself: in float32 on the CPU the reference every other backend is compared with; on a GPU without TensorRT
the last resort for serving, in bfloat16 or float32 and with CUDA graphs (see torch_cuda.py).
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.backends.casting import has_part, lowered
from engines.backends.registry import Artefact, Say, quiet
from engines.backends.tensors import checked
from engines.backends.torch_cuda import CudaStream, GraphedEngine
from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors


def precisions() -> tuple[str, ...]:
    """f32 on a CPU; on a GPU of at least the Ampere generation bf16 before it."""
    return (
        ("bf16", "f32")
        if _has_gpu() and torch.cuda.is_bf16_supported(including_emulation=False)
        else ("f32",)
    )


def device() -> str:
    if not _has_gpu():
        return platform.processor() or platform.machine()
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()}, SM {major * 10 + minor}, CUDA {torch.version.cuda}"


def ready() -> None:
    """Any machine will do."""


def prepare(artefact: Artefact, say: Say = quiet) -> None:
    """Nothing to compile: the module is the engine."""


def load(artefact: Artefact) -> TorchEngine | GraphedEngine:
    """Open the module by its loader, on the GPU where there is one.

    On a CPU the thread count is the process's, as PyTorch has no other. In bf16 the parts that the family names run in
    it, as in a typed graph; where it names none, PyTorch chooses the operators.
    """
    module = load_module(artefact.loader, artefact.weights)
    if not _has_gpu():
        torch.set_num_threads(artefact.lanes.threads)
        return TorchEngine(artefact.spec, module)
    spec = artefact.spec
    parts = [name for name in spec.meta.get("low_precision_parts", ()) if has_part(module, name)]
    if spec.precision == "f32":  # ten bits of mantissa are no float32; the gate would refuse them
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    elif parts:
        example = [
            torch.zeros((1, *t.shape[1:]), dtype=torch.from_numpy(np.empty(0, t.dtype)).dtype)
            for t in spec.inputs
        ]
        module = lowered(module, parts, spec.precision, example)
    streams = [CudaStream() for _ in range(artefact.lanes.streams)]
    return GraphedEngine(spec, module.cuda(), streams, autocast=spec.precision != "f32" and not parts)


def _has_gpu() -> bool:
    return bool(torch.cuda.is_available())


def load_module(loader: str, weights: Path) -> nn.Module:
    """The module that `loader` (`module:function`, or with a query of further arguments) makes of the weights."""
    module, _, rest = loader.partition(":")
    function, _, query = rest.partition("?")
    make = cast(Callable[..., nn.Module], getattr(importlib.import_module(module), function))
    return make(weights, **dict(parse_qsl(query))).eval()


class TorchEngine:
    """One module. `infer` is safe from several threads: the weights are only read."""

    def __init__(self, spec: EngineSpec, module: nn.Module) -> None:
        self._spec = spec
        self._module: nn.Module | None = module

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    @property
    def module(self) -> nn.Module:
        """The module itself, for measurements that change it. Raises EngineError once the engine is closed."""
        if self._module is None:
            raise EngineError("the engine is closed", where=self._spec.name)
        return self._module

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; the returned arrays are the caller's."""
        _, arrays = checked(self._spec, inputs)
        module = self.module
        tensors = [
            torch.from_numpy(a if a.flags.writeable else np.array(a))  # torch warns of read-only memory
            for a in (arrays[t.name] for t in self._spec.inputs)
        ]
        with torch.inference_mode():
            answers = module(*tensors)
        return {t.name: a.numpy() for t, a in zip(self._spec.outputs, answers, strict=True)}

    def close(self) -> None:
        """Let go of the module; safe to call more than once."""
        self._module = None
