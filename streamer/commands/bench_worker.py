"""A real worker process on a real Redis, measured from outside: frames, drops, latency and CPU, of it and of Redis."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson
import psutil

from streamer.client import Client, calls
from streamer.config import StreamConfig
from streamer.errors import SightlineError
from streamer.sinks.redis_server import EmbeddedRedis

WARM_FRAMES = 30  # of each stream, before anything is measured
START_DEADLINE_S = 180.0  # an engine may have to be built


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure; `file` None means a rendered street, made once and kept in the data folder."""

    streams: int
    file: Path | None
    seconds: float
    rounds: int
    model: str
    backend: str
    data_dir: Path
    fps: float


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run of the worker showed."""

    fps: float
    cpu_s_per_frame: float  # worker and Redis
    drops: int
    latencies_ms: list[float]  # from the frame's wall time to its entry in Redis


def run_worker(plan: Plan, streams: list[StreamConfig]) -> Ran:
    """Run `streams` in a worker process of their own, measure `plan.seconds` of it, and end it."""
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as name, EmbeddedRedis(Path(name)) as redis:
        folder = Path(name) / "worker"
        folder.mkdir()
        engines = plan.data_dir / "engines"
        engines.mkdir(parents=True, exist_ok=True)
        (folder / "engines").symlink_to(engines)
        with Client(redis.url) as client, _running(redis.url, folder, plan) as worker:
            for stream in streams:
                client.add_stream(stream)
            _await_frames(client, streams, worker)
            processes = [psutil.Process(worker.pid), psutil.Process(redis.pid)]
            before, cpu_before = [_count(client, s.name) for s in streams], _cpu_s(processes)
            since_ms = time.time_ns() // 1_000_000
            latencies: list[float] = []
            for _ in range(max(1, round(plan.seconds))):
                threading.Event().wait(plan.seconds / max(1, round(plan.seconds)))
                latencies += [ms for s in streams for ms in _latencies(client, s.name, since_ms)]
                since_ms = time.time_ns() // 1_000_000
            after, cpu_after = [_count(client, s.name) for s in streams], _cpu_s(processes)
    frames = sum(b.emitted - a.emitted for a, b in zip(before, after, strict=True))
    fps = sum(
        (b.emitted - a.emitted) / ((b.at_ns - a.at_ns) / 1e9)
        for a, b in zip(before, after, strict=True)
        if b.at_ns > a.at_ns
    )
    if frames <= 0:
        raise SightlineError(
            "no frame came through in the time measured", where="bench", mend="give --seconds more"
        )
    # The counts are told once a second by the worker itself, so their span differs from the CPU's by a share of one.
    span_s = median((b.at_ns - a.at_ns) / 1e9 for a, b in zip(before, after, strict=True))
    cpu_share = (cpu_after - cpu_before) / plan.seconds
    return Ran(
        fps,
        cpu_share * span_s / frames,
        sum(b.lost - a.lost for a, b in zip(before, after, strict=True)),
        latencies,
    )


@contextmanager
def _running(url: str, folder: Path, plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "worker.log"
    command = [sys.executable, "-c", "from streamer.cli import main; main()", "worker", "--redis-url", url]
    with log.open("wb") as out:
        worker = subprocess.Popen(
            [*command, "--data-dir", str(folder), "--backend", plan.backend], stdout=out, stderr=out
        )
    try:
        yield worker
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(15)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@dataclass(frozen=True, slots=True)
class _Count:
    emitted: int
    lost: int
    at_ns: int


def _count(client: Client, stream: str) -> _Count:
    state = client.state(stream)
    ledger = orjson.loads(state.get("ledger_total") or "{}")
    lost = sum(n for how, n in ledger.items() if how.startswith(("dropped", "failed")))
    return _Count(ledger.get("emitted", 0), lost, int(state.get("updated_wall_ns") or 0))


def _await_frames(client: Client, streams: list[StreamConfig], worker: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_DEADLINE_S
    pause = threading.Event()
    while any(_count(client, s.name).emitted < WARM_FRAMES for s in streams):
        states = {s.name: client.state(s.name) for s in streams}
        broken = next((f"{n}: {s['error']}" for n, s in states.items() if s.get("state") == "ERROR"), "")
        if broken or worker.poll() is not None or time.monotonic() > until:
            raise SightlineError(
                "the worker brought no frames",
                where="bench",
                mend=broken or "see `sightline check` and `doctor`",
            )
        pause.wait(0.2)


def _latencies(client: Client, stream: str, since_ms: int) -> list[float]:
    entries = client.run(calls.read_results(stream, f"{since_ms}-0", 50))
    return [int(at.partition("-")[0]) - orjson.loads(data)["wall_ns"] / 1e6 for at, data in entries]


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(t.user + t.system for t in (p.cpu_times() for p in processes))
