"""ONNX → TensorRT plan: a strongly typed network, one profile for all batch sizes, timings kept from build to build.

Strongly typed means that the graph's own types decide in which precision each operator runs: casts in the graph are
the only precision switch (see `engines.build.precision`). What is compiled for several architectures ahead of time
needs no GPU; all else compiles for the one in the machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.backends.trt_flavour import Flavour
from engines.backends.trt_progress import Complaints, Progress, logger_of, monitor_of
from streamer.errors import EngineError

Say = Callable[[str], None]

TOLD = 6  # parser errors, at most, in the one line


@dataclass(frozen=True, slots=True)
class Wish:
    """How to compile: batches of 1 to `max_batch_size`, for `sms` (none: the GPU here).

    `exact`: float32 is float32, not TF32 with its 10 bits of mantissa. `timings` is a file of kernel timings that are
    used and added to. `version_compatible`: later TensorRT versions of the same major may open the plan, at some cost
    in speed.
    """

    max_batch_size: int
    sms: tuple[int, ...] = ()
    exact: bool = False
    timings: Path | None = None
    version_compatible: bool = False


def build_plan(flavour: Flavour, graph: Path, wish: Wish, say: Say) -> bytes:
    """Compile the ONNX file; `say` gets a line a phase. Raises EngineError, one line, with all that was refused."""
    trt = flavour.library()
    complaints = Complaints()
    logger = logger_of(trt, complaints)
    try:
        builder = trt.Builder(logger)
    except Exception as error:  # the bindings' own class, without a GPU
        raise EngineError(
            f"{flavour.backend} cannot build here{complaints.quoted() or f': {error}'}",
            mend="it needs an NVIDIA GPU and its driver",
        ) from None
    network = builder.create_network(flavour.network_flags(trt))
    say("parsing")
    _parse(trt, logger, network, graph)
    config = builder.create_builder_config()
    flavour.aim(trt, config, wish.sms)
    config.add_optimization_profile(_profile(builder, network, wish.max_batch_size, graph))
    flags = trt.BuilderFlag.__members__
    if wish.exact and "TF32" in flags:
        config.clear_flag(flags["TF32"])
    if wish.version_compatible and "VERSION_COMPATIBLE" in flags and not flavour.ahead:
        config.set_flag(flags["VERSION_COMPATIBLE"])
    timings = _Timings(config, None if flavour.ahead else wish.timings)
    monitor = monitor_of(trt, Progress(say))
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{flavour.backend} cannot compile it{complaints.quoted()}", where=graph.name)
    timings.keep()
    return bytes(plan)


def _parse(trt: Any, logger: Any, network: Any, graph: Path) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(graph.read_bytes(), str(graph)):
        return
    said = [refusal(parser.get_error(i)) for i in range(parser.num_errors)]
    lines = list(dict.fromkeys(said)) or ["no reason given"]
    more = f"; and {len(lines) - TOLD} more" if len(lines) > TOLD else ""
    raise EngineError(
        f"TensorRT does not take this graph: {'; '.join(lines[:TOLD])}{more}",
        where=graph.name,
        mend="rewrite these operators, or use another backend",
    )


def refusal(error: Any) -> str:
    """One parser error in words: which operator, where, and why."""
    place = " ".join(part for part in (error.node_operator(), error.node_name()) if part)
    reason = " ".join(str(error.desc()).split())
    return f"{place}: {reason}" if place else reason


def _profile(builder: Any, network: Any, largest: int, graph: Path) -> Any:
    """Batches of 1 to `largest`, tuned for the largest; nothing else may vary."""
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = tuple(tensor.shape)
        if not shape or shape[0] != -1 or -1 in shape[1:]:
            raise EngineError(
                f"input {tensor.name!r} is {list(shape)}: a batch that varies, and only it, is needed",
                where=graph.name,
                mend="export it with the first dimension dynamic and all others fixed",
            )
        rest: Sequence[int] = shape[1:]
        profile.set_shape(tensor.name, (1, *rest), (largest, *rest), (largest, *rest))
    return profile


class _Timings:
    """The builder's measured kernel times: from a file before, to it after. A build that knows them takes seconds."""

    def __init__(self, config: Any, path: Path | None) -> None:
        self._config, self._path = config, path
        if path is None or not hasattr(config, "create_timing_cache"):
            self._path = None
            return
        known = path.read_bytes() if path.is_file() else b""
        cache = config.create_timing_cache(known)
        if not config.set_timing_cache(cache, False):  # of another card or version
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def keep(self) -> None:
        """Replace the file at once, whoever else builds; a timing lost to another builder is measured again."""
        cache = self._config.get_timing_cache() if self._path is not None else None
        if cache is None or self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".timings-", dir=self._path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(bytes(cache.serialize()))
        Path(part).replace(self._path)
