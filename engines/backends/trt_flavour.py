"""What differs between TensorRT 10, TensorRT 11 and TensorRT for RTX. All else is one code path, and asks here.

TensorRT compiles for the GPU that it sees, and times what it compiles there. The RTX variant compiles for a list of
architectures ("SM 89" is compute capability 8.9) on any machine, with no GPU at all; the last step, to machine code,
is the runtime's, which keeps it in a cache of its own. Compared by name and signature with the bindings of tensorrt
10.16 and 11.4 and tensorrt-rtx 1.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.errors import EngineError


@dataclass(frozen=True, slots=True)
class Flavour:
    """One of the two products. `ahead`: it compiles without a GPU, for a list of architectures."""

    backend: str
    install: str
    ahead: bool

    def library(self) -> Any:
        """The bindings, imported now; raises EngineError, one line, where they are not installed or do not load."""
        try:
            if self.ahead:
                import tensorrt_rtx as bindings
            else:
                import tensorrt as bindings
        except Exception as error:  # a wheel without its libraries raises what it likes
            raise EngineError(
                f"backend {self.backend} cannot start: {error}", mend=f"pip install '{self.install}'"
            ) from None
        return bindings

    def network_flags(self, trt: Any) -> int:
        """Strongly typed with a batch dimension of its own: 10 must be told both, 11 and RTX know nothing else."""
        known = trt.NetworkDefinitionCreationFlag.__members__
        return sum(1 << int(known[name]) for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if name in known)

    def aim(self, trt: Any, config: Any, sms: Sequence[int]) -> None:
        """Compile for these architectures; none means the GPU in this machine. Raises EngineError for one unknown."""
        if not sms:
            return
        if not self.ahead:
            raise EngineError(
                f"{self.backend} compiles for the GPU that it sees, not ahead of time",
                mend="use backend tensorrt-rtx for --ahead",
            )
        known = trt.ComputeCapability.__members__
        if strangers := [sm for sm in sms if f"SM{sm}" not in known]:
            there = ", ".join(n.removeprefix("SM") for n in known if n.startswith("SM"))
            raise EngineError(
                f"SM {strangers[0]} is none that {self.backend} knows", mend=f"choose of {there}"
            )
        config.num_compute_capabilities = len(sms)
        for i, sm in enumerate(sms):
            if not config.set_compute_capability(known[f"SM{sm}"], i):
                raise EngineError(f"{self.backend} does not take SM {sm} as target {i}")

    def contexts(self, trt: Any, engine: Any, jit_cache: Path) -> Contexts:
        """The maker of this engine's execution contexts; see there."""
        return Contexts(trt, engine, jit_cache)


class Contexts:
    """Makes execution contexts whose working memory is the caller's, and keeps what the runtime compiles for them.

    TensorRT for RTX compiles its kernels when a context first runs. It is asked to do so at once and for the shape at
    hand (a CUDA graph would keep a stopgap for ever), and the kernels go to `jit_cache`, so that the next start finds
    them. On TensorRT all this is done at build time, and there is nothing to keep.
    """

    def __init__(self, trt: Any, engine: Any, jit_cache: Path) -> None:
        self._engine = engine
        self._jit_cache = jit_cache
        self._cache: Any = None
        self._how: Any = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not hasattr(trt, "IRuntimeCache"):
            return
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(self._how)
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        self._cache = config.create_runtime_cache()
        if jit_cache.is_file():
            self._cache.deserialize(
                jit_cache.read_bytes()
            )  # of another driver or card: refused, and made anew
        config.set_runtime_cache(self._cache)
        self._how = config

    def make(self) -> Any:
        """A new context, None where the runtime makes none."""
        return self._engine.create_execution_context(self._how)

    def keep(self) -> None:
        """Write what was compiled, once: the file belongs to the built engine, whose files do not change."""
        if self._cache is not None and not self._jit_cache.exists():
            self._jit_cache.write_bytes(bytes(self._cache.serialize()))


TENSORRT = Flavour("tensorrt", "sightline[gpu]", ahead=False)
RTX = Flavour("tensorrt-rtx", "sightline[rtx]", ahead=True)
