"""A real TURN and STUN server: Debian's coturn as a child, on one address of this machine, for one user."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from streamer.network import IceServer
from web.webrtc import host_addresses

USER, PASSWORD = "ann", "turn-secret-27"
START_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class TurnServer:
    """Where it listens, by UDP and TCP."""

    address: str
    port: int

    def url(self, transport: str = "udp") -> str:
        return f"turn:{self.address}:{self.port}?transport={transport}"

    def config(self, transport: str = "udp") -> IceServer:
        return IceServer(url=self.url(transport), username=USER, credential=SecretStr(PASSWORD))

    @property
    def stun(self) -> IceServer:
        return IceServer(url=f"stun:{self.address}:{self.port}")


@contextmanager
def turn_server(binary: str, folder: Path) -> Iterator[TurnServer]:
    """Runs it from the first answer to the end of the block; files go to `folder`."""
    address = next(at for at in host_addresses(True, False))
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    command = [
        *(binary, "-n", "--lt-cred-mech", "--realm", "sightline", "--user", f"{USER}:{PASSWORD}"),
        *("--listening-ip", address, "--relay-ip", address, "--listening-port", str(port)),
        *("--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers", "--no-multicast-peers"),
        *("--userdb", str(folder / "turndb"), "--pidfile", str(folder / "turn.pid")),
        *("--log-file", "stdout", "--simple-log"),
    ]
    with (folder / "turn.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        _await_port(address, port, process, folder / "turn.log")
        yield TurnServer(address, port)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _await_port(address: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_WITHIN_S
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.05)
