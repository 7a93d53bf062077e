"""A TensorRT plan at work: for each lane a stream and pinned buffers, for each batch size one CUDA graph.

    caller's arrays ─copy─► pinned ─┐                         ┌─► pinned ─copy─► fresh arrays
                                    └► device ─ kernels ─ device ┘     (between the corners: one CUDA graph)

Copies to and from the device are part of the graph, so a batch costs one launch. A graph remembers addresses: buffers
never move, and each batch size has an execution context of its own, all of a lane's sharing one piece of working memory
since they run one after the other. All graphs are recorded at load, when nobody waits.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.backends.buckets import bucket_of, buckets_for
from engines.backends.cuda import Cuda, array_at
from engines.backends.tensors import checked, empty_outputs
from engines.backends.trt_flavour import Contexts, Flavour
from engines.backends.trt_progress import Complaints, logger_of
from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors, TensorSpec

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]


def open_plan(
    spec: EngineSpec, flavour: Flavour, cuda: Cuda, plan: Path, lanes: int, *, host_code: bool = False
) -> TensorRtEngine:
    """The engine of a plan file, every graph recorded. `host_code` for version-compatible plans, which hold a runtime.

    Raises EngineError, one line, if the plan cannot be opened here or does not fit `spec`.
    """
    trt = flavour.library()
    complaints = Complaints()
    logger = logger_of(trt, complaints)
    rebuild = "delete its folder; it is built again at the next start"
    try:
        blob = plan.read_bytes()
    except OSError as error:
        raise EngineError(
            f"the compiled engine cannot be opened: {error.strerror}", where=str(plan), mend=rebuild
        ) from None
    runtime = trt.Runtime(logger)
    if host_code:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(blob)
    if engine is None:
        raise EngineError(
            f"the compiled engine cannot be opened{complaints.quoted()}", where=str(plan), mend=rebuild
        )
    _check(trt, engine, spec, plan)
    contexts = flavour.contexts(trt, engine, plan.with_name("jit.cache"))
    opened: list[_Lane] = []
    try:
        for _ in range(lanes):
            opened.append(_Lane(cuda, engine, contexts, spec, complaints))
    except EngineError:
        for lane in opened:
            lane.close()
        raise
    contexts.keep()
    return TensorRtEngine(spec, opened, (logger, runtime, engine))


def _check(trt: Any, engine: Any, spec: EngineSpec, plan: Path) -> None:
    """Names and dtypes of the plan against those of the spec: a wrong dtype would write past a buffer's end."""
    there = {}
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        there[name] = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
    wanted = {t.name: t.dtype for t in (*spec.inputs, *spec.outputs)}
    if there != wanted:
        wrong = sorted(n for n in {*there, *wanted} if there.get(n) != wanted.get(n))
        told = ", ".join(f"{n} is {there.get(n, 'absent')}, not {wanted.get(n, 'absent')}" for n in wrong)
        raise EngineError(f"the plan is not this engine's: {told}", where=str(plan))


