"""TensorRT 10 and 11 on an NVIDIA GPU: compiled for the card in this machine, casts in the graph for 16 bits.

`tensorrt_rtx.py` is the same for TensorRT for RTX. A build takes from seconds to minutes and tells how far it is; what
it measured of each kernel is kept beside the engines, so that the next build is quicker. With
SIGHTLINE_TRT_VERSION_COMPATIBLE=1 plans may be opened by later versions of the same major, at some cost in speed.
"""

from __future__ import annotations

import os
from pathlib import Path

from engines.backends import cuda
from engines.backends.registry import Artefact, Say, quiet
from engines.backends.trt_build import Wish, build_plan
from engines.backends.trt_flavour import TENSORRT, Flavour
from engines.backends.trt_runtime import TensorRtEngine, open_plan
from streamer.errors import EngineError

PLAN_FILE = "engine.plan"
TIMINGS_FILE = "timings.tensorrt"
AMPERE = 80  # the first architecture that computes in bfloat16
VERSION_COMPATIBLE = "SIGHTLINE_TRT_VERSION_COMPATIBLE"


def precisions() -> tuple[str, ...]:
    """f16 first, and f32 last; bf16 between them, but for a card that is known not to compute in it."""
    gpu, _ = cuda.look()
    return ("f16", "f32") if gpu is not None and gpu.sm < AMPERE else ("f16", "bf16", "f32")


def device() -> str:
    """The card, its architecture and the CUDA version of its driver; a machine without one says so."""
    gpu, _ = cuda.look()
    return str(gpu) if gpu is not None else "no NVIDIA GPU"


def ready() -> None:
    """Raises EngineError, one line, without a GPU: what is built could not be compared with its reference."""
    require_gpu(TENSORRT)


def prepare(artefact: Artefact, say: Say = quiet) -> None:
    """Compile the graph for this machine's GPU, leaving a plan file."""
    compile_for_here(TENSORRT, artefact, say)


def load(artefact: Artefact) -> TensorRtEngine:
    """Open the plan on this machine's GPU."""
    return open_here(TENSORRT, artefact)


def require_gpu(flavour: Flavour) -> None:
    """`ready`, of either flavour."""
    gpu, why = cuda.look()
    if gpu is None:
        ahead = (
            "build ahead of time with `sightline models build --backend tensorrt-rtx --ahead 80,86,89,120`"
        )
        raise EngineError(
            f"{flavour.backend} needs a GPU to build an engine that may be used: {why}",
            mend=f"{ahead}, or choose backend openvino",
        )


def compile_for_here(flavour: Flavour, artefact: Artefact, say: Say) -> None:
    """`prepare`, of either flavour."""
    require_gpu(flavour)
    wish = Wish(
        artefact.spec.max_batch_size,
        exact=artefact.spec.precision == "f32",
        timings=artefact.shared / TIMINGS_FILE if artefact.shared is not None else None,
        version_compatible=version_compatible(),
    )
    plan_file(artefact.folder).write_bytes(build_plan(flavour, artefact.graph, wish, say))


def open_here(flavour: Flavour, artefact: Artefact) -> TensorRtEngine:
    """`load`, of either flavour."""
    return open_plan(
        artefact.spec,
        flavour,
        cuda.open_cuda(),
        plan_file(artefact.folder),
        artefact.lanes.streams,
        host_code=version_compatible() and not flavour.ahead,
    )


def plan_file(folder: Path) -> Path:
    """Where a built engine's plan lies."""
    return folder / PLAN_FILE


def version_compatible() -> bool:
    """Was it asked for? It is part of the engine's digest."""
    return os.environ.get(VERSION_COMPATIBLE, "") not in ("", "0")
