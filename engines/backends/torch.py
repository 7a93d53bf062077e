"""PyTorch itself, in float32: the reference every other backend is compared with, and the last resort for serving."""

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

from engines.backends.registry import Artefact
from engines.backends.tensors import checked
from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors


def precisions() -> tuple[str, ...]:
    return ("f32",)


def device() -> str:
    return platform.processor() or platform.machine()


def prepare(artefact: Artefact) -> None:
    """Nothing to compile: the module is the engine."""


def load(artefact: Artefact) -> TorchEngine:
    """Open the module by its loader. The thread count is the process's, as PyTorch has no other."""
    torch.set_num_threads(artefact.lanes.threads)
    return TorchEngine(artefact.spec, load_module(artefact.loader, artefact.weights))


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

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; the returned arrays are the caller's."""
        _, arrays = checked(self._spec, inputs)
        module = self._module
        if module is None:
            raise EngineError("the engine is closed", where=self._spec.name)
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