class _Lane:
    """One batch at a time: a stream, buffers for the largest batch, and a recording for each batch size."""

    def __init__(
        self, cuda: Cuda, engine: Any, contexts: Contexts, spec: EngineSpec, complaints: Complaints
    ) -> None:
        self._cuda, self._spec, self._complaints = cuda, spec, complaints
        self._buckets = buckets_for(spec.max_batch_size)
        self._contexts: dict[int, Any] = {}
        self._recordings: dict[int, Any] = {}
        self._device: dict[str, int] = {}
        self._pinned: dict[str, int] = {}
        self._host: Arrays = {}
        self._scratch = 0
        self._stream = cuda.stream()
        try:
            for tensor in (*spec.inputs, *spec.outputs):
                self._reserve(tensor)
            scratch_bytes = int(engine.device_memory_size_v2)
            self._scratch = cuda.device_memory(scratch_bytes)
            for bucket in self._buckets:
                self._ready(bucket, contexts, scratch_bytes)
        except EngineError:
            self.close()
            raise

    def _reserve(self, tensor: TensorSpec) -> None:
        size = _row_bytes(tensor) * self._spec.max_batch_size
        self._device[tensor.name] = self._cuda.device_memory(size)
        self._pinned[tensor.name] = self._cuda.pinned_memory(size)
        shape = (self._spec.max_batch_size, *tensor.shape[1:])
        self._host[tensor.name] = array_at(self._pinned[tensor.name], shape, tensor.dtype)
        self._host[tensor.name].fill(
            0
        )  # rows behind a batch are computed as well: zeros, then older pictures

    def _ready(self, bucket: int, contexts: Contexts, scratch_bytes: int) -> None:
        """A context for batches of this size, run once to settle itself, then recorded."""
        context = contexts.make()
        if context is None:
            raise self._failed("no execution context")
        self._contexts[bucket] = context
        context.set_device_memory(self._scratch, scratch_bytes)
        for tensor in self._spec.inputs:
            if not context.set_input_shape(tensor.name, (bucket, *tensor.shape[1:])):
                raise self._failed(f"a batch of {bucket} is refused for {tensor.name!r}")
        for name, address in self._device.items():
            if not context.set_tensor_address(name, address):
                raise self._failed(f"no buffer for {name!r}")
        self._enqueue(bucket)
        self._cuda.wait(self._stream)
        capturable = getattr(context, "is_stream_capturable", None)
        if capturable is not None and not capturable(int(self._stream)):
            log.warning("%s: batches of %d run without a CUDA graph", self._spec.name, bucket)
            return
        try:
            self._recordings[bucket] = self._cuda.record(self._stream, lambda: self._enqueue(bucket))
        except EngineError as error:
            log.warning("%s: batches of %d run without a CUDA graph: %s", self._spec.name, bucket, error.what)

    def _enqueue(self, bucket: int) -> None:
        for tensor in self._spec.inputs:
            self._cuda.to_device(
                self._device[tensor.name],
                self._pinned[tensor.name],
                _row_bytes(tensor) * bucket,
                self._stream,
            )
        if not self._contexts[bucket].execute_async_v3(int(self._stream)):
            raise self._failed(f"a batch of {bucket} did not run")
        for tensor in self._spec.outputs:
            self._cuda.to_host(
                self._pinned[tensor.name],
                self._device[tensor.name],
                _row_bytes(tensor) * bucket,
                self._stream,
            )

    def _failed(self, what: str) -> EngineError:
        return EngineError(f"{what}{self._complaints.quoted()}", where=self._spec.name)

    def run(self, batch: int, arrays: Arrays, outputs: Arrays) -> None:
        """Answer `arrays` into `outputs`, `batch` rows each."""
        bucket = bucket_of(batch, self._buckets)
        for name, array in arrays.items():
            self._host[name][:batch] = array
        recording = self._recordings.get(bucket)
        if recording is not None:
            self._cuda.replay(recording, self._stream)
        else:
            self._enqueue(bucket)
        self._cuda.wait(self._stream)
        for name, array in outputs.items():
            array[...] = self._host[name][:batch]

    def close(self) -> None:
        """Give everything back; the lane is idle."""
        self._host = {}
        for recording in self._recordings.values():
            self._cuda.end_recording(recording)
        self._recordings, self._contexts = {}, {}
        for name in self._device:
            self._cuda.free(device=self._device[name], pinned=self._pinned.get(name, 0))
        self._cuda.free(device=self._scratch)
        self._device, self._pinned, self._scratch = {}, {}, 0
        if self._stream is not None:
            self._cuda.end_stream(self._stream)
            self._stream = None


class TensorRtEngine:
    """One plan and its lanes. `infer` may be called from more threads than there are lanes: who finds none waits."""

    def __init__(self, spec: EngineSpec, lanes: list[_Lane], keep: tuple[Any, ...]) -> None:
        self._spec = spec
        self._keep = keep  # logger, runtime and engine live as long as their contexts
        self._n_lanes = len(lanes)
        # Last in, first out: one caller alone always meets the same lane, whose buffers are warm.
        self._idle: LifoQueue[_Lane | None] = LifoQueue()
        for lane in lanes:
            self._idle.put(lane)
        self._closing = threading.Lock()
        self._closed = False

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    def infer(self, inputs: Tensors) -> Arrays:
        """Run one batch; the returned arrays are the caller's."""
        batch, arrays = checked(self._spec, inputs)
        outputs = empty_outputs(self._spec, batch)
        lane = self._idle.get()
        try:
            if lane is None:
                raise EngineError("the engine is closed", where=self._spec.name)
            lane.run(batch, arrays, outputs)
        finally:
            self._idle.put(lane)
        return outputs

    def close(self) -> None:
        """Wait for what runs, then give all memory back; safe to call more than once."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            for _ in range(self._n_lanes):
                lane = self._idle.get()
                assert lane is not None
                lane.close()
            self._keep = ()
            self._idle.put(None)  # who comes now, or waits already, is told


def _row_bytes(tensor: TensorSpec) -> int:
    return int(np.prod(tensor.shape[1:], dtype=np.int64)) * tensor.dtype.itemsize
