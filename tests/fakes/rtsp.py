"""A camera on this machine: tests/loopback/rtsp_server.py as a child process that can be killed and started again."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).parent.parent / "loopback" / "rtsp_server.py"
READY_WITHIN_S = 15.0


@cache
def _has_gstreamer() -> bool:
    ask = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", ask], capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


def need_gstreamer() -> None:
    """Skip without gst-rtsp-server; where CI=true fail instead."""
    if not _has_gstreamer():
        refuse = pytest.fail if os.environ.get("CI", "").lower() == "true" else pytest.skip
        refuse(f"{SYSTEM_PYTHON} has no gst-rtsp-server: apt install gir1.2-gst-rtsp-server-1.0 python3-gi")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RtspCamera:
    """Serves `path` at `url`, always on the same port. `start`, `kill` (no farewell) and `start` again."""

    def __init__(
        self,
        path: Path,
        *,
        user: str | None = None,
        password: str = "",
        sets_beside: bool = False,
        h265: bool = False,
    ) -> None:
        self._path = path
        self._port = free_port()
        self._options = ["--user", user, "--password", password] if user else []
        self._options += ["--sets-beside"] if sets_beside else []
        self._options += ["--h265"] if h265 else []
        self._process: subprocess.Popen[str] | None = None
        self.url = f"rtsp://127.0.0.1:{self._port}/live"

    def start(self) -> None:
        """Start serving from the first picture; returns once the server listens."""
        command = [SYSTEM_PYTHON, str(SCRIPT), str(self._path), "--port", str(self._port), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + READY_WITHIN_S
            assert ready.select(deadline - time.monotonic()), "the RTSP server did not start"
        assert self._process.stdout.readline() == f"READY {self._port}\n"

    def kill(self) -> None:
        """End the server as a power cut would; harmless if it is not running."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def rtsp_camera(
    path: Path, *, user: str | None = None, password: str = "", sets_beside: bool = False, h265: bool = False
) -> Iterator[RtspCamera]:
    """A started camera that serves the H.264 (`h265`: the H.265) of `path` once, in real time, to everybody who asks.

    `sets_beside`: it names its parameter sets in the SDP alone, never in the stream.
    """
    need_gstreamer()
    camera = RtspCamera(path, user=user, password=password, sets_beside=sets_beside, h265=h265)
    camera.start()
    try:
        yield camera
    finally:
        camera.kill()
