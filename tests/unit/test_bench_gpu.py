"""`sightline bench gpu` as far as it needs no GPU: the time it shares out, what it measures, what it writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.build.samples import sample
from streamer import cli
from streamer.commands import bench_gpu
from streamer.commands.bench_gpu import Allowance, Case, lines, random_inputs, run_case, timed, variants
from streamer.errors import EngineError
from streamer.ports import EngineSpec, TensorSpec


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """An engine whose every batch takes 10 ms of `clock`, whoever asks."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.batches = clock, list[int]()
        self.spec = EngineSpec(
            "slow", "x", "f32", "gpu", "0",
            (
                TensorSpec("images", (-1, 4, 6, 3), np.dtype(np.uint8)),
                TensorSpec("content_hw", (-1, 2), np.dtype(np.float32)),
                TensorSpec("state", (-1, 5), np.dtype(np.float32)),
                TensorSpec("slots", (-1, 2), np.dtype(np.int64)),
            ),
            (), 16, {},
        )  # fmt: skip

    def infer(self, inputs: Any) -> dict[str, Any]:
        self.batches.append(len(inputs["images"]))
        self.clock.now += 0.01
        return {}

    def close(self) -> None: ...


def test_families_share_what_is_left() -> None:
    clock = Clock()
    allowance = Allowance(60, 3, clock)
    allowance.next_family()
    assert allowance.seconds == 20
    clock.now += 5  # a quick one leaves more for the others
    allowance.next_family()
    assert allowance.seconds == pytest.approx(27.5)
    clock.now += 40
    assert allowance.seconds == 0
    allowance.next_family()
    assert allowance.seconds == pytest.approx(15)


def test_what_serving_would_choose_comes_first() -> None:
    assert variants("tensorrt")[0] == ("tensorrt", "f16")
    assert set(variants("tensorrt-rtx")) == {
        ("tensorrt-rtx", "f16"), ("tensorrt-rtx", "bf16"), ("torch", "bf16"), ("torch", "f32")
    }  # fmt: skip
    assert variants(None) == (("torch", "bf16"), ("torch", "f32"))


def test_latency_is_one_callers_and_throughput_is_of_all_pictures() -> None:
    clock = Clock()
    engine = Slow(clock)
    found = timed(engine, 4, 1.0, clock)
    assert set(engine.batches) == {4}
    assert (found.p50_ms, found.p95_ms) == (pytest.approx(10), pytest.approx(10))
    assert found.images_per_s == pytest.approx(400, rel=0.05)


def test_inputs_are_of_every_kind_a_graph_takes() -> None:
    engine = Slow(Clock())
    given = random_inputs(engine, 3)
    for tensor in engine.spec.inputs:
        assert given[tensor.name].dtype == tensor.dtype
        assert given[tensor.name].shape == (3, *tensor.shape[1:])
    assert given["content_hw"].tolist() == [[4, 6]] * 3 and given["images"].std() > 50


def test_a_case_is_built_gated_and_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU's runtime: the way through build, gate and clock is the same."""
    monkeypatch.setattr(bench_gpu, "BATCHES", (1, 2))
    monkeypatch.setattr(bench_gpu, "TIMED_S", 0.01)
    import time

    weights = str(sample("street", tmp_path, full=False))
    allowance = Allowance(100, 1, time.monotonic)
    allowance.next_family()
    row = run_case(weights, Case("street", "w", "onnx", "f32"), tmp_path, allowance, time.monotonic)
    assert [t["batch"] for t in row["timings"]] == [1, 2]
    assert all(t["images_per_s"] > 0 and 0 < t["p50_ms"] <= t["p95_ms"] for t in row["timings"])
    assert {b["batch"] for b in row["parity"]["batches"]} == {1, 2}
    json.dumps(row)
    refused = run_case(weights, Case("street", "w", "onnx", "bf16"), tmp_path, allowance, time.monotonic)
    assert refused == {"refused": "backend onnx has no bf16 on this machine — choose one of auto, f32"}
    none = Allowance(1, 1, time.monotonic)
    none.next_family()
    late = run_case(weights, Case("street", "w", "onnx", "f32"), tmp_path, none, time.monotonic)
    assert list(late) == ["left_out"]


def test_the_file_is_named_by_device_and_day_and_the_table_tells_all_rows(tmp_path: Path) -> None:
    rows = [
        {"model": "a", "backend": "torch", "precision": "f32", "refused": "no luck"},
        {
            "model": "a", "backend": "tensorrt", "precision": "f16",
            "timings": [{"batch": 4, "images_per_s": 812.4, "p50_ms": 4.913, "p95_ms": 5.2}],
        },
    ]  # fmt: skip
    found = {"device": "NVIDIA L4 (24 GB)", "date": "2026-11-24T07:00:00+00:00", "rows": rows}
    path = bench_gpu.write_results(found, tmp_path / "results")
    assert path.name == "gpu-nvidia-l4-24-gb-2026-11-24.json"
    assert json.loads(path.read_text()) == found
    assert list(lines(rows)) == [
        ("a", "torch", "f32", "", "", "", "no luck"),
        ("a", "tensorrt", "f16", "4", "812", "4.91", "5.20"),
    ]
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be written"):
        bench_gpu.write_results(found, tmp_path / "file")


def test_the_card_is_what_nvidia_smi_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "NVIDIA L4, 580.95.05, 8.9, 23034 MiB\nNVIDIA L4, 580.95.05, 8.9, 23034 MiB\n"
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, stdout=said, stderr="")
    )
    found = bench_gpu.find_gpu()
    assert (found["device"], found["driver"], found["compute_capability"]) == (
        "NVIDIA L4",
        "580.95.05",
        "8.9",
    )
    assert "torch" in found["versions"]


def test_without_a_gpu_it_is_one_line_and_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.run(["bench", "gpu", "--out", str(tmp_path / "results")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("no NVIDIA GPU on this machine") and not (tmp_path / "results").exists()
