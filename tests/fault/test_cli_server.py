"""`sightline serve` as a person uses it: it says when it is ready, survives its worker's death, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from engines.models.street_family import Street, StreetConfig, save_street
from streamer.cli import run
from streamer.client import Client
from streamer.sinks.redis_child import socket_path_for

ROOT = Path(__file__).parent.parent.parent
TINY = StreetConfig(
    height=48, width=64, widths=(8, 16, 16, 32), hidden_dim=32, heads=4, layers=1, feed_dim=64, fine_dim=16,
    mask_channels=8, object_queries=12, track_slots=6,
)  # fmt: skip
# The first start compiles the engine.
READY_S = 150.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running `sightline serve`."""

    process: subprocess.Popen[str]
    address: str
    data_dir: Path
    config: Path

    def client(self) -> Client:
        return Client(f"unix://{socket_path_for(self.data_dir / 'redis')}")


def until(true: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    torch.manual_seed(0)
    save_street(Street(TINY), folder / "tiny.safetensors")
    port, model = free_port(), folder / "tiny.safetensors"
    config = folder / "site.yaml"
    config.write_text(
        f"port: {port}\n"
        "data_dir: data\n"
        "precision: f32\n"
        "streams:\n"
        f"  noon: {{url: 'world://street?seed=7&size=128x72', model: {model}}}\n"
        f"  none: {{url: 'rtsp://127.0.0.1:1/none', model: {model}}}\n"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("REDIS_URL", "SIGHTLINE_DATA")}
    command = [sys.executable, "-P", "-m", "streamer.cli", "serve", str(config)]
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=err, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"Sightline is ready: http://127.0.0.1:{port}\n", (folder / "err").read_text()
        yield Server(process, line.split(": ", 1)[1].strip(), folder / "data", config)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.timeout(READY_S + 60)
def test_the_page_answers_and_events_come(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with urllib.request.urlopen(server.address, timeout=20) as answer:
        assert answer.status == 200
    with server.client() as client:
        until(lambda: client.state("noon").get("state") == "RUNNING", "noon runs")
        result = until(lambda: client.latest_result("noon"), "a result of noon")
        assert result["source_hw"] == [72, 128]
        # A stream that cannot be opened is a state of that stream and no end of the server.
        until(lambda: client.state("none").get("error_code") == "STREAM_REFUSED", "none is refused")
    assert (
        run(["events", "tail", "--json", "--no-follow", "--kind", "up", "--data-dir", str(server.data_dir)])
        == 0
    )
    (up,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (up["stream"], up["kind"], up["epoch"]) == ("noon", "up", 1)


def test_a_second_server_on_the_same_folder_is_refused_in_one_line(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "streamer.cli", "serve", str(server.config), "--port", str(free_port())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert (
        f"process {server.process.pid} already serves from this data folder" in done.stderr.splitlines()[-1]
    )
    assert "Traceback" not in done.stderr


def test_streams_come_and_go_at_run_time(server: Server) -> None:
    where = ["--data-dir", str(server.data_dir)]
    with server.client() as client:
        model = next(stream.model for stream in client.streams() if stream.name == "noon")
        assert (
            run(["streams", "add", "late", "world://street?seed=8&size=128x72", "--model", model, *where])
            == 0
        )
        until(lambda: client.state("late").get("state") == "RUNNING", "late runs")
        assert run(["streams", "rm", "late", *where]) == 0
        until(lambda: client.state("late").get("state") in (None, "ENDED"), "late ends")


def test_a_killed_worker_is_back_soon_and_the_page_never_left(server: Server) -> None:
    with server.client() as client:
        before = client.state("noon")
        pid = int(client.worker()["pid"])
        web = [p.pid for p in psutil.Process(server.process.pid).children() if "web" in p.cmdline()]
        os.kill(pid, signal.SIGKILL)
        until(lambda: client.worker()["pid"] != str(pid), "another worker beats", within_s=15.0)
        until(lambda: int(client.state("noon")["epoch"] or 0) > int(before["epoch"]), "a new epoch")
        until(lambda: client.state("noon")["state"] == "RUNNING", "noon runs again")
    assert web == [p.pid for p in psutil.Process(server.process.pid).children() if "web" in p.cmdline()]


def test_ctrl_c_ends_all_and_leaves_nothing(server: Server) -> None:
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert len(family) >= 3
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    assert not socket_path_for(server.data_dir / "redis").exists()
    port = int(re.findall(r":(\d+)", server.address)[-1])
    with socket.create_server(("127.0.0.1", port)):
        pass  # free again
