"""Which runtimes there are, and what each must offer. A backend's module is imported only when it is asked for."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from streamer.errors import EngineError
from streamer.ports import Engine, EngineSpec

PRECISIONS = ("auto", "f16", "bf16", "f32")

Say = Callable[[str], None]


def quiet(line: str) -> None:
    """For who wants no progress lines."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A backend: the modules it is made of, the first with the functions of `Backend`, and what it stands on.

    `distributions`: the packages whose versions decide what a compiled engine is. `settings`: environment variables
    that decide it as well. `typed`: the graph's own types are its precision.
    """

    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    settings: tuple[str, ...] = ()
    typed: bool = False
    install: str = ""


_TRT_PARTS = tuple(f"engines.backends.{part}" for part in ("trt_flavour", "trt_build", "trt_runtime", "cuda"))

_BACKENDS: Mapping[str, Entry] = {
    "openvino": Entry(("engines.backends.openvino",), ("openvino",)),
    "onnx": Entry(("engines.backends.onnx",), ("onnxruntime",)),
    "torch": Entry(("engines.backends.torch", "engines.backends.torch_cuda"), ("torch",)),
    "tensorrt": Entry(
        ("engines.backends.tensorrt", *_TRT_PARTS),
        ("tensorrt", "cuda-bindings"),
        settings=("SIGHTLINE_TRT_VERSION_COMPATIBLE",),
        typed=True,
        install="'sightline[gpu]'",
    ),
    "tensorrt-rtx": Entry(
        ("engines.backends.tensorrt_rtx", *_TRT_PARTS),
        ("tensorrt-rtx-cu13", "cuda-bindings"),
        typed=True,
        install="'sightline[rtx]'",
    ),
}


@dataclass(frozen=True, slots=True)
class Lanes:
    """How the machine is shared out: `streams` inferences run side by side, on `threads` CPU threads in all.

    On a GPU each of the `streams` has a CUDA stream, an execution context and buffers of its own, so that the copies of
    one overlap the kernels of another; `threads` means nothing there.
    """

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

    `loader` is `module:function` taking the weights' path; only the torch backend needs it after the build. `shared`
    is a folder, given during a build, for what builds of any engine have in common, such as measured kernel times.
    """

    folder: Path
    spec: EngineSpec
    weights: Path
    loader: str
    lanes: Lanes
    shared: Path | None = None

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

    def ready(self) -> None:
        """Raise EngineError, one line, if nothing can be built here: asked before anything that takes long."""
        ...

    def prepare(self, artefact: Artefact, say: Say = quiet) -> None:
        """Compile, leaving in the folder whatever makes `load` fast; `say` gets a line now and then if it is long."""
        ...

    def load(self, artefact: Artefact) -> Engine:
        """Open what `prepare` left; compiles nothing."""
        ...


def names() -> tuple[str, ...]:
    """The backends this version knows."""
    return tuple(_BACKENDS)


def distributions(name: str) -> tuple[str, ...]:
    """The installed packages whose versions decide what this backend compiles."""
    return _entry(name).distributions


def modules(name: str) -> tuple[str, ...]:
    """The modules that a backend is made of."""
    return _entry(name).modules


def settings(name: str) -> dict[str, str]:
    """The environment variables that change what this backend compiles, as far as they are set."""
    return {key: os.environ[key] for key in _entry(name).settings if os.environ.get(key)}


def is_typed(name: str) -> bool:
    """True: this backend computes in the types that the graph says; f16 and bf16 are casts in it."""
    return _entry(name).typed


def backend(name: str) -> Backend:
    """The backend's module; raises EngineError, one line, if it is unknown or its runtime is not installed."""
    entry = _entry(name)
    try:
        return cast(Backend, importlib.import_module(entry.modules[0]))
    except ImportError as error:
        raise EngineError(
            f"backend {name} cannot start: {error}",
            mend=f"pip install {entry.install or ' '.join(entry.distributions)}",
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


def _entry(name: str) -> Entry:
    try:
        return _BACKENDS[name]
    except KeyError:
        raise EngineError(
            f"backend {name!r} is unknown", mend=f"choose one of {', '.join(_BACKENDS)}"
        ) from None
