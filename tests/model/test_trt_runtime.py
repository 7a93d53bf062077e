"""TensorRT's runtime path on a fake that has memory of its own: sizes, order, recordings, lanes, and giving back."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.backends import cuda, trt_flavour
from engines.backends.buckets import bucket_of, buckets_for
from engines.backends.trt_flavour import RTX, TENSORRT, Flavour
from engines.backends.trt_runtime import TensorRtEngine, open_plan
from streamer.errors import EngineError
from streamer.ports import EngineSpec, TensorSpec
from tests.fakes.tensorrt import FakeCuda, FakeEngine, RtxConfig, bindings, plan_at

U8, F32, I64 = (np.dtype(kind) for kind in (np.uint8, np.float32, np.int64))
SPEC = EngineSpec(
    "fake", "tensorrt", "f16", "gpu", "0",
    (TensorSpec("images", (-1, 2, 3), U8), TensorSpec("state", (-1, 5), F32)),
    (TensorSpec("sums", (-1, 5), F32), TensorSpec("best", (-1, 1), I64)),
    6, {},
)  # fmt: skip


def answer(given: dict[str, Any]) -> dict[str, Any]:
    """What the plan computes, row by row."""
    sums = given["state"] * 2 + given["images"].reshape(len(given["state"]), -1).sum(axis=1, keepdims=True)
    return {"sums": sums.astype(np.float32), "best": sums.argmax(axis=1)[:, None].astype(np.int64)}


def case(batch: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 255, (batch, 2, 3), dtype=np.uint8),
        "state": rng.normal(size=(batch, 5)).astype(np.float32),
    }


Open = Callable[..., TensorRtEngine]


@pytest.fixture
def device() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def plan(device: FakeCuda) -> FakeEngine:
    return FakeEngine(SPEC, answer, device, largest=6)


@pytest.fixture
def opened(device: FakeCuda, plan: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    def open_(lanes: int = 1, spec: EngineSpec = SPEC, flavour: Flavour = TENSORRT) -> TensorRtEngine:
        there = bindings(plan, rtx=flavour.ahead)
        monkeypatch.setattr(Flavour, "library", lambda self: there)
        return open_plan(spec, flavour, device, plan_at(tmp_path), lanes)

    return open_


def check(engine: TensorRtEngine, given: dict[str, Any]) -> None:
    found, wanted = engine.infer(given), answer(given)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("batch", range(1, 7))
def test_every_batch_is_answered_row_by_row(opened: Open, batch: int) -> None:
    check(opened(), case(batch))


def test_a_batch_is_one_launch_and_one_wait(opened: Open, device: FakeCuda) -> None:
    engine = opened()
    device.calls.clear()
    engine.infer(case(3))
    assert device.calls == [("replay",), ("wait",)]


def test_what_is_recorded_copies_the_rows_of_its_size_and_no_more(opened: Open, device: FakeCuda) -> None:
    opened()
    assert buckets_for(6) == (1, 2, 4, 6)
    for bucket in buckets_for(6):
        at = device.calls.index(("execute", bucket))
        before, after = device.calls[at - 2 : at], device.calls[at + 1 : at + 3]
        assert before == [("to_device", bucket * 6), ("to_device", bucket * 20)]
        assert after == [("to_host", bucket * 20), ("to_host", bucket * 8)]
        assert device.calls[at + 3] == ("wait",)  # settled before it is recorded
    assert [c for c in device.calls if c[0] == "record"] == [("record", 5)] * 4


def test_buffers_hold_the_largest_batch_and_working_memory_is_shared(
    opened: Open, device: FakeCuda, plan: FakeEngine
) -> None:
    opened()
    assert [c[1] for c in device.calls if c[0] == "pinned_memory"] == [36, 120, 120, 48]
    assert [c[1] for c in device.calls if c[0] == "device_memory"] == [36, 120, 120, 48, 4096]
    assert len({context.scratch for context in plan.contexts}) == 1
    assert len(plan.contexts) == 4  # one a size: a recording outlives the next size's shapes


def test_rows_behind_a_batch_change_nothing(opened: Open) -> None:
    engine = opened()
    engine.infer(case(6, seed=1))  # leaves its rows in the buffers
    check(engine, case(5, seed=2))
    check(engine, case(3, seed=3))


def test_answers_are_the_callers(opened: Open) -> None:
    engine = opened()
    first = engine.infer(case(2, seed=4))
    kept = {name: array.copy() for name, array in first.items()}
    engine.infer(case(2, seed=5))
    for name in kept:
        np.testing.assert_array_equal(first[name], kept[name])
        assert first[name].flags.writeable


def test_lanes_have_buffers_of_their_own_and_are_shared_by_all_callers(
    opened: Open, plan: FakeEngine
) -> None:
    engine = opened(lanes=2)
    assert len({frozenset(c.addresses.items()) for c in plan.contexts}) == 2
    with ThreadPoolExecutor(5) as pool:
        for _ in pool.map(lambda i: check(engine, case(1 + i % 6, seed=i)), range(60)):
            pass


def test_without_a_recording_it_works_all_the_same(opened: Open, device: FakeCuda) -> None:
    device.refuses_to_record = True
    engine = opened()
    device.calls.clear()
    check(engine, case(3))
    assert ("replay",) not in device.calls and ("execute", 4) in device.calls


def test_a_context_that_cannot_be_captured_is_not(
    opened: Open, device: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.fakes.tensorrt.FakeContext.is_stream_capturable", lambda *_: False, raising=False
    )
    check(opened(), case(2))
    assert device.open_recordings == 0


def test_close_gives_everything_back_and_is_told_to_who_comes_late(opened: Open, device: FakeCuda) -> None:
    engine = opened(lanes=3)
    engine.infer(case(1))
    engine.close()
    engine.close()
    assert (device.memory, device.open_streams, device.open_recordings) == ({}, 0, 0)
    for _ in range(2):
        with pytest.raises(EngineError, match="fake: the engine is closed"):
            engine.infer(case(1))


def test_close_waits_for_what_runs(opened: Open, plan: FakeEngine) -> None:
    engine = opened()
    running, go_on = threading.Event(), threading.Event()

    def slow(given: dict[str, Any]) -> dict[str, Any]:
        running.set()
        assert go_on.wait(30)
        return answer(given)

    plan.function = slow
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(engine.infer, case(2))
        assert running.wait(30)
        closing = pool.submit(engine.close)
        go_on.set()
        np.testing.assert_array_equal(asked.result(30)["sums"], answer(case(2))["sums"])
        closing.result(30)


def test_a_plan_that_is_not_this_engines_is_refused_by_name(opened: Open) -> None:
    wrong = dataclasses.replace(SPEC, outputs=(SPEC.outputs[0], TensorSpec("best", (-1, 1), F32)))
    with pytest.raises(EngineError, match=r"best is int64, not float32") as caught:
        opened(spec=wrong)
    assert "\n" not in str(caught.value)


def test_a_lane_that_fails_to_open_gives_back_all_lanes(
    opened: Open, device: FakeCuda, plan: FakeEngine
) -> None:
    plan.largest = 3
    with pytest.raises(EngineError, match="a batch of 4 is refused for 'images'"):
        opened(lanes=2)
    assert (device.memory, device.open_streams, device.open_recordings) == ({}, 0, 0)
    plan.largest, plan.broken = 6, True
    with pytest.raises(EngineError, match="a batch of 1 did not run"):
        opened(lanes=2)
    assert (device.memory, device.open_streams) == ({}, 0)


def test_a_plan_that_cannot_be_opened_is_one_line_with_the_librarys_reason(
    device: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flavour, "library", lambda self: bindings(None))
    with pytest.raises(EngineError, match="cannot be opened: the plan is of another version") as caught:
        open_plan(SPEC, TENSORRT, device, plan_at(tmp_path), 1)
    assert "\n" not in str(caught.value) and "delete its folder" in str(caught.value)
    with pytest.raises(EngineError, match="No such file"):
        open_plan(SPEC, TENSORRT, device, tmp_path / "none.plan", 1)


def test_rtx_compiles_for_the_shape_at_hand_and_keeps_what_it_compiled(
    opened: Open, plan: FakeEngine, tmp_path: Path
) -> None:
    said: list[str] = []
    plan.create_runtime_config = lambda: RtxConfig(said)  # type: ignore[attr-defined]
    opened(flavour=RTX)
    config = plan.strategies[0]
    assert config.allocation.name == "USER_MANAGED"
    assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
    assert (tmp_path / "jit.cache").read_bytes() == b"kernels"
    (tmp_path / "jit.cache").write_bytes(b"older")
    opened(flavour=RTX)
    assert said == ["cache set", "known older", "cache set"]
    assert (tmp_path / "jit.cache").read_bytes() == b"older"  # files of a built engine do not change


def test_a_bucket_holds_its_batch() -> None:
    for largest in range(1, 70):
        sizes = buckets_for(largest)
        assert sizes == tuple(sorted(set(sizes))) and sizes[-1] == largest
        for batch in range(1, largest + 1):
            assert batch <= bucket_of(batch, sizes) < 2 * batch or bucket_of(batch, sizes) == 1 or batch > 32


def test_cudas_errors_are_one_line_in_its_own_words() -> None:
    class Runtime:
        class cudaError_t:
            cudaSuccess = 0

        @staticmethod
        def cudaGetErrorString(error: int) -> tuple[int, bytes]:
            return 0, b"out of memory"

        @staticmethod
        def cudaMalloc(size: int) -> tuple[int, int]:
            return (2, 0) if size > 100 else (0, 4096)

    bound = cuda._Bound(Runtime())
    assert bound.device_memory(0) == 4096
    with pytest.raises(EngineError, match=r"^cudaMalloc: out of memory$"):
        bound.device_memory(101)


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    for flavour, extra in ((TENSORRT, "gpu"), (RTX, "rtx")):
        with pytest.raises(EngineError, match=rf"pip install 'sightline\[{extra}\]'"):
            flavour.library()
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "cuda", None)
    cuda._found.cache_clear()
    gpu, why = cuda.look()
    assert gpu is None and "pip install cuda-bindings" in why and "\n" not in why
    assert trt_flavour.RTX.ahead and not trt_flavour.TENSORRT.ahead
