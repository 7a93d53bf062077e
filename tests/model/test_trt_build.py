"""TensorRT's build path: what 10, 11 and RTX are told, which errors are told back, and how a build speaks meanwhile."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from engines.backends import cuda, registry, tensorrt, tensorrt_rtx
from engines.backends.registry import Artefact, Lanes
from engines.backends.trt_build import Wish, build_plan
from engines.backends.trt_flavour import RTX, TENSORRT, Flavour
from engines.backends.trt_progress import Complaints, Progress
from engines.build.precision import resolve_for
from engines.zoo import FAMILIES
from streamer.errors import EngineError
from streamer.ports import EngineSpec


class Config:
    """A builder config that remembers; `accepts_timings` as of a cache made on this card."""

    def __init__(self, log: dict[str, Any]) -> None:
        self.log = log
        self.progress_monitor: Any = None
        self.num_compute_capabilities = 1
        self.cache: Any = None

    def add_optimization_profile(self, profile: Any) -> int:
        self.log["profile"] = profile.shapes
        return 0

    def clear_flag(self, flag: Any) -> None:
        self.log.setdefault("cleared", []).append(flag)

    def set_flag(self, flag: Any) -> None:
        self.log.setdefault("set", []).append(flag)

    def create_timing_cache(self, known: bytes) -> Any:
        return types.SimpleNamespace(known=known, serialize=lambda: known + b"+new")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache.known == b"other card":
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache

    def set_compute_capability(self, capability: Any, index: int) -> bool:
        self.log.setdefault("targets", []).append((index, capability))
        return index < self.num_compute_capabilities


def error(node: str, operator: str, why: str) -> Any:
    return types.SimpleNamespace(node_name=lambda: node, node_operator=lambda: operator, desc=lambda: why)


def library(
    log: dict[str, Any],
    *,
    version: int = 11,
    errors: tuple[Any, ...] = (),
    shape: tuple[int, ...] = (-1, 4),
    plan: bytes | None = b"plan",
    gpu: bool = True,
) -> Any:
    """The bindings of TensorRT 10 or 11 as far as a build touches them; what it is told goes to `log`."""

    class ILogger:
        def log(self, severity: Any, msg: str) -> None: ...

    class IProgressMonitor:
        def phase_start(self, *_: Any) -> None: ...

    class Parser:
        num_errors = len(errors)

        def __init__(self, network: Any, logger: Any) -> None: ...

        def parse(self, model: bytes, path: str) -> bool:
            return not errors

        def get_error(self, index: int) -> Any:
            return errors[index]

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, Any] = {}

        def set_shape(self, name: str, *shapes: Any) -> None:
            self.shapes[name] = shapes

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            if not gpu:
                logger.log(types.SimpleNamespace(name="ERROR"), "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int) -> Any:
            log["network"] = flags
            given = types.SimpleNamespace(name="x", shape=shape)
            return types.SimpleNamespace(num_inputs=1, get_input=lambda i: given)

        def create_builder_config(self) -> Config:
            log["config"] = Config(log)
            return log["config"]  # type: ignore[no-any-return]

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            config.progress_monitor.phase_start("Building engine", None, 4)
            log["goes on"] = config.progress_monitor.step_complete("Building engine", 0)
            config.progress_monitor.phase_finish("Building engine")
            if plan is None:
                self.logger.log(types.SimpleNamespace(name="ERROR"), "no implementation for node MatMul_3")
            return plan

    flags = {"STRONGLY_TYPED": 1} | ({"EXPLICIT_BATCH": 0} if version == 10 else {})
    return types.SimpleNamespace(
        ILogger=ILogger, IProgressMonitor=IProgressMonitor, OnnxParser=Parser, Builder=Builder,
        NetworkDefinitionCreationFlag=types.SimpleNamespace(__members__=flags),
        BuilderFlag=types.SimpleNamespace(__members__={"TF32": "tf32", "VERSION_COMPATIBLE": "vc"}),
        ComputeCapability=types.SimpleNamespace(__members__={"SM80": "8.0", "SM89": "8.9", "NONE": ""}),
    )  # fmt: skip


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    return path


def build(
    monkeypatch: pytest.MonkeyPatch, graph: Path, there: Any, wish: Wish, flavour: Flavour = TENSORRT
) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(Flavour, "library", lambda self: there)
    assert build_plan(flavour, graph, wish, said.append) == b"plan"
    return said


@pytest.mark.parametrize(("version", "flags"), [(10, 0b11), (11, 0b10)])
def test_networks_are_strongly_typed_in_every_version(
    version: int, flags: int, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: dict[str, Any] = {}
    said = build(monkeypatch, graph, library(log, version=version), Wish(6))
    assert log["network"] == flags
    assert log["profile"] == {"x": ((1, 4), (6, 4), (6, 4))}
    assert said == ["parsing", "Building engine 0 %"] and log["goes on"] is True
    assert "cleared" not in log and "set" not in log


def test_float32_is_float32_and_version_compatible_is_asked_for(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: dict[str, Any] = {}
    build(monkeypatch, graph, library(log), Wish(1, exact=True, version_compatible=True))
    assert (log["cleared"], log["set"]) == (["tf32"], ["vc"])
    build(monkeypatch, graph, library(log := {}), Wish(1, version_compatible=True), RTX)
    assert "set" not in log  # RTX refuses it without a GPU


def test_timings_are_kept_from_build_to_build_and_those_of_another_card_are_not_used(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings = tmp_path / "cache" / "timings"
    wish = Wish(1, timings=timings)
    build(monkeypatch, graph, library({}), wish)
    build(monkeypatch, graph, library({}), wish)
    assert timings.read_bytes() == b"+new+new"
    timings.write_bytes(b"other card")
    build(monkeypatch, graph, library({}), wish)
    assert timings.read_bytes() == b"+new"
    build(monkeypatch, graph, library({}), wish, RTX)  # it measures nothing
    assert timings.read_bytes() == b"+new"
    assert [p.name for p in timings.parent.iterdir()] == ["timings"]


def test_targets_are_for_rtx_alone(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: dict[str, Any] = {}
    build(monkeypatch, graph, library(log), Wish(1, (80, 89)), RTX)
    assert log["targets"] == [(0, "8.0"), (1, "8.9")]
    with pytest.raises(EngineError, match="SM 90 is none that tensorrt-rtx knows — choose of 80, 89"):
        build(monkeypatch, graph, library({}), Wish(1, (80, 90)), RTX)
    with pytest.raises(EngineError, match="not ahead of time — use backend tensorrt-rtx"):
        build(monkeypatch, graph, library({}), Wish(1, (80,)), TENSORRT)


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (
            {"errors": (error("where", "NonZero", "no\nplugin"), error("", "", "bad")) * 2},
            "NonZero where: no plugin; bad — ",
        ),
        ({"errors": tuple(error(str(i), "Pad", "no") for i in range(9))}, "Pad 5: no; and 3 more"),
        ({"shape": (2, 4)}, r"input 'x' is \[2, 4\]"),
        ({"shape": (-1, -1)}, r"input 'x' is \[-1, -1\]"),
        ({"plan": None}, "cannot compile it: no implementation for node MatMul_3"),
        ({"gpu": False}, "cannot build here: CUDA initialization failure"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line_that_names_it(
    there: dict[str, Any], says: str, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        build(monkeypatch, graph, library({}, **there), Wish(1))
    assert "\n" not in str(caught.value)


def test_progress_is_told_now_and_then_with_phases_inside_phases() -> None:
    now, said = [0.0], list[str]()
    progress = Progress(said.append, clock=lambda: now[0])
    progress.phase_start("Building engine", None, 4)
    progress.phase_start("Timing", "Building engine", 10)
    for step in range(10):
        now[0] += 0.5
        assert progress.step_complete("Timing", step)
    progress.phase_finish("Timing")
    progress.step_complete("Building engine", 2)
    now[0] += 10
    progress.step_complete("Building engine", 3)
    progress.phase_finish("Building engine")
    progress.step_complete("unknown", 1)  # a phase that was never announced harms nobody
    progress.phase_finish("unknown")
    assert said == [
        "Building engine 0 %",
        "Building engine 10 %",
        "Building engine 20 %",
        "Building engine 100 %",
    ]


def test_complaints_quote_the_last_errors_once() -> None:
    complaints = Complaints()
    for i in range(9):
        complaints.log("ERROR", f"bad\n{i // 2}")
    complaints.log("WARNING", "nothing to quote")
    assert complaints.quoted() == ": bad 1; bad 2; bad 3; bad 4"


def artefact(folder: Path, precision: str = "f32") -> Artefact:
    spec = EngineSpec("small", "tensorrt-rtx", precision, "", "0", (), (), 4, {})
    return Artefact(folder, spec, folder / "w", "m:f", Lanes(1), folder / "shared")


def test_without_a_gpu_nothing_is_built_that_could_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "look", lambda: (None, "no NVIDIA GPU on this machine"))
    for backend in (tensorrt, tensorrt_rtx):
        assert backend.device() == "no NVIDIA GPU"
        assert backend.precisions() == ("f16", "bf16", "f32")
        with pytest.raises(
            EngineError, match=r"no NVIDIA GPU on this machine — .*--ahead 80,86,89,120"
        ) as caught:
            backend.prepare(artefact(tmp_path))
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_with_a_gpu_a_plan_is_left_with_exact_arithmetic_in_float32(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turing = cuda.Gpu("Turing", 75, "13.0")
    monkeypatch.setattr(cuda, "look", lambda: (turing, ""))
    assert tensorrt.precisions() == ("f16", "f32")  # no bfloat16 before SM 80
    assert tensorrt.device() == "Turing, SM 75, driver for CUDA 13.0"
    log: dict[str, Any] = {}
    monkeypatch.setattr(Flavour, "library", lambda self: library(log))
    monkeypatch.setenv(tensorrt.VERSION_COMPATIBLE, "1")
    tensorrt.prepare(artefact(graph.parent))
    assert (graph.parent / tensorrt.PLAN_FILE).read_bytes() == b"plan"
    assert (graph.parent / "shared" / tensorrt.TIMINGS_FILE).exists()
    assert (log["cleared"], log["set"], log["profile"]["x"][2]) == (["tf32"], ["vc"], (4, 4))
    monkeypatch.setenv(tensorrt.VERSION_COMPATIBLE, "0")
    tensorrt.prepare(artefact(graph.parent, "f16"))
    assert "cleared" in log and len(log["cleared"]) == 1 and len(log["set"]) == 1
    assert registry.settings("tensorrt") == {"SIGHTLINE_TRT_VERSION_COMPATIBLE": "0"}


def test_sixteen_bits_need_parts_that_may_run_in_them() -> None:
    import dataclasses

    bare = dataclasses.replace(FAMILIES[0], low_precision_parts=())
    assert resolve_for(FAMILIES[0], "tensorrt-rtx", "auto") == "f16"
    assert resolve_for(bare, "tensorrt-rtx", "auto") == "f32"
    assert resolve_for(bare, "onnx", "auto") == "f32"
    with pytest.raises(EngineError, match="street family names no parts that may run in bf16"):
        resolve_for(bare, "tensorrt", "bf16")
