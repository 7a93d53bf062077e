"""OpenVINO, the default on a CPU: bfloat16 where the processor computes in it, shapes fixed, nothing copied twice.

Measured on two cores of an AVX512-BF16 processor with the street model: a graph of fixed batch costs 10 to 15 %
less CPU a picture than one of dynamic batch, and a batch of 4 only about 6 % less than 4 batches of 1. So a few
fixed sizes are compiled, and a batch runs as the fewest of them that add up to it: no padding, no dynamic shapes.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engines.backends.registry import Artefact, Lanes, Say, quiet
from engines.backends.tensors import checked, empty_outputs
from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors

log = logging.getLogger(__name__)

SIZES = (1, 2, 4)  # the batch sizes compiled, as far as max_batch_size reaches
# A graph above this many bytes is compiled for single pictures alone: each size and each lane holds all its weights
# again, and what a batch saves shrinks as pictures cost more (it is the small graph's fixed costs).
BIG_GRAPH_BYTES = 100_000_000

_core_lock = threading.Lock()
_core: ov.Core | None = None


def core() -> ov.Core:
    """The process's one OpenVINO core: plugins are found once."""
    global _core
    with _core_lock:
        if _core is None:
            _core = ov.Core()
        return _core


def precisions() -> tuple[str, ...]:
    """bf16 first where the CPU multiplies in it (avx512_bf16 or amx), else f32 alone."""
    capable = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "f32") if capable else ("f32",)


def device() -> str:
    return str(core().get_property("CPU", "FULL_DEVICE_NAME"))


def properties(precision: str, lanes: Lanes) -> dict[str, Any]:
    """The plugin's settings for one of the lanes' own copies.

    One stream a copy: the plugin then computes in the thread that asks. With one copy of several streams it hands the
    work to a thread of its own and the asking lane sleeps; measured on 2 cores with two lanes of the street model, that
    left the cores idle for a tenth of the time (158 against 174 frames/s, half again as long for the slowest tenth of
    the `follow` calls). No pinning: decoders share these cores, and a pinned lane waits for its busy one.
    """
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": max(1, lanes.threads // lanes.streams),
        "ENABLE_CPU_PINNING": False,
    }


def sizes_for(max_batch_size: int, graph_bytes: int = 0) -> tuple[int, ...]:
    """The batch sizes that are compiled, rising; 1 is always among them."""
    if graph_bytes > BIG_GRAPH_BYTES:
        return (1,)
    return tuple(s for s in SIZES if s <= max_batch_size) or (1,)


def _sizes_of(artefact: Artefact) -> tuple[int, ...]:
    graph = artefact.graph
    return sizes_for(artefact.spec.max_batch_size, graph.stat().st_size if graph.is_file() else 0)


def parts(batch: int, sizes: tuple[int, ...]) -> list[int]:
    """`batch` as a sum of the fewest `sizes`, the largest first: 7 is 4 + 2 + 1."""
    split: list[int] = []
    for size in reversed(sizes):
        count, batch = divmod(batch, size)
        split += [size] * count
    return split


def ready() -> None:
    """Any machine will do."""


def prepare(artefact: Artefact, say: Say = quiet) -> None:
    """Compile each batch size and leave it in the folder as a blob that `load` maps in."""
    graph = core().read_model(artefact.graph)
    settings = properties(artefact.spec.precision, artefact.lanes)
    for size in _sizes_of(artefact):
        say(f"batch {size}")
        fixed = graph.clone()
        fixed.reshape({t.name: [size, *t.shape[1:]] for t in artefact.spec.inputs})
        _blob(artefact.folder, size).write_bytes(
            core().compile_model(fixed, "CPU", settings).export_model().getvalue()
        )


def load(artefact: Artefact) -> OpenVinoEngine:
    """Open the blobs that `prepare` left. Raises EngineError if one is missing or cannot be read."""
    settings = properties(artefact.spec.precision, artefact.lanes)
    copies: dict[int, list[ov.CompiledModel]] = {}
    for size in _sizes_of(artefact):
        path = _blob(artefact.folder, size)
        try:
            blob = path.read_bytes()
            copies[size] = [core().import_model(blob, "CPU", settings) for _ in range(artefact.lanes.streams)]
        except (OSError, RuntimeError) as error:
            raise EngineError(
                f"the compiled engine cannot be opened: {str(error).splitlines()[0]}",
                where=str(path),
                mend="delete its folder; it is built again at the next start",
            ) from None
    return OpenVinoEngine(artefact.spec, copies)


def _blob(folder: Path, size: int) -> Path:
    return folder / f"batch{size}.blob"


class OpenVinoEngine:
    """One model, compiled for a few batch sizes, with a copy of each for every lane that infers side by side.

    `infer` may be called from more threads than there are copies: who finds none free waits for one.
    """

    def __init__(self, spec: EngineSpec, copies: dict[int, list[ov.CompiledModel]]) -> None:
        self._spec = spec
        self._sizes = tuple(sorted(copies))
        self._copies = copies
        # Last in, first out: the copy that worked last is the one whose memory is still in the caches.
        self._idle: dict[int, LifoQueue[ov.InferRequest]] = {}
        for size, models in copies.items():
            self._idle[size] = LifoQueue()
            for model in models:
                self._idle[size].put(model.create_infer_request())

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; the runtime reads the caller's arrays and writes the returned ones, with no copy between."""
        batch, arrays = checked(self._spec, inputs)
        outputs = empty_outputs(self._spec, batch)
        if not self._copies:
            raise EngineError("the engine is closed", where=self._spec.name)
        start = 0
        for size in parts(batch, self._sizes):
            self._run(size, start, arrays, outputs)
            start += size
        return outputs

    def _run(
        self, size: int, start: int, arrays: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]]
    ) -> None:
        idle = self._idle[size]
        request = idle.get()
        try:
            shared = []  # the tensors point into these arrays, which must outlive the call
            for name, array in (*arrays.items(), *outputs.items()):
                rows = array[start : start + size]
                if not rows.flags.writeable:  # the runtime takes no read-only memory
                    rows = np.array(rows)
                shared.append(rows)
                request.set_tensor(name, ov.Tensor(rows, shared_memory=True))
            request.infer()
        except RuntimeError as error:
            raise EngineError(
                f"inference failed: {str(error).splitlines()[0]}", where=self._spec.name
            ) from None
        finally:
            idle.put(request)

    def close(self) -> None:
        """Let go of the compiled models; safe to call more than once."""
        self._copies, self._idle = {}, {}
