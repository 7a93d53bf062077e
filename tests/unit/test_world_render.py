"""A rendered clip decodes to the world's pictures, and its truth file says what the world says."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import orjson
import pytest

from streamer.cli import run
from streamer.errors import SightlineError
from streamer.masks import mask_from_rle
from streamer.types import MaskRLE
from streamer.world import ACTIONS, LABELS, World, WorldConfig
from streamer.world.render import render_clip

CONFIG = WorldConfig(seed=8, height=96, width=160, people=8, noise=0)


def test_clip_and_truth_are_the_world(tmp_path: Path) -> None:
    clip, lines_at = tmp_path / "clip.mp4", tmp_path / "truth.jsonl"
    told: list[tuple[int, int]] = []
    assert render_clip(CONFIG, 1.0, clip, lines_at, progress=lambda *at: told.append(at)) == 12
    assert told == [(i, 12) for i in range(1, 13)]
    lines = [orjson.loads(line) for line in lines_at.read_bytes().splitlines()]
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == CONFIG.fps
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(lines) == len(pictures) == 12
    world = World(CONFIG)
    for line, decoded in zip(lines, pictures, strict=True):
        picture, truth = world.step()
        assert np.abs(decoded.astype(int) - picture).mean() < 9
        assert line["frame"] == truth.frame and line["caption"] == truth.caption
        assert [o["id"] for o in line["objects"]] == truth.ids.tolist()
        for row, entry in enumerate(line["objects"]):
            mask = mask_from_rle(MaskRLE(tuple(entry["mask"]["size"]), tuple(entry["mask"]["counts"])))
            assert np.array_equal(mask, truth.instances == row)
            assert entry["box"] == truth.boxes_xyxy[row].tolist()
            assert entry["full_box"] == pytest.approx(truth.full_boxes_xyxy[row].tolist(), abs=0.01)
            assert LABELS.index(entry["label"]) == truth.labels[row]
            action = truth.actions[row]
            assert entry["action"] == (ACTIONS[action] if action >= 0 else None)
            if entry["label"] == "person":
                assert np.allclose(entry["keypoints"], truth.keypoints[row], atol=0.01)


def test_the_truth_is_optional(tmp_path: Path) -> None:
    assert render_clip(CONFIG, 0.2, tmp_path / "clip.mkv") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mkv"]


@pytest.mark.parametrize(
    ("config", "seconds", "name", "named"),
    [
        (WorldConfig(seed=1, width=67, height=48), 1.0, "a.mp4", "67x48"),
        (CONFIG, 0.0, "a.mp4", "no frame"),
        (CONFIG, 1.0, "missing/a.mp4", "missing"),
        (CONFIG, 1.0, "a.unknown", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    tmp_path: Path, config: WorldConfig, seconds: float, name: str, named: str
) -> None:
    with pytest.raises(SightlineError, match=named) as caught:
        render_clip(config, seconds, tmp_path / name, tmp_path / "truth.jsonl")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_rendering_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_clip(CONFIG, 1.0, tmp_path / "a.mp4", tmp_path / "t.jsonl", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_the_command_renders_the_street_that_its_options_name(tmp_path: Path) -> None:
    clip, lines_at = tmp_path / "clip.mp4", tmp_path / "truth.jsonl"
    looks = {"weather": "snow", "theme": "glass", "view": "high", "compression": 60}
    numbers = {"hour": 22.0, "noise": 0.0, "shake": 2.0, "zoom": 0.5, "blur": 0.5, "exposure": 0.2,
               "lookalikes": 0.5, "events": 1.0}  # fmt: skip
    options = [word for name, value in {**looks, **numbers}.items() for word in (f"--{name}", str(value))]
    there = [
        "-o",
        str(clip),
        "--truth",
        str(lines_at),
        "--seconds",
        "0.24",
        "--size",
        "160x96",
        "--seed",
        "5",
    ]
    assert run(["world", "render", *there, *options]) == 0
    lines = [orjson.loads(line) for line in lines_at.read_bytes().splitlines()]
    with av.open(str(clip)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    world = World(WorldConfig(seed=5, height=96, width=160, **looks, **numbers))
    assert len(lines) == len(pictures) == 3
    for line, decoded in zip(lines, pictures, strict=True):
        picture, truth = world.step()
        assert np.abs(decoded.astype(int) - picture).mean() < 9
        assert line["caption"] == truth.caption
        assert [o["box"] for o in line["objects"]] == truth.boxes_xyxy.tolist()


@pytest.mark.parametrize(
    ("option", "value"), [("view", "sideways"), ("zoom", "2"), ("compression", "1"), ("weather", "hail")]
)
def test_an_option_without_meaning_is_one_line(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["world", "render", "-o", str(tmp_path / "a.mp4"), f"--{option}", value]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert option in line and value in line and "use" in line
