"""End to end against the limit: a real worker process on a real Redis, beside its decoder and its engine alone.

Three phases a round, so that what else the machine does falls on all of them alike: decoding alone, the engine alone
(at each batch size, one lane a core), and the worker, which decodes, infers, follows, encodes masks and writes to
Redis. CPU is what the processes used in that time (user and system), not wall time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from streamer.commands.bench_worker import Plan, run_worker
from streamer.config import StreamConfig
from streamer.errors import SightlineError
from streamer.ports import Engine, Tensors
from streamer.types import Frame

Progress = Callable[[float, float], None]

CLIP_SECONDS, CLIP_FPS, CLIP_HW, CLIP_SEED = 30.0, 25.0, (432, 768), 11
BATCHES = (1, 2, 4, 8)


def bench_pipeline(plan: Plan, show: Progress) -> dict[str, Any]:
    """Files as fast as possible; the medians of `plan.rounds` rounds, and each round's ratio."""
    from engines.zoo import open_engine

    clip = _clip(plan, show)
    cores = _cores()
    engine = open_engine(
        plan.model, backend=plan.backend, threads=cores, streams=cores, cache_dir=plan.data_dir / "engines"
    )
    rounds: list[dict[str, float]] = []
    batches: list[dict[int, tuple[float, float]]] = []
    latencies: list[float] = []
    drops = 0
    try:
        frames = _frames(clip, engine.spec.input_hw, 64)
        for i in range(plan.rounds):
            show(i, plan.rounds)
            decode_fps, decode_cpu = _decode_alone(clip, engine.spec.input_hw, plan.seconds / 2)
            by_batch = _engine_alone(engine, frames, cores, plan.seconds)
            engine_cpu = min(cpu for _, cpu in by_batch.values())
            urls = [
                StreamConfig(name=f"file{n}", url=str(clip), loop=True, realtime=False, model=plan.model)
                for n in range(plan.streams)
            ]
            ran = run_worker(plan, urls)
            latencies += ran.latencies_ms
            drops += ran.drops
            limit = cores / (decode_cpu + engine_cpu)
            batches.append(by_batch)
            rounds.append(
                {
                    "decode_fps": decode_fps,
                    "decode_cpu_ms": decode_cpu * 1e3,
                    "engine_fps": max(fps for fps, _ in by_batch.values()),
                    "engine_cpu_ms": engine_cpu * 1e3,
                    "limit_fps": limit,
                    "fps": ran.fps,
                    "cpu_ms_per_frame": ran.cpu_s_per_frame * 1e3,
                    "ratio": ran.fps / limit,
                }
            )
        show(plan.rounds, plan.rounds)
    finally:
        engine.close()
    middle = {name: round(median(r[name] for r in rounds), 3) for name in rounds[0]}
    return {
        "bench": "pipeline",
        "streams": plan.streams,
        "file": clip.name,
        **middle,
        "ratios": [round(r["ratio"], 3) for r in rounds],
        "engine_by_batch": {
            str(b): {
                "fps": round(median(one[b][0] for one in batches), 1),
                "cpu_ms": round(median(one[b][1] for one in batches) * 1e3, 2),
            }
            for b in batches[0]
        },
        "drops": drops,
        **_percentiles(latencies),
        **_about(plan, engine),
    }


def bench_live(plan: Plan, show: Progress) -> dict[str, Any]:
    """World streams in real time: what was dropped, and how late a result is in Redis after its frame was drawn."""
    streams = [
        StreamConfig(name=f"world{n}", url=f"world://street?seed={n + 1}&fps={plan.fps:g}", model=plan.model)
        for n in range(plan.streams)
    ]
    ran = [run_worker(plan, streams) for _ in _counted(plan.rounds, show)]
    return {
        "bench": "live",
        "streams": plan.streams,
        "fps_asked": plan.fps * plan.streams,
        "fps": round(median(r.fps for r in ran), 2),
        "drops": sum(r.drops for r in ran),
        "cpu_ms_per_frame": round(median(r.cpu_s_per_frame for r in ran) * 1e3, 2),
        **_percentiles([ms for r in ran for ms in r.latencies_ms]),
        **_about(plan, None),
    }


