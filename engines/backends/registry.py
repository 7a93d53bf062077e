"""Which runtimes there are, and what each must offer. A backend's module is imported only when it is asked for."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from streamer.errors import EngineError
from streamer.ports import Engine, EngineSpec

PRECISIONS = ("auto", "bf16", "f32")

# Name -> (module, the distributions whose versions decide what a compiled engine is).
_BACKENDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "openvino": ("engines.backends.openvino", ("openvino",)),
    "onnx": ("engines.backends.onnx", ("onnxruntime",)),
    "torch": ("engines.backends.torch", ("torch",)),
}


@dataclass(frozen=True, slots=True)
class Lanes:
    """How the CPU is shared out: `streams` inferences run side by side on `threads` threads in all."""

    threads: int
    streams: int = 1

    @classmethod
    def of(cls, threads: int | None, streams: int) -> Lanes:
        """The lanes asked for; `threads` None means every CPU this process may run on."""
        if streams < 1 or (threads is not None and threads < 1):
            raise EngineError(
                f"{streams} streams on {threads} threads cannot run", mend="ask for one or more of each"
            )
        return cls(threads if threads is not None else usable_cpus(), streams)


@dataclass(frozen=True, slots=True)
class Artefact:
    """One built engine on disk: its folder (with model.onnx), what it is, and where its weights and loader are.

    `loader` is `module:function` taking the weights' path; only the torch backend needs it after the build.
    """

    folder: Path
    spec: EngineSpec
    weights: Path
    loader: str
    lanes: Lanes

    @property
    def graph(self) -> Path:
        return self.folder / "model.onnx"


class Backend(Protocol):
    """A backend is a module with these functions."""

    def precisions(self) -> tuple[str, ...]:
        """What this machine can run, the best first."""
        ...

    def device(self) -> str:
        """What the engine runs on, in words."""
        ...

    def prepare(self, artefact: Artefact) -> None:
        """Compile, leaving in the folder whatever makes `load` fast."""
        ...

    def load(self, artefact: Artefact) -> Engine:
        """Open what `prepare` left; compiles nothing."""
        ...


def names() -> tuple[str, ...]:
    """The backends this version knows."""
    return tuple(_BACKENDS)


def distributions(name: str) -> tuple[str, ...]:
    """The installed packages whose versions decide what this backend compiles."""
    return _entry(name)[1]


def backend(name: str) -> Backend:
    """The backend's module; raises EngineError, one line, if it is unknown or its runtime is not installed."""
    module, packages = _entry(name)
    try:
        return cast(Backend, importlib.import_module(module))
    except ImportError as error:
        raise EngineError(
            f"backend {name} cannot start: {error}", mend=f"pip install {' '.join(packages)}"
        ) from None


def resolve_precision(name: str, asked: str) -> str:
    """The precision to build: `auto` is the backend's best here; one it has not raises EngineError."""
    if asked not in PRECISIONS:
        raise EngineError(f"precision {asked!r} is unknown", mend=f"choose one of {', '.join(PRECISIONS)}")
    here = backend(name).precisions()
    if asked == "auto":
        return here[0]
    if asked not in here:
        raise EngineError(
            f"backend {name} has no {asked} on this machine", mend=f"choose one of auto, {', '.join(here)}"
        )
    return asked


def usable_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _entry(name: str) -> tuple[str, tuple[str, ...]]:
    try:
        return _BACKENDS[name]
    except KeyError:
        raise EngineError(
            f"backend {name!r} is unknown", mend=f"choose one of {', '.join(_BACKENDS)}"
        ) from None
