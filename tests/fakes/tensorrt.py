"""TensorRT without a GPU: "device memory" is host memory that knows its size, a plan is a Python function.

The runtime does what the real one promises and no more: it reads and writes only addresses it was given, runs in the
order of the stream, and complains like the bindings (False, None) instead of raising. Each call is in `calls`.
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engines.backends.cuda import array_at
from streamer.errors import EngineError
from streamer.ports import EngineSpec

Function = Callable[[dict[str, np.ndarray[Any, Any]]], dict[str, np.ndarray[Any, Any]]]


class FakeCuda:
    """`engines.backends.cuda.Cuda`. While a stream records, nothing runs."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.memory: dict[int, Any] = {}
        self.open_streams = 0
        self.open_recordings = 0
        self.refuses_to_record = False
        self.recording: list[Callable[[], None]] | None = None

    def _allocate(self, size: int) -> int:
        block = ctypes.create_string_buffer(b"\xa5" * max(size, 1), max(size, 1))
        address = ctypes.addressof(block)
        self.memory[address] = block
        return address

    def device_memory(self, size: int) -> int:
        self.calls.append(("device_memory", size))
        return self._allocate(size)

    def pinned_memory(self, size: int) -> int:
        self.calls.append(("pinned_memory", size))
        return self._allocate(size)

    def free(self, device: int = 0, pinned: int = 0) -> None:
        for address in (device, pinned):
            if address:
                del self.memory[address]  # a KeyError is a double free

    def stream(self) -> int:
        self.open_streams += 1
        return 7

    def wait(self, stream: Any) -> None:
        self.calls.append(("wait",))

    def end_stream(self, stream: Any) -> None:
        self.open_streams -= 1

    def give(self, work: Callable[[], None]) -> None:
        """To the stream: run, or record."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def _copy(self, target: int, source: int, size: int) -> None:
        assert size <= len(self.memory[target]) and size <= len(self.memory[source])
        self.give(lambda: ctypes.memmove(target, source, size) and None)

    def to_device(self, device: int, pinned: int, size: int, stream: Any) -> None:
        self.calls.append(("to_device", size))
        self._copy(device, pinned, size)

    def to_host(self, pinned: int, device: int, size: int, stream: Any) -> None:
        self.calls.append(("to_host", size))
        self._copy(pinned, device, size)

    def record(self, stream: Any, work: Callable[[], None]) -> Any:
        if self.refuses_to_record:
            raise EngineError("cudaStreamEndCapture: operation not permitted when stream is capturing")
        self.recording = []
        work()
        made, self.recording = self.recording, None
        self.open_recordings += 1
        self.calls.append(("record", len(made)))
        return made

    def replay(self, recording: Any, stream: Any) -> None:
        self.calls.append(("replay",))
        for work in recording:
            work()

    def end_recording(self, recording: Any) -> None:
        self.open_recordings -= 1


class FakeContext:
    """Runs `function` on the addresses and shapes that it was given."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.scratch: tuple[int, int] | None = None

    def set_device_memory(self, memory: int, size: int) -> None:
        self.scratch = memory, size

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return shape[0] <= self.engine.largest

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return name in {t.name for t in (*self.engine.spec.inputs, *self.engine.spec.outputs)}

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self.engine
        if self.scratch is None or self.scratch[1] < engine.device_memory_size_v2 or engine.broken:
            return False
        engine.cuda.calls.append(("execute", next(iter(self.shapes.values()))[0]))
        engine.cuda.give(self._run)
        return True

    def _run(self) -> None:
        spec = self.engine.spec
        given = {t.name: array_at(self.addresses[t.name], self.shapes[t.name], t.dtype) for t in spec.inputs}
        for name, answer in self.engine.function(given).items():
            target = self.addresses[name]
            assert answer.nbytes <= len(self.engine.cuda.memory[target])
            array_at(target, answer.shape, answer.dtype)[...] = answer


class FakeEngine:
    device_memory_size_v2 = 4096

    def __init__(self, spec: EngineSpec, function: Function, cuda: FakeCuda, largest: int) -> None:
        self.spec, self.function, self.cuda, self.largest = spec, function, cuda, largest
        self.broken = False
        self.contexts: list[FakeContext] = []
        self.strategies: list[Any] = []
        self._tensors = (*spec.inputs, *spec.outputs)
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_tensor_dtype(self, name: str) -> Any:
        return next(t.dtype for t in self._tensors if t.name == name)

    def create_execution_context(self, strategy: Any) -> FakeContext:
        self.strategies.append(strategy)
        self.contexts.append(FakeContext(self))
        return self.contexts[-1]


class RtxConfig:
    """IRuntimeConfig of TensorRT for RTX."""

    def __init__(self, log: list[str]) -> None:
        self.dynamic_shapes_kernel_specialization_strategy: Any = None
        self.allocation: Any = None
        self.log = log

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.allocation = strategy

    def create_runtime_cache(self) -> Any:
        return types.SimpleNamespace(
            deserialize=lambda blob: self.log.append(f"known {blob.decode()}"), serialize=lambda: b"kernels"
        )

    def set_runtime_cache(self, cache: Any) -> bool:
        self.log.append("cache set")
        return True


def bindings(engine: FakeEngine | None, *, rtx: bool = False) -> Any:
    """The module `tensorrt`, or `tensorrt_rtx`, whose runtime opens every plan as `engine`; None: none at all."""

    class ILogger:
        def log(self, severity: Any, msg: str) -> None: ...

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, blob: bytes) -> FakeEngine | None:
            if engine is None:
                severity = types.SimpleNamespace(name="ERROR")
                self.logger.log(severity, "the plan is of another version")
            return engine

    trt = types.SimpleNamespace(
        ILogger=ILogger,
        Runtime=Runtime,
        nptype=lambda dtype: dtype,
        ExecutionContextAllocationStrategy=enum.Enum("Strategy", "STATIC USER_MANAGED"),
    )
    if rtx:
        trt.IRuntimeCache = object
        trt.DynamicShapesKernelSpecializationStrategy = enum.Enum("Specialization", "LAZY EAGER")
    return trt


def plan_at(folder: Path) -> Path:
    path = folder / "engine.plan"
    path.write_bytes(b"plan")
    return path
