"""The real command line in a process of its own: help, exit codes, and one line for each mistake of a user."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer import __version__
from streamer.cli import app, run
from streamer.commands.demo import demo_streams
from streamer.commands.schema import Subject, schema_text
from streamer.sources.world import parse_world_url

ROOT = Path(__file__).parent.parent.parent
OFFERED = {
    "demo", "serve", "check", "streams", "events", "models", "world", "train", "eval", "bench", "doctor", "token",
    "schema", "version",
}  # fmt: skip
HIDDEN = {"worker", "web"}


def commands(group: Any) -> dict[str, Any]:
    import typer.main

    return dict(getattr(typer.main.get_command(group), "commands", {}))


def one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_commands_are_those_that_are_promised() -> None:
    found = commands(app)
    assert {name for name, c in found.items() if not c.hidden} == OFFERED
    assert {name for name, c in found.items() if c.hidden} == HIDDEN


def test_every_command_and_flag_says_what_it_does() -> None:
    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, f"{path} {name}")

    for name, top in commands(app).items():
        for path, command in walk(top, name):
            assert command.help and command.help.strip()[-1] in ".!`", path
            for parameter in command.params:
                if parameter.name not in ("help", "install_completion", "show_completion") and not top.hidden:
                    assert parameter.help, f"{path}: {parameter.name}"


def test_help_is_quick_and_needs_no_heavy_library(sightline: Any) -> None:
    heavy = ("torch", "openvino", "av", "redis", "gradio", "fastapi", "numpy", "cv2", "pydantic")
    told = f"import sys; import streamer.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    shown = sightline("--help")
    assert shown.returncode == 0
    assert all(re.search(rf"^│ {name} ", shown.stdout, re.M) for name in OFFERED), shown.stdout
    assert not any(re.search(rf"^│ {name} ", shown.stdout, re.M) for name in HIDDEN)


def test_the_demo_has_streets_of_its_own_names_and_seeds() -> None:
    made = demo_streams(9)
    assert len({stream.name for stream in made}) == 9
    assert len({parse_world_url(stream.url).seed for stream in made}) == 9
    assert {parse_world_url(stream.url).width for stream in made} == {640}


def test_version(sightline: Any) -> None:
    assert sightline("version").stdout == sightline("--version").stdout == f"sightline {__version__}\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["chek"], "No such command 'chek'"),
        (["check"], "Missing argument 'CONFIG'"),
        (["check", "x.yaml", "--jsn"], "No such option"),
        (["serve", "x.yaml", "--port", "many"], "Invalid value for '--port'"),
        (["demo", "--streams", "0"], "Invalid value for '--streams'"),
        (["schema", "dance"], "Invalid value"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    line = one_line(shown.err)
    assert said in line
    assert " — see sightline" in line


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Usage: sightline" in "".join(capsys.readouterr())


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_wrong_key_is_one_line(command: str, tmp_path: Path, sightline: Any) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("prot: 80\nstreams: {w: 'world://street'}\n")
    done = sightline(command, str(path))
    assert done.returncode == 1
    assert one_line(done.stderr) == f"{path}:1: prot: unknown key — did you mean port?"


def test_three_mistakes_are_three_lines(tmp_path: Path, sightline: Any) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("prot: 80\nstreams: {w: 'word://street', f: gone.mp4}\n")
    done = sightline("serve", str(path))
    assert done.returncode == 1
    assert [line.removeprefix(str(path)).split(" ")[0] for line in done.stderr.splitlines()] == [
        ":1:",
        ":2:",
        ":2:",
    ]


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path, sightline: Any) -> None:
    for path in (tmp_path / "gone.yaml", tmp_path):
        done = sightline("check", str(path))
        assert done.returncode == 1
        assert one_line(done.stderr).startswith(f"{path}: cannot be read")


def test_check_opens_what_can_be_opened_and_names_what_cannot(tmp_path: Path, sightline: Any) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n")
    path = tmp_path / "site.yaml"
    path.write_text(
        "streams:\n"
        "  good: 'world://street?seed=3&size=320x180'\n"
        "  text: text.mp4\n"
        "  none: rtsp://root:hunter2@127.0.0.1:1/none\n"
    )
    done = sightline("check", str(path), "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    good, text, none = report["streams"]
    assert (good["problem"], good["size"], good["live"]) == (None, "320x180", True)
    assert (text["code"], none["code"]) == ("STREAM_INVALID", "STREAM_REFUSED")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert f"{path}: " in lines[0] and "text.mp4" in lines[0]
    assert "127.0.0.1:1" in lines[1]
    assert "hunter2" not in done.stdout + done.stderr


def test_check_of_a_good_file_exits_with_0(tmp_path: Path, sightline: Any) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("streams: {w: 'world://street?seed=3'}\n")
    done = sightline("check", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "world://street" in done.stdout


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_a_port_in_use_is_one_line(command: str, taken_port: int, tmp_path: Path, sightline: Any) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("streams: {w: 'world://street'}\n")
    args = ["demo", "--no-browser"] if command == "demo" else ["serve", str(path)]
    done = sightline(*args, "--port", str(taken_port))
    assert done.returncode == 1
    assert f"port {taken_port} is in use" in one_line(done.stderr)


def test_an_open_host_without_a_token_is_one_line(tmp_path: Path, sightline: Any) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("streams: {w: 'world://street'}\n")
    done = sightline("serve", str(path), "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "no token is set" in one_line(done.stderr)


@pytest.mark.parametrize(
    "args",
    [
        ["streams", "ls"],
        ["events", "tail"],
        ["streams", "rm", "door"],
        ["streams", "add", "a", "world://street"],
    ],
)
def test_no_server_is_one_line(args: list[str], sightline: Any) -> None:
    done = sightline(*args)
    assert done.returncode == 1
    assert "no server" in one_line(done.stderr)


def test_an_unreachable_redis_is_one_line(tmp_path: Path, sightline: Any) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("redis_url: redis://:hunter2@127.0.0.1:1/0\nstreams: {w: 'world://street'}\n")
    for args in (["serve", str(path)], ["streams", "ls", "--redis", "redis://:hunter2@127.0.0.1:1/0"]):
        done = sightline(*args)
        assert done.returncode == 1
        assert "127.0.0.1:1" in one_line(done.stderr)
        assert "hunter2" not in done.stderr


def test_doctor_answers_in_json(sightline: Any) -> None:
    done = sightline("doctor", "--json")
    report = json.loads(done.stdout)
    assert report["schema"] == "sightline.doctor/1"
    assert report["ready"] is (done.returncode == 0)
    found = {(f["area"], f["name"]): f for f in report["findings"]}
    assert found["machine", "python"]["value"] == sys.version.split()[0]
    assert found["decoder", "h264 decoder"]["state"] == "ok"
    assert {"avx512_bf16", "amx_bf16", "avx512_vnni"} <= {name for area, name in found if area == "machine"}
    assert (
        ("engines", "TensorRT") in found and ("gpu", "NVIDIA") in found and ("network", "port 7860") in found
    )
    assert {f["state"] for f in report["findings"]} <= {"ok", "info", "warn", "bad"}


def test_doctor_hides_the_password_of_redis(sightline: Any) -> None:
    done = sightline("doctor", REDIS_URL="redis://:hunter2@h:6379")
    assert "hunter2" not in done.stdout
    assert "***" in done.stdout


def test_debug_shows_the_traceback(sightline: Any) -> None:
    done = sightline("--debug", "check", "gone.yaml")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("gone.yaml: cannot be read")


@pytest.mark.parametrize("subject", list(Subject))
def test_the_published_schemas_are_those_of_the_code(subject: Subject) -> None:
    from jsonschema import Draft202012Validator

    published = (ROOT / "docs" / "schemas" / f"{subject}.schema.json").read_text("utf-8")
    assert published == schema_text(subject), "run: make schema"
    Draft202012Validator.check_schema(json.loads(published))


def test_the_config_schema_takes_what_the_loader_takes(capsys: pytest.CaptureFixture[str]) -> None:
    from jsonschema import Draft202012Validator

    assert run(["schema"]) == 0
    validator = Draft202012Validator(json.loads(capsys.readouterr().out))
    for good in (
        {"streams": {"door": "rtsp://cam/1", "gate": {"url": "a.mp4", "loop": True}}},
        {"streams": [{"name": "door", "url": "rtsp://cam/1"}], "port": 7861, "token": "t"},
    ):
        assert validator.is_valid(good)
    for bad in ({"prot": 1}, {"streams": {"door": {"loop": True}}}, {"streams": [{"url": "x"}]}, {"port": 0}):
        assert not validator.is_valid(bad)
