"""A whole server for a measurement: streams of its own, data in a folder that goes away, the engines that are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from streamer.commands.watching.crowd import await_page, free_tcp_port
from streamer.errors import SightlineError

UP_WITHIN_S = 180.0  # an engine may have to be built
_OTHERS = ("REDIS_URL", "SIGHTLINE_TOKEN")


@dataclass(frozen=True, slots=True)
class WholeServer:
    """A running `sightline serve`: its address, its supervisor and its data folder."""

    base: str
    supervisor: psutil.Process
    data_dir: Path


@contextmanager
def serving(streams: Mapping[str, Any], data_dir: Path, **wishes: Any) -> Iterator[WholeServer]:
    """Serve these streams (name -> address or fields), with further `wishes` of the YAML file, until the end."""
    port = free_tcp_port()
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as name:
        folder, engines = Path(name), data_dir / "engines"
        engines.mkdir(parents=True, exist_ok=True)
        own = folder / "data"
        own.mkdir()
        (own / "engines").symlink_to(engines)
        config = folder / "bench.yaml"
        wished = {"port": port, "data_dir": str(own), "streams": dict(streams), **wishes}
        config.write_text(json.dumps(wished))  # which is YAML too
        log = folder / "server.log"
        # Nothing of a server that this machine already has: neither its Redis nor its token.
        environ = {key: value for key, value in os.environ.items() if key not in _OTHERS}
        with log.open("wb") as out:
            command = [sys.executable, "-P", "-m", "streamer.cli", "serve", str(config)]
            server = subprocess.Popen(command, stdout=out, stderr=out, env=environ)
        try:
            base = f"http://127.0.0.1:{port}"
            try:
                await_page(base, server, UP_WITHIN_S)
            except SightlineError as error:
                words = log.read_text("utf-8", "replace").strip().splitlines()
                raise SightlineError(
                    error.what, where=error.where, mend=(words or ["it said nothing"])[-1]
                ) from None
            yield WholeServer(base, psutil.Process(server.pid), own)
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