def _decode_alone(clip: Path, input_hw: tuple[int, int], seconds: float) -> tuple[float, float]:
    """Frames a second and CPU seconds a frame of decoding and resizing on one thread."""
    count, cpu, start = 0, time.process_time(), time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        for _ in _decoded(clip, input_hw):
            count += 1
    return count / spent, (time.process_time() - cpu) / count


def _engine_alone(
    engine: Engine, frames: list[Frame], lanes: int, seconds: float
) -> dict[int, tuple[float, float]]:
    """By batch size: frames a second and CPU seconds a frame, with `lanes` callers side by side."""
    from engines.zoo import task_for

    task = task_for(engine.spec)
    found = {}
    for batch in (b for b in BATCHES if b <= engine.spec.max_batch_size):
        states: list[Any] = [task.initial_state()] * batch
        for i in range(3):  # so that the track slots are filled as in service
            some = frames[i * batch : (i + 1) * batch] or frames[:batch]
            states = [
                s for _, s in task.postprocess(engine.infer(task.preprocess(some, states)), some, states)
            ]
        inputs = task.preprocess(frames[:batch], states)
        found[batch] = _loop(engine, inputs, batch, lanes, seconds / len(BATCHES))
    return found


def _loop(engine: Engine, inputs: Tensors, batch: int, lanes: int, seconds: float) -> tuple[float, float]:
    done = [0] * lanes
    start = time.perf_counter()

    def lane(i: int) -> None:
        while time.perf_counter() - start < seconds:
            engine.infer(inputs)
            done[i] += batch

    cpu = time.process_time()
    threads = [threading.Thread(target=lane, args=(i,)) for i in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start), (time.process_time() - cpu) / sum(done)


def _decoded(clip: Path, input_hw: tuple[int, int]) -> Iterator[Frame]:
    from streamer.clock import SystemClock
    from streamer.sources import open_source

    spec = StreamConfig(name="bench", url=str(clip), realtime=False)
    source = open_source(spec, epoch=1, input_hw=input_hw, clock=SystemClock())
    try:
        source.open()
        yield from source.frames()
    finally:
        source.close()


def _frames(clip: Path, input_hw: tuple[int, int], count: int) -> list[Frame]:
    frames = []
    for frame in _decoded(clip, input_hw):
        frames.append(frame)
        if len(frames) == count:
            break
    return frames


def _clip(plan: Plan, show: Progress) -> Path:
    if plan.file is not None:
        if not plan.file.is_file():
            raise SightlineError("the file does not exist", where=str(plan.file), mend="give a video file")
        return plan.file.absolute()
    from streamer.world import WorldConfig
    from streamer.world.render import render_clip

    height, width = CLIP_HW
    path = plan.data_dir / "bench" / f"street-{width}x{height}-{CLIP_SEED}-{CLIP_SECONDS:.0f}s.mp4"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{os.getpid()}.mp4")
        render_clip(
            WorldConfig(seed=CLIP_SEED, height=height, width=width, fps=CLIP_FPS),
            CLIP_SECONDS,
            part,
            progress=show,
        )
        part.replace(path)
    return path


def _counted(n: int, show: Progress) -> Iterator[int]:
    for i in range(n):
        show(i, n)
        yield i
    show(n, n)


def _percentiles(ms: list[float]) -> dict[str, float | None]:
    names = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
    if not ms:
        return dict.fromkeys(names)
    return {name: round(float(np.percentile(ms, q)), 1) for name, q in zip(names, (50, 95, 99), strict=True)}


def _about(plan: Plan, engine: Engine | None) -> dict[str, Any]:
    spec = {"precision": engine.spec.precision, "device": engine.spec.device} if engine is not None else {}
    return {
        "model": plan.model,
        "backend": plan.backend,
        **spec,
        "cores": _cores(),
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
