"""The YAML file: every kind of mistake is one line with file, line, field and mend; good files mean what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import (
    Config,
    ConfigFileError,
    EventWishes,
    StreamConfig,
    load_config,
    redact_url,
    stream_config,
)
from streamer.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, "utf-8")
    return path


def mistakes(folder: Path, text: str, **environ: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(ConfigFileError) as caught:
        load_config(path, environ=environ)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    return [line.removeprefix(f"{path}:") for line in lines]


def test_list_and_short_and_middle_forms_mean_the_same(tmp_path: Path) -> None:
    forms = (
        "streams:\n  - name: door\n    url: rtsp://cam/1\n",
        "streams:\n  door: rtsp://cam/1\n",
        "streams: {door: {url: rtsp://cam/1}}\n",
    )
    loaded = [load_config(write(tmp_path, text)).streams for text in forms]
    assert loaded[0] == loaded[1] == loaded[2] == [StreamConfig(name="door", url="rtsp://cam/1")]


def test_defaults_are_closed(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "streams: {w: 'world://street?seed=3'}"))
    assert (config.host, config.port, config.token, config.redis_url) == ("127.0.0.1", 7860, None, None)
    stream = config.streams[0]
    assert (stream.task, stream.model, stream.transport, stream.realtime) == (
        "track",
        "street-nano",
        "tcp",
        None,
    )


def test_environment_is_put_in(tmp_path: Path) -> None:
    text = """\
port: ${PORT}
host: ${HOST:-::1}
token: ${TOKEN:-}
streams:
  door: rtsp://${USER_}:${PASS}@cam/$${x}
"""
    config = load_config(write(tmp_path, text), environ={"PORT": "7900", "USER_": "u", "PASS": "p:w"})
    assert config.port == 7900
    assert config.host == "::1"
    assert config.streams[0].url == "rtsp://u:p:w@cam/${x}"


def test_relative_files_start_at_the_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site" / "clips").mkdir(parents=True)
    clip = tmp_path / "site" / "clips" / "a.mp4"
    clip.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    path = write(
        tmp_path / "site",
        "data_dir: state\nmedia_root: clips\nstreams: {a: clips/a.mp4, b: 'file:clips/a.mp4'}",
    )
    config = load_config(path.relative_to(tmp_path))
    assert [stream.url for stream in config.streams] == [str(clip), str(clip)]
    assert config.data_dir == tmp_path / "site" / "state"
    assert config.media_root == tmp_path / "site" / "clips"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot: 80", "1: prot: unknown key — did you mean port?"),
        ("port: 99999", "1: port: out of range — input should be less than or equal to 65535"),
        ("port: many", "1: port: wrong type — write a whole number"),
        ("\n\nport: [1]", "3: port: wrong type — write a whole number"),
        (
            "backend: cuda",
            "1: backend: not one of the choices — write "
            "'openvino', 'onnx', 'torch', 'tensorrt' or 'tensorrt-rtx'",
        ),
        ("loop: true", "1: loop: this key belongs to a stream — move it under the stream's name"),
        ("redis_url: http://x", "1: redis_url: not an address of Redis — write redis://host:port, rediss://… or unix:///path"),
        (
            "host: 0.0.0.0",
            "1: host: 0.0.0.0 can be reached by others and no token is set — set token: ${SIGHTLINE_TOKEN}, "
            "add tokens:, or host: 127.0.0.1",
        ),
        ("streams:\n  door: rtps://c/1", "2: streams.door: rtps: is no scheme that a stream can have — did you mean rtsp://?"),
        ("streams:\n  door: 'rtsp://'", "2: streams.door: the address names no host — write rtsp://host/path"),
        (
            "streams:\n  door: rtsp://cam:port/1",
            "2: streams.door: the host or port in the address cannot be read — write rtsp://host:port/path",
        ),
        ("streams:\n  - name: door\n    ulr: rtsp://c/1\n", None),
        ("streams:\n  door: world://city", "2: streams.door: the world has no such place — write world://street?seed=7"),
        ("streams:\n  a b: rtsp://c/1", None),
        ("streams: 3", "1: streams: wrong type — write a list (- name: …) or a mapping (door: rtsp://…)"),
        ("streams:\n  door: {url: rtsp://c/1, max_fps: fast}", "2: streams.door.max_fps: wrong type — write a number"),
        (
            "streams:\n  door: {url: rtsp://c/1, task: dance}",
            "2: streams.door.task: not one of the choices — write 'track'",
        ),
        (
            "streams:\n  door: ${CAM}",
            "2: streams.door: the environment variable CAM is not set — export CAM=… before the start, "
            "or write ${CAM:-default}",
        ),
        ("port: 1\nport: 2", "2: port: this key is given twice — keep one of them"),
        (
            "a: b: c",
            "1: not YAML: mapping values are not allowed here — "
            "check the indentation, quotes and colons around this line",
        ),
        ("", "1: the file is empty — write at least streams: {door: rtsp://camera/stream}"),
        ("- a", "1: the file is not a mapping of fields — start with streams:"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line(tmp_path: Path, text: str, expected: str | None) -> None:
    found = mistakes(tmp_path, text)
    if expected is None:
        assert all(" — " in line for line in found)
    else:
        assert found == [expected]


def test_missing_file_names_it(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "streams:\n\n  clip: gone.mp4") == [
        f"3: streams.clip: there is no file {tmp_path}/gone.mp4 — "
        "paths start at the YAML's folder; give a video file that is there"
    ]


def test_all_mistakes_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
streams:
  - {name: door, url: rtsp://c/1, tsk: track}
  - {name: door, url: ""}
  - {url: rtsp://c/3}
  - just text
host: 10.0.0.1
prot: 1
"""
    found = mistakes(tmp_path, text)
    assert [line.split(": ")[:2] for line in found] == [
        ["2", "streams.0.tsk"],
        ["3", "streams.1.name"],
        ["3", "streams.1.url"],
        ["4", "streams.2.name"],
        ["5", "streams.3"],
        ["6", "host"],
        ["7", "prot"],
    ]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00bad"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "site.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_no_mistake_shows_a_secret(tmp_path: Path) -> None:
    text = """\
token: [hunter2]
redis_url: foo://:hunter2@h
streams:
  door: rtps://root:hunter2@cam/1
  back: {url: "rtsp://root:hunter2@cam:x/1", max_fps: hunter2}
"""
    found = mistakes(tmp_path, text)
    assert len(found) == 5
    assert "hunter2" not in "\n".join(found)


