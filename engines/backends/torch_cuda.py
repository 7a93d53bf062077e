"""PyTorch on an NVIDIA GPU: static buffers and one CUDA graph for each batch size, like the TensorRT engines.

`Device` is the narrow border to `torch.cuda`; `Eager` stands on the same border without a GPU, running the recorded
function again at each replay, so that buckets, padding and sharing are the same code on any machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import LifoQueue
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.backends.buckets import bucket_of, buckets_for
from engines.backends.tensors import checked, empty_outputs
from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors, TensorSpec

log = logging.getLogger(__name__)

WARM_UPS = 3  # runs before a graph is recorded: libraries choose their kernels in the first ones
Work = Callable[[], Sequence[Tensor]]


class Device(Protocol):
    """Where tensors live and work is recorded."""

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """On the device, zeroed."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """On the host, zeroed, readable by the device while the CPU goes on."""
        ...

    def record(self, work: Work) -> Callable[[], None]:
        """Run `work` until it is settled, then record it; the returned function runs it again."""
        ...

    def wait(self) -> None:
        """Until what was replayed is done."""
        ...


class CudaStream:
    """A stream of its own on the current GPU."""

    def __init__(self) -> None:
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device="cuda")

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def record(self, work: Work) -> Callable[[], None]:
        torch.cuda.synchronize()  # buffers were zeroed on the default stream
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                work()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            log.warning("a batch size runs without a CUDA graph: %s", str(error).splitlines()[0])
            again: Callable[[], object] = work
        else:
            again = graph.replay

        def replay() -> None:
            with torch.cuda.stream(self._stream):
                again()

        return replay

    def wait(self) -> None:
        self._stream.synchronize()


class Eager:
    """The same border on the CPU: nothing is recorded, the work is done again."""

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def record(self, work: Work) -> Callable[[], None]:
        work()

        def replay() -> None:
            work()

        return replay

    def wait(self) -> None:
        """All is done."""


@dataclass(frozen=True, slots=True)
class _Recording:
    """A batch size made ready: tensors that stay where they are, (size, …) each, and the work between them."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    replay: Callable[[], None]


class _Lane:
    """One batch at a time, on a device of its own."""

    def __init__(self, device: Device, spec: EngineSpec, module: nn.Module, autocast: bool) -> None:
        self._device = device
        self._buckets = buckets_for(spec.max_batch_size)
        self._ready = {size: self._prepared(size, spec, module, autocast) for size in self._buckets}

    def _prepared(self, size: int, spec: EngineSpec, module: nn.Module, autocast: bool) -> _Recording:
        host_in = {t.name: self._device.pinned((size, *t.shape[1:]), _dtype(t)) for t in spec.inputs}
        host_out = {t.name: self._device.pinned((size, *t.shape[1:]), _dtype(t)) for t in spec.outputs}
        on_device = {t.name: self._device.empty((size, *t.shape[1:]), _dtype(t)) for t in spec.inputs}

        def work() -> Sequence[Tensor]:
            for name, tensor in on_device.items():
                tensor.copy_(host_in[name], non_blocking=True)
            # A cache of cast weights would be recorded as empty at every replay: casts are in the graph.
            with (
                torch.inference_mode(),
                torch.autocast("cuda", torch.bfloat16, enabled=autocast, cache_enabled=False),
            ):
                answers: Sequence[Tensor] = tuple(module(*on_device.values()))
            for tensor, answer in zip(host_out.values(), answers, strict=True):
                tensor.copy_(answer, non_blocking=True)
            return answers

        return _Recording(host_in, host_out, self._device.record(work))

    def run(self, batch: int, arrays: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]]) -> None:
        """Answer `arrays` into `outputs`, `batch` rows each."""
        ready = self._ready[bucket_of(batch, self._buckets)]
        for name, array in arrays.items():
            ready.inputs[name].numpy()[:batch] = array
        ready.replay()
        self._device.wait()
        for name, array in outputs.items():
            array[...] = ready.outputs[name].numpy()[:batch]


class GraphedEngine:
    """A module and its lanes. `infer` may be called from more threads than there are lanes: who finds none free waits.

    The module lies on the lanes' device, in eval mode, in the precision that it is to compute in; `autocast` leaves
    the choice of bfloat16 operators to PyTorch. All batch sizes are recorded here.
    """

    def __init__(
        self, spec: EngineSpec, module: nn.Module, devices: Sequence[Device], *, autocast: bool = False
    ) -> None:
        self._spec = spec
        self._idle: LifoQueue[_Lane | None] = LifoQueue()
        self._lanes = len(devices)
        for device in devices:
            self._idle.put(_Lane(device, spec, module, autocast))

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run one batch; the returned arrays are the caller's."""
        batch, arrays = checked(self._spec, inputs)
        outputs = empty_outputs(self._spec, batch)
        lane = self._idle.get()
        try:
            if lane is None:
                raise EngineError("the engine is closed", where=self._spec.name)
            lane.run(batch, arrays, outputs)
        except RuntimeError as error:
            raise EngineError(
                f"inference failed: {str(error).splitlines()[0]}", where=self._spec.name
            ) from None
        finally:
            self._idle.put(lane)
        return outputs

    def close(self) -> None:
        """Wait for what runs, then let go of everything; safe to call more than once."""
        for _ in range(self._lanes):
            self._idle.get()
        if self._lanes:
            self._idle.put(None)
        self._lanes = 0


def _dtype(tensor: TensorSpec) -> torch.dtype:
    return torch.from_numpy(np.empty(0, tensor.dtype)).dtype
