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
from engines.models.street_family import load_street
from streamer.cli import run
from streamer.errors import SightlineError
from streamer.world.clip_file import write_pictures
from tests.fakes.torch_street import TorchStreet

WEIGHTS = Path(__file__).parents[2] / "engines" / "weights" / "street-nano.safetensors"
SIZE = ["--streets", "2", "--frames", "8", "--event-streets", "0"]


@pytest.fixture(scope="module")
def engine() -> TorchStreet:
    return TorchStreet(load_street(WEIGHTS))


@pytest.fixture(autouse=True)
def opened(engine: TorchStreet, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    names: list[str] = []

    def open_engine(name: str, **settings: Any) -> TorchStreet:
        names.append(name)
        return engine

    monkeypatch.setattr("engines.zoo.open_engine", open_engine)
    yield names


def told(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert run(["eval", *args]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def check(numbers: Mapping[str, Any]) -> None:
    for name in FLAT[:10]:
        assert 0.05 < numbers[name] < 1, name
    for name in FLAT[10:]:
        assert numbers[name] is None, name  # eight frames are no clip yet: no action is asked
    assert numbers["streets"] == 2 and numbers["frames"] == 16


def test_the_shipped_weights_have_the_flat_numbers_and_keep_them(
    capsys: pytest.CaptureFixture[str],
    opened: list[str],
    engine: TorchStreet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
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
    assert len(pictures) == 8 and pictures[0].shape[1] > 1400 and pictures[0].std() > 20
    monkeypatch.setattr("streamer.world.splits.EVENT_FRAMES", 10)
    again = told(capsys, "street-nano", "--json", *SIZE[:-1], "1")
    events, before = again["details"].pop("events"), first["details"].pop("events")
    assert (before["event_streets"], events["event_streets"]) == (0, 1)
    assert again == first  # event streets count for the events alone
    assert events["fall"] == before["fall"] and events["left_bag"]["asked"] is False


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