def test_no_repr_shows_a_secret() -> None:
    config = Config(
        streams=[StreamConfig(name="door", url="rtsp://root:hunter2@cam/1")],
        token="hunter2",  # type: ignore[arg-type]  # pydantic wraps it
        redis_url="redis://:hunter2@h",
    )
    assert "hunter2" not in f"{config!r} {config} {config.streams[0]!r} {config.streams[0].safe_url}"
    assert config.token is not None
    assert config.token.get_secret_value() == "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://root:pa@ss@cam:554/1", "rtsp://***@cam:554/1"),
        ("rtsp://root@cam/1", "rtsp://***@cam/1"),
        ("rtsp://cam/1?user=a&password=b&x=1", "rtsp://cam/1?user=a&password=***&x=1"),
        ("https://h/live.m3u8?access_token=abc#t", "https://h/live.m3u8?access_token=***#t"),
        ("redis://:pw@h:6379/0", "redis://***@h:6379/0"),
        ("/media/a@b.mp4", "/media/a@b.mp4"),
        ("world://street?seed=7", "world://street?seed=7"),
        ("https://h/mail@x", "https://h/mail@x"),
    ],
)
def test_redact_url(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_another_host_needs_a_token_wherever_it_is_set() -> None:
    with pytest.raises(ConfigError, match="no token"):
        Config(host="0.0.0.0")
    with pytest.raises(ConfigError, match="no token"):
        Config(host="example.org", token="")  # type: ignore[arg-type]
    assert Config(host="0.0.0.0", token="t").host == "0.0.0.0"  # type: ignore[arg-type]
    for loopback in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert Config(host=loopback).host == loopback


def test_one_stream_given_by_a_program() -> None:
    assert stream_config({"name": "a", "url": "world://street"}).loop is False
    with pytest.raises(ConfigError, match="did you mean loop") as caught:
        stream_config({"name": "a", "url": "world://street", "lop": True}, where="POST /api/v1/streams")
    assert str(caught.value) == "POST /api/v1/streams: lop: unknown key — did you mean loop?"
    with pytest.raises(ConfigError, match="url is missing"):
        stream_config({"name": "a"})


def test_a_stream_survives_its_json() -> None:
    stream = StreamConfig(
        name="door",
        url="rtsp://u:p@cam/1",
        max_fps=5,
        loop=True,
        heads=("actions", "masks"),
        events=EventWishes(actions=("fall",)),
    )
    assert StreamConfig.model_validate_json(stream.model_dump_json()) == stream


def test_heads_are_a_set_in_one_order_and_events_are_wished_for_by_name(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        "streams:\n"
        "  a: {url: world://street, heads: [actions, masks, actions], events: {actions: [fall, wave]}}\n"
        "  b: {url: world://street, heads: []}\n"
        "  c: world://street\n"
    )
    a, b, c = load_config(path).streams
    assert (a.heads, b.heads, c.heads) == (("masks", "actions"), (), None)
    assert a.events.actions == ("fall", "wave") and c.events.actions == ()


@pytest.mark.parametrize(
    ("field", "says"),
    [
        (
            "heads: [mask]",
            "streams.a.heads.0: not one of the choices — write 'masks', 'keypoints', 'semantic'",
        ),
        ("heads: masks", "streams.a.heads: wrong type — write a list, such as [masks, actions]"),
        ("events: {action: [fall]}", "streams.a.events.action: unknown key — did you mean actions?"),
        ("events: {actions: fall}", "streams.a.events.actions: wrong type — write a list"),
        ("events: [fall]", "streams.a.events: wrong type — write a mapping"),
    ],
)
def test_a_wrong_head_or_event_is_one_line(field: str, says: str, tmp_path: Path) -> None:
    [found] = mistakes(tmp_path, f"streams:\n  a:\n    url: world://street\n    {field}\n")
    assert found.startswith(f"4: {says}")
