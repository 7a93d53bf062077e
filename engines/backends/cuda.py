"""The few CUDA calls that serving needs, through NVIDIA's own Python bindings: memory, streams, graphs. No torch.

Every call of the bindings answers (error, value …); here an error is an EngineError of one line. Waiting for a stream
sleeps instead of spinning, since decoders need the cores.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.errors import EngineError

INSTALL = "pip install cuda-bindings (13.* for drivers of CUDA 13, 12.* for older ones)"


@dataclass(frozen=True, slots=True)
class Gpu:
    """The device that is used: the first that CUDA_VISIBLE_DEVICES shows. `sm` 89 is compute capability 8.9."""

    name: str
    sm: int
    cuda: str  # what the driver offers, such as 13.0

    def __str__(self) -> str:
        return f"{self.name}, SM {self.sm}, driver for CUDA {self.cuda}"


class Cuda(Protocol):
    """Addresses and handles are plain integers or the bindings' own objects; sizes are bytes."""

    def device_memory(self, size: int) -> int: ...

    def pinned_memory(self, size: int) -> int: ...

    def free(self, device: int = 0, pinned: int = 0) -> None: ...

    def stream(self) -> Any: ...

    def wait(self, stream: Any) -> None: ...

    def end_stream(self, stream: Any) -> None: ...

    def to_device(self, device: int, pinned: int, size: int, stream: Any) -> None: ...

    def to_host(self, pinned: int, device: int, size: int, stream: Any) -> None: ...

    def record(self, stream: Any, work: Callable[[], None]) -> Any: ...

    def replay(self, recording: Any, stream: Any) -> None: ...

    def end_recording(self, recording: Any) -> None: ...


def look() -> tuple[Gpu | None, str]:
    """The GPU, or None and why there is none; asks the driver anew until there is one, then never again."""
    try:
        return _found(), ""
    except EngineError as error:
        return None, f"{error.what} — {error.mend}" if error.mend else error.what


@cache
def _found() -> Gpu:
    rt = _bindings()
    try:
        count = _call(rt, rt.cudaGetDeviceCount)
    except EngineError as error:
        raise EngineError(f"no NVIDIA GPU on this machine ({error.what.partition(': ')[2]})") from None
    if not count:
        raise EngineError("no NVIDIA GPU on this machine")
    about = _call(rt, rt.cudaGetDeviceProperties, 0)
    version = _call(rt, rt.cudaDriverGetVersion)
    name = about.name.decode() if isinstance(about.name, bytes) else str(about.name)
    return Gpu(name.strip("\0 "), about.major * 10 + about.minor, f"{version // 1000}.{version % 1000 // 10}")


def open_cuda() -> Cuda:
    """The first GPU, ready for work. Raises EngineError, one line, where there is none or the bindings are missing."""
    _found()
    rt = _bindings()
    rt.cudaSetDeviceFlags(
        rt.cudaDeviceScheduleBlockingSync
    )  # refused where a context is already open: it only spins
    rt.cudaGetLastError()
    _call(rt, rt.cudaSetDevice, 0)
    return _Bound(rt)


def _bindings() -> Any:
    try:
        from cuda.bindings import runtime
    except Exception as error:  # also what a broken library raises
        raise EngineError(f"CUDA's Python bindings are missing: {error}", mend=INSTALL) from None
    return runtime


def _call(rt: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """The value of a call, or a tuple of values; an error of CUDA's is raised by its own words."""
    error, *values = function(*arguments)
    if error != rt.cudaError_t.cudaSuccess:
        _, words = rt.cudaGetErrorString(error)
        raise EngineError(f"{function.__name__}: {words.decode() if isinstance(words, bytes) else words}")
    return values[0] if len(values) == 1 else tuple(values)


class _Bound:
    """`Cuda` on the real bindings."""

    def __init__(self, rt: Any) -> None:
        self._rt = rt

    def device_memory(self, size: int) -> int:
        """At least one byte, aligned to 256, not cleared."""
        return int(_call(self._rt, self._rt.cudaMalloc, max(size, 1)))

    def pinned_memory(self, size: int) -> int:
        """Host memory that the device can read while the CPU goes on; not cleared."""
        return int(_call(self._rt, self._rt.cudaMallocHost, max(size, 1)))

    def free(self, device: int = 0, pinned: int = 0) -> None:
        if device:
            _call(self._rt, self._rt.cudaFree, device)
        if pinned:
            _call(self._rt, self._rt.cudaFreeHost, pinned)

    def stream(self) -> Any:
        """One that does not wait for the default stream."""
        return _call(self._rt, self._rt.cudaStreamCreateWithFlags, self._rt.cudaStreamNonBlocking)

    def wait(self, stream: Any) -> None:
        """Until all work given to the stream is done; lets go of the interpreter's lock."""
        _call(self._rt, self._rt.cudaStreamSynchronize, stream)

    def end_stream(self, stream: Any) -> None:
        _call(self._rt, self._rt.cudaStreamDestroy, stream)

    def to_device(self, device: int, pinned: int, size: int, stream: Any) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call(self._rt, self._rt.cudaMemcpyAsync, device, pinned, size, kind, stream)

    def to_host(self, pinned: int, device: int, size: int, stream: Any) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call(self._rt, self._rt.cudaMemcpyAsync, pinned, device, size, kind, stream)

    def record(self, stream: Any, work: Callable[[], None]) -> Any:
        """What `work` gives to the stream, as a CUDA graph that `replay` runs; `work` runs nothing now.

        Raises EngineError if something in it cannot be recorded; the stream is usable afterwards either way.
        """
        rt = self._rt
        mode = (
            rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )  # other threads' calls do not disturb
        _call(rt, rt.cudaStreamBeginCapture, stream, mode)
        try:
            work()
        except EngineError:
            rt.cudaStreamEndCapture(stream)  # its own error says no more than the one on its way
            rt.cudaGetLastError()
            raise
        graph = _call(rt, rt.cudaStreamEndCapture, stream)
        try:
            return _call(rt, rt.cudaGraphInstantiate, graph, 0)
        finally:
            _call(rt, rt.cudaGraphDestroy, graph)

    def replay(self, recording: Any, stream: Any) -> None:
        _call(self._rt, self._rt.cudaGraphLaunch, recording, stream)

    def end_recording(self, recording: Any) -> None:
        _call(self._rt, self._rt.cudaGraphExecDestroy, recording)


def array_at(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Host memory at an address as an array that does not own it."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = memoryview((ctypes.c_byte * size).from_address(address)).cast("B")
    array: NDArray[Any] = np.frombuffer(memory, dtype).reshape(shape)
    return array
