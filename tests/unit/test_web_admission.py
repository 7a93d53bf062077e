"""Which stream addresses may come in through the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import ConfigError
from web.admission import admit, admit_model

NAMES = {
    "camera.example": ["192.168.1.9"],
    "metadata.google.internal": [],
    "sneaky.example": ["93.184.216.34", "169.254.169.254"],
    "six.example": ["fe80::1%eth0"],
    "2852039166": ["169.254.169.254"],
    "unknown.example": [],
}


def resolve(host: str) -> list[str]:
    return NAMES[host]


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://camera.example/stream",
        "rtsp://user:pw@192.168.1.9:554/h264",
        "rtsps://127.0.0.1:8554/test",
        "https://camera.example/live.m3u8",
        "http://[2001:db8::7]/a.mp4",
        "rtsp://unknown.example/x",
        "world://street?seed=7",
        "/dev/video0",
        "device:0",
    ],
)
def test_good_addresses_stay_as_they_are(url: str) -> None:
    assert admit(url, media_root=None, resolve=resolve) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "rtsp://169.254.1.1/x",
        "http://[fe80::1]/x",
        "http://[::ffff:169.254.169.254]/x",
        "http://[fd00:ec2::254]/x",
        "http://100.100.100.200/x",
        "http://2852039166/x",
        "http://metadata.google.internal/x",
        "http://METADATA.google.internal./x",
        "https://sneaky.example/x",
        "rtsp://six.example/x",
        "rtsp://0.0.0.0/x",
        "rtsp://224.0.0.1/x",
        "/dev/sda",
        "/dev/video0/../mem",
        "device:/etc/passwd",
    ],
)
def test_dangerous_addresses_are_refused_in_one_line(url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        admit(url, media_root=Path("/nowhere"), resolve=resolve)
    assert refusal.value.where == "url"
    assert refusal.value.mend
    assert "\n" not in str(refusal.value)


def test_files_lie_under_the_media_root(tmp_path: Path) -> None:
    root = tmp_path / "media"
    (root / "day").mkdir(parents=True)
    clip = root / "day" / "clip.mp4"
    clip.touch()
    for url in (str(clip), f"file://{clip}", f"file:{clip}", "day/clip.mp4", "day/../day/clip.mp4"):
        assert admit(url, media_root=root) == str(clip)


def test_files_elsewhere_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "media"
    root.mkdir()
    outside = tmp_path / "secret.mp4"
    outside.touch()
    (root / "link.mp4").symlink_to(outside)
    for url in (str(outside), f"file://{outside}", "../secret.mp4", "link.mp4", "absent.mp4", "/etc/passwd"):
        with pytest.raises(ConfigError):
            admit(url, media_root=root)


def test_without_a_media_root_there_are_no_files(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.touch()
    with pytest.raises(ConfigError, match="run time"):
        admit(str(clip), media_root=None)


@pytest.mark.parametrize("model", ["street-nano", "detr-r50-e632da11", "my_model.v2", "hf://owner/known"])
def test_named_models_and_those_in_use_are_admitted(model: str) -> None:
    assert admit_model(model, {"hf://owner/known"}) == model


@pytest.mark.parametrize(
    "model",
    [
        "hf://owner/other",
        "hf:///etc",
        "/etc/passwd.onnx",
        "../x.safetensors",
        "x.onnx",
        "x.safetensors",
        "a/b",
        "",
        "~",
    ],
)
def test_files_and_addresses_of_models_are_refused_in_one_line(model: str) -> None:
    with pytest.raises(ConfigError, match="not admitted at run time") as caught:
        admit_model(model, {"hf://owner/known"})
    assert "\n" not in str(caught.value) and caught.value.where == "model"
