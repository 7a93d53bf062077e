"""Which stream addresses may come in through the API."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import ConfigError
from streamer.reach import parsed, refusal
from web.admission import admit, admit_model

NAMES = {
    "camera.example": ["192.168.1.9"],
    "metadata.google.internal": [],
    "sneaky.example": ["93.184.216.34", "169.254.169.254"],
    "six.example": ["fe80::1%eth0"],
    "2852039166": ["169.254.169.254"],
    "unknown.example": [],
    "local.example": ["127.0.0.1"],
    "rebound.example": ["10.0.0.7", "::ffff:127.0.0.1"],
    "anything.localhost": [],
    "localhost": ["127.0.0.1", "::1"],
}


Spelling = Callable[[int], str]
SPELLINGS: list[Spelling] = [
    str,
    hex,
    lambda n: f"0{n:o}",
    lambda n: f"{n >> 24}.{n & 0xFFFFFF}",
    lambda n: f"0x{n >> 24:x}.{n >> 16 & 255}.0{n & 0xFFFF:o}",
    lambda n: ".".join(f"0{n >> shift & 255:o}" for shift in (24, 16, 8, 0)),
    lambda n: f"::ffff:{IPv4Address(n)}",
    lambda n: f"64:ff9b::{n >> 16:x}:{n & 0xFFFF:x}",
    lambda n: f"2002:{n >> 16:x}:{n & 0xFFFF:x}::1",
]


def resolve(host: str) -> list[str]:
    return NAMES[host]


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://camera.example/stream",
        "rtsp://user:pw@192.168.1.9:554/h264",
        "rtsps://10.0.0.7:8554/test",
        "rtsp://100.64.0.9/x",
        "http://[fd12:3456::7]/a.mp4",
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
        # this machine, in the spellings that resolvers and FFmpeg understand
        "rtsp://127.0.0.1/x",
        "http://localhost:6379/x",
        "http://LocalHost./x",
        "http://anything.localhost/x",
        "http://127.1/x",
        "http://127.0.1/x",
        "http://2130706433/x",
        "http://017700000001/x",
        "http://0x7f000001/x",
        "http://0x7f.0x0.0x0.0x1/x",
        "http://0177.0.0.1/x",
        "http://0/x",
        "http://0.1.2.3/x",
        "http://[::1]/x",
        "http://[::]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[::ffff:7f00:1]/x",
        "http://[::127.0.0.1]/x",
        "http://[2002:7f00:1::]/x",
        "http://[2002:a9fe:a9fe::1]/x",
        "http://[64:ff9b::7f00:1]/x",
        "http://[64:ff9b::169.254.169.254]/x",
        "http://[64:ff9b:1::a9fe:a9fe]/x",
        "http://[2001:0:0:0:0:0:80ff:fffe]/x",
        # metadata, in others
        "http://0xa9fea9fe/x",
        "http://169.254.43518/x",
        "http://[fd00:ec2::23]/x",
        "http://[fd20:ce::254]/x",
        "http://168.63.129.16/x",
        "http://instance-data/x",
        # what is in front of the @ is no host, and nothing after / ? # is one
        "http://camera.example@127.0.0.1/x",
        "http://camera.example:80@127.0.0.1:6379/x",
        "http://a@b@127.0.0.1/x",
        "http://127.0.0.1#@camera.example/",
        "http://127.0.0.1?@camera.example/",
        "http://127.0.0.1\\@camera.example/",
        "http://camera.example\\@127.0.0.1/",
        "http://local.example/x",
        "http://rebound.example/x",
        "rtsp://255.255.255.255/x",
        "rtsp://240.0.0.1/x",
        "http://[ff02::1]/x",
        "http://１２７.０.０.１/x",  # noqa: RUF001
        "http://ⓛocalhost/x",
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


def test_what_the_owner_of_the_machine_opened_is_admitted() -> None:
    exempt = ("127.0.0.1", "169.254.7.0/24", "local.example")
    for url in (
        "rtsp://127.0.0.1:8554/a",
        "http://2130706433/a",
        "rtsp://169.254.7.9/a",
        "rtsp://local.example/a",
    ):
        assert admit(url, media_root=None, exempt=exempt, resolve=resolve) == url
    for url in (
        "rtsp://127.0.0.2/a",
        "rtsp://169.254.8.1/a",
        "http://169.254.169.254/a",
        "rtsp://sneaky.example/a",
    ):
        with pytest.raises(ConfigError):
            admit(url, media_root=None, exempt=exempt, resolve=resolve)


@given(st.integers(0, 2**32 - 1), st.sampled_from(SPELLINGS))
def test_every_spelling_of_an_address_is_judged_as_the_address(number: int, spelling: Spelling) -> None:
    plain = refusal(IPv4Address(number))
    spelled = parsed(spelling(number))
    assert spelled is not None
    assert refusal(spelled) == plain


def test_the_judge_is_no_wider_than_the_library_says() -> None:
    for text in ("10.0.0.7", "192.168.1.9", "172.16.0.1", "100.64.0.1", "8.8.8.8", "2001:db8::7", "fd12::1"):
        ip = parsed(text)
        assert ip is not None and refusal(ip) == ""
    assert parsed("camera.example") is None and parsed("08.0.0.1") is None and parsed("1.2.3.4.5") is None


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
