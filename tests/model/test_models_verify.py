"""`sightline models verify --all --reduced`: every family, on both CPU backends, at three batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines.build import samples
from engines.zoo import FAMILIES
from streamer.cli import app


def test_every_family_is_verified_on_every_cpu_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_DATA", str(tmp_path))
    made = samples.sample("street", tmp_path / "named", full=False)
    done = CliRunner().invoke(
        app, ["models", "verify", str(made), "--all", "--reduced", "--max-batch-size", "3", "--json"]
    )
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert {(row["family"], row["backend"], row["batch"]) for row in rows} == {
        (family.name, backend, batch)
        for family in FAMILIES
        for backend in ("openvino", "onnx")
        for batch in (1, 3)
    }
    assert all(row["pass"] and row["error"] <= row["limit"] for row in rows)
    assert not list(tmp_path.glob(".verify-*"))


def test_a_model_that_cannot_be_built_fails_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_DATA", str(tmp_path))
    done = CliRunner().invoke(app, ["models", "verify", "nobody", "--backend", "onnx", "--json"])
    assert done.exit_code == 1
    [row] = json.loads(done.stdout)
    assert not row["pass"] and "unknown" in row["measure"]
