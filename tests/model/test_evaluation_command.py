"""`sightline eval` with the shipped weights: the flat keys, the same numbers again, a page, a clip, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.evaluation.scores import FLAT
from engines.evaluation.torch_engine import torch_infer
from engines.models.street_family import example_inputs, load_street
from engines.tasks.track import TrackTask
from streamer.cli import run
from streamer.errors import SightlineError
from streamer.ports import EngineSpec, TensorSpec
from streamer.world import LABELS
from streamer.world.clip_file import write_pictures

WEIGHTS = Path(__file__).parents[2] / "engines" / "weights" / "street-nano.safetensors"
SIZE = ["--streets", "2", "--frames", "12"]


class TorchEngine:
    """The shipped weights by torch, opened without a build."""

    def __init__(self) -> None:
        model = load_street(WEIGHTS)
        self.infer = torch_infer(model)
        self.closed = 0
        inputs = tuple(
            TensorSpec(name, (-1, *tensor.shape[1:]), np.dtype(str(tensor.dtype).removeprefix("torch.")))
            for name, tensor in zip(model.input_names, example_inputs(1, model.config), strict=True)
        )
        self.spec = EngineSpec(
            name="street-nano", backend="torch", precision="f32", device="cpu", digest="0", inputs=inputs,
            outputs=(), max_batch_size=8, meta={"labels": LABELS},
        )  # fmt: skip

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    return TorchEngine()


@pytest.fixture(autouse=True)
def opened(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    names: list[str] = []

    def open_engine(name: str, **settings: Any) -> TorchEngine:
        names.append(name)
        return engine

    monkeypatch.setattr("engines.zoo.open_engine", open_engine)
    yield names


def told(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert run(["eval", *args]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def check(numbers: Mapping[str, Any]) -> None:
    for name in FLAT[:8]:
        assert 0.05 < numbers[name] < 1, name
    for name in FLAT[8:]:
        assert numbers[name] is None, name  # these weights have no such heads
    assert numbers["streets"] == 2 and numbers["frames"] == 24


def test_the_shipped_weights_have_the_flat_numbers_and_keep_them(
    capsys: pytest.CaptureFixture[str], opened: list[str], engine: TorchEngine, tmp_path: Path
) -> None:
    page, video = tmp_path / "page", tmp_path / "clip.mp4"
    first = told(
        capsys, "street", "--split", "heldout", "--json", *SIZE, "--page", str(page), "--video", str(video)
    )
    check(first)
    assert opened == ["street-nano"] and engine.closed == 1 and first["split"] == "heldout"
    assert set(first["details"]["by_theme_in_training"]) == {"never", "yes"}
    assert (page / "index.html").is_file() and list(page.glob("*.png"))
    with av.open(str(video)) as clip:
        pictures = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    assert len(pictures) == 12 and pictures[0].shape[1] > 1400 and pictures[0].std() > 20
    again = told(capsys, "street-nano", "--json", *SIZE)
    assert again == first


def test_validation_has_other_streets_and_tables_show_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "street-nano", "--split", "validation", "--streets", "1", "--frames", "4"]) == 0
    shown = capsys.readouterr().out
    assert "1 validation streets, 4 frames" in shown and "ByteTrack" in shown and "never" not in shown


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--split", "training"], "Invalid value for '--split'"),
        (["--streets", "0"], "Invalid value for '--streets'"),
        (["--streets", "2", "--video", "x.mp4", "--video-street", "2"], "use 0 to 1"),
    ],
)
def test_mistakes_are_one_line(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "street-nano", *args]) != 0
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1


def test_a_clip_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    pictures = [np.zeros((32, 32, 3), np.uint8)] * 2
    with pytest.raises(SightlineError, match=r"cannot be written .*\.mp4 or \.mkv"):
        write_pictures(pictures, 12.5, tmp_path / "nowhere" / "clip.mp4")
    with pytest.raises(SightlineError, match="cannot be written"):
        write_pictures(pictures, 12.5, tmp_path / "clip.nonsense")
    assert write_pictures(pictures, 12.5, tmp_path / "clip.mkv") == 2


def test_the_task_of_the_fake_engine_is_the_served_one(engine: TorchEngine) -> None:
    task = TrackTask.from_spec(engine.spec)
    assert task.labels == LABELS and task.input_hw == engine.spec.input_hw
