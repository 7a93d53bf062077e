"""TensorRT for RTX: the code path of TensorRT, with the difference that its compiler needs no GPU.

Here it compiles for the card in this machine, as every backend does, so that the engine can be compared with its
reference. What it can do without a card is in `engines.build.ahead`.
"""

from __future__ import annotations

from engines.backends.registry import Artefact, Say, quiet
from engines.backends.tensorrt import compile_for_here, device, open_here, precisions, require_gpu
from engines.backends.trt_flavour import RTX
from engines.backends.trt_runtime import TensorRtEngine

__all__ = ["device", "load", "precisions", "prepare", "ready"]


def ready() -> None:
    """Raises EngineError, one line, without a GPU: what is built could not be compared with its reference."""
    require_gpu(RTX)


def prepare(artefact: Artefact, say: Say = quiet) -> None:
    """Compile the graph for this machine's GPU, leaving a plan file."""
    compile_for_here(RTX, artefact, say)


def load(artefact: Artefact) -> TensorRtEngine:
    """Open the plan on this machine's GPU; its last step of compilation happens now, or was kept the first time."""
    return open_here(RTX, artefact)
