"""`sightline models`: what is kept, what is let go, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.errors import ConfigError, EngineError


def run(*arguments: str) -> str:
    """The output of a command that succeeds; what it raises otherwise."""
    done = CliRunner().invoke(app, ["models", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def keep_engine(data_dir: Path, model: str) -> Path:
    folder = data_dir / "engines" / f"{model}-openvino-f32-0123"
    folder.mkdir(parents=True)
    spec = {
        **{
            "name": model,
            "backend": "openvino",
            "precision": "f32",
            "device": "a processor",
            "digest": "ab" * 32,
        },
        **{"max_batch_size": 8, "inputs": [], "outputs": [], "meta": {}},
    }
    (folder / "engine.json").write_text(json.dumps({"spec": spec, "files": {}}))
    (folder / "parity.json").write_text(json.dumps({"precision": "f32", "limits": {}, "batches": []}))
    return folder


def test_inspect_tells_the_card_and_each_engine(tmp_path: Path) -> None:
    keep_engine(tmp_path, "street-nano")
    keep_engine(tmp_path, "another")
    said = json.loads(run("inspect", "street-nano", "--json", "--data-dir", str(tmp_path)))
    assert (said["name"], said["family"], said["task"]) == ("street-nano", "street", "track")
    assert said["config"]["track_slots"] == 28
    [engine] = said["engines"]
    assert engine["backend"] == "openvino"
    assert engine["parity"]["precision"] == "f32"
    assert "street-nano" in run("inspect", "street-nano", "--data-dir", str(tmp_path))


def test_rm_lets_go_of_one_models_engines(tmp_path: Path) -> None:
    gone, stays = keep_engine(tmp_path, "street-nano"), keep_engine(tmp_path, "another")
    assert "removed street-nano-openvino" in run("rm", "street-nano", "--data-dir", str(tmp_path))
    assert not gone.exists()
    assert stays.exists()
    with pytest.raises(ConfigError, match="nothing is kept"):
        run("rm", "street-nano", "--data-dir", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (["import", "/none.pth", "--family", "detr"], EngineError, "does not exist"),
        (["import", "/none.pth", "--family", "yolo"], EngineError, r"'yolo' is known — choose one of detr"),
        (["import", "/none.pth", "--family", "detr", "--size", "wide"], ConfigError, "'wide' is no size"),
        (["import", "/none.pth", "--family", "detr", "--labels", "/none.txt"], ConfigError, "/none.txt"),
        (["import", "/none.pth", "--family", "detr", "--name", "a/b"], ConfigError, "is no name"),
        (["inspect", "nobody"], EngineError, r"'nobody' is unknown — known: street-nano"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told) as caught:
        run(*arguments, "--data-dir", str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.safetensors"))
