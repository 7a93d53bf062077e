"""What N viewers of one camera cost the server: ours with packets passed through, ours encoded once, and the usual way.

CPU is that of the web process, the feed and Redis with N viewers, less what the feed and Redis use with none; of the
usual way it is its one process, less the same with no viewer. Per frame that reached a viewer, so a server that falls
behind does not look cheap.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from numpy.typing import NDArray

from streamer.client import Client
from streamer.commands.watching.camera import FPS, camera
from streamer.commands.watching.feed import STREAM
from streamer.commands.watching.processes import asked, cpu_s
from streamer.config import StreamConfig
from streamer.errors import SightlineError
from streamer.sinks.redis_server import EmbeddedRedis

UP_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What N viewers cost and got."""

    cpu_ms_per_frame: float  # of the server, per frame that reached a viewer
    cpu_share: float  # of one core
    fps: float  # the mean over viewers
    fps_worst: float
    first_s: float  # the median viewer's wait from its question to its first frame
    encoders: int
    # What reached the worst served viewer of the results of all pictures that were taken; 0 where none was asked for.
    results_share: float


def plain(pictures: list[NDArray[Any]], viewers: int, seconds: float) -> Cost:
    """An encoder for each viewer, by aiortc alone."""
    with camera(pictures) as url, asked("plain", url) as server:
        port = server.hear("READY")[1]
        idle = _idle([server.process], seconds)
        return _crowd(f"http://127.0.0.1:{port}/cam/whep", viewers, seconds, [server.process], idle, viewers)


def ours(
    pictures: list[NDArray[Any]], viewers: int, seconds: float, *, b_frames: int = 0, results: bool = False
) -> Cost:
    """Our feed and web process; with `b_frames` the camera's packets cannot be passed through and are encoded once;
    with `results` viewers get those too, as our page does and a plain player does not."""
    with (
        tempfile.TemporaryDirectory(prefix="sightline-bench-") as folder,
        EmbeddedRedis(Path(folder)) as redis,
        camera(pictures, b_frames=b_frames) as url,
        Client(redis.url) as client,
    ):
        client.add_stream(StreamConfig(name=STREAM, url=url))
        with asked("feed", redis.url, folder, url) as feed, web(redis.url, viewers) as (process, base):
            feed.hear("READY")
            behind = [feed.process, psutil.Process(redis.pid)]
            idle = _idle(behind, seconds)
            cost = _crowd(f"{base}/{STREAM}/whep", viewers, seconds, [*behind, process], idle, 0, results)
            feed.ask()
            encoders = int(feed.told()["encoders"])
            return Cost(**{**_fields(cost), "encoders": encoders})


@contextmanager
def web(redis_url: str, viewers: int) -> Iterator[tuple[psutil.Process, str]]:
    """The real web process, once its page is there: (process, address)."""
    port = free_tcp_port()
    environ = {**os.environ, "SIGHTLINE_WEB": f'{{"max_viewers": {viewers + 8}}}', "LOG_LEVEL": "WARNING"}
    command = [
        sys.executable,
        "-P",
        "-m",
        "streamer.cli",
        "web",
        "--redis-url",
        redis_url,
        "--port",
        str(port),
    ]
    child = subprocess.Popen(command, env=environ)
    try:
        base = f"http://127.0.0.1:{port}"
        await_page(base, child)
        yield psutil.Process(child.pid), base
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def await_page(base: str, child: subprocess.Popen[Any], within_s: float = UP_WITHIN_S) -> None:
    """Until the server says that its page is there."""
    until, pause = time.monotonic() + within_s, threading.Event()
    while child.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{base}/healthz", timeout=5) as answer:
                if b'"ready"' in answer.read():
                    return
        except (urllib.error.URLError, OSError):
            pass
        pause.wait(0.1)
    raise SightlineError("the server did not come up", where="bench", mend="see its words above")


def _idle(processes: Sequence[psutil.Process], seconds: float) -> float:
    """Share of a core that these use while nobody watches."""
    pause = threading.Event()
    pause.wait(1.0)
    since, before = time.monotonic(), cpu_s(processes)
    pause.wait(seconds / 2)
    return (cpu_s(processes) - before) / (time.monotonic() - since)


def _crowd(
    url: str,
    viewers: int,
    seconds: float,
    processes: Sequence[psutil.Process],
    idle: float,
    encoders: int,
    results: bool = False,
) -> Cost:
    with asked("watchers", url, str(viewers), *(["results"] if results else [])) as crowd:
        crowd.hear("READY")
        threading.Event().wait(1.0)
        crowd.ask()
        crowd.hear("BEGUN")
        since, before = time.monotonic(), cpu_s(processes)
        threading.Event().wait(seconds)
        crowd.ask()
        share = (cpu_s(processes) - before) / (time.monotonic() - since) - idle
        counted = crowd.told()
    fps = [frames / counted["seconds"] for frames in counted["frames"]]
    first = sorted(counted["first_s"])
    if not sum(fps):
        raise SightlineError("no frame reached a viewer", where="bench viewers", mend="give --seconds more")
    return Cost(
        cpu_ms_per_frame=1e3 * share / sum(fps),
        cpu_share=share,
        fps=sum(fps) / len(fps),
        fps_worst=min(fps),
        first_s=first[len(first) // 2],
        encoders=encoders,
        results_share=min(1.0, min(counted["results"]) / (counted["seconds"] * FPS)),
    )


def _fields(cost: Cost) -> dict[str, Any]:
    return {name: getattr(cost, name) for name in Cost.__slots__}


def free_tcp_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
