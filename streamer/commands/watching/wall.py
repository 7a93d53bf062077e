"""`bench wall`: many cameras on one page for a while. Do all tiles keep moving, and does anything grow?

What a server or a page keeps on purpose has a cap: results, events, their pictures, the rows of the event list. This
server's caps are low, so that they are reached while it warms up, and what rises afterwards is held for no reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from streamer.client import Client
from streamer.commands.watching.camera import HW, cameras, street
from streamer.commands.watching.growth import RULE, Trend, any_grows, trend
from streamer.commands.watching.memory import MIB, held_mib, measure_of, same_processes, server_parts
from streamer.commands.watching.wall_page import WallPage, open_wall, tiles_of
from streamer.commands.watching.whole_server import WholeServer, serving

EVERY_S = 5.0
ENCODERS = 3  # cameras bring their own; here they would be paid for by the machine that is measured, so three share one
HEAP_LOOKS = 12  # collecting garbage stops the page for a moment, so not at every sample
CAPS: dict[str, Any] = {
    "results_maxlen": 30,
    "events_maxlen": 200,
    "evidence": {"pictures": 30, "clips": 3, "why": False},
}
REDIS_DATA, PAGE_HEAP = "redis data", "page heap"
Progress = Callable[[float, float], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is measured: `analysed_fps` frames a second of each camera are looked at, all are shown."""

    cameras: int
    fps: float
    seconds: float
    warm_up_s: float
    analysed_fps: float
    data_dir: Path
    chromium: str


@dataclass
class Samples:
    """What was seen: sizes of each part in MiB with their times, and the tiles' counts."""

    looks: list[dict[str, Any]] = field(default_factory=list)
    times_s: dict[str, list[float]] = field(default_factory=dict)
    mib: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, at_s: float, mib: float) -> None:
        """One more size of a part."""
        self.times_s.setdefault(name, []).append(at_s)
        self.mib.setdefault(name, []).append(mib)

    def trends(self) -> dict[str, Trend]:
        """Of each part that was seen twice or more often."""
        return {name: trend(self.times_s[name], mib) for name, mib in self.mib.items() if len(mib) > 1}


def bench_wall(wish: Wish, show: Progress) -> dict[str, Any]:
    """The flat answer. Raises SightlineError if it cannot be measured, or a part dies meanwhile."""
    pictures = street()
    encoders = min(ENCODERS, wish.cameras)
    with cameras(pictures, encoders, fps=wish.fps) as urls:
        streams = {
            f"cam{i + 1}": {"url": urls[i % encoders], "max_fps": wish.analysed_fps}
            for i in range(wish.cameras)
        }
        with (
            serving(streams, wish.data_dir, **CAPS) as server,
            open_wall(server.base, wish.cameras, wish.chromium) as wall,
        ):
            samples = watch(server, wall, wish, show)
    return answer(wish, samples)


def watch(server: WholeServer, wall: WallPage, wish: Wish, show: Progress) -> Samples:
    """Warm up, then sample the server and the page every few seconds."""
    from streamer.sinks.redis_child import socket_path_for

    samples, measure = Samples(), measure_of()
    whole_s = wish.warm_up_s + wish.seconds
    server_parts(server.supervisor)  # what is wrong is said now and not after the warm-up
    began_s = time.monotonic()
    while (gone_s := time.monotonic() - began_s) < wish.warm_up_s:
        show(gone_s, whole_s)
        wall.pause(min(EVERY_S, wish.warm_up_s - gone_s))
    first = server_parts(server.supervisor)
    heap_every_s = max(EVERY_S, wish.seconds / HEAP_LOOKS)
    since_s, heap_due_s, due_s = time.monotonic(), 0.0, 0.0
    with Client(f"unix://{socket_path_for(server.data_dir / 'redis')}") as client:
        while (at_s := time.monotonic() - since_s) <= wish.seconds:
            show(wish.warm_up_s + at_s, whole_s)
            now = server_parts(server.supervisor)
            same_processes(first, now)
            if at_s >= heap_due_s:
                samples.add(PAGE_HEAP, at_s, wall.heap_mib())
                heap_due_s += heap_every_s
            for name, pids in {**now, **wall.parts()}.items():
                try:
                    samples.add(name, at_s, held_mib(pids, measure))
                except psutil.NoSuchProcess:
                    continue  # a passing one, such as a browser's spare: the next sample has the part again
            samples.add(REDIS_DATA, at_s, client.run(_used_bytes()) / MIB)
            samples.looks.append(wall.look())
            due_s += EVERY_S
            wall.pause(max(0.05, due_s - (time.monotonic() - since_s)))
    return samples


def answer(wish: Wish, samples: Samples) -> dict[str, Any]:
    """What is printed, from what was seen."""
    tiles, trends = tiles_of(samples.looks), samples.trends()
    shown = sum(tile.shown for tile in tiles.values())
    return {
        "bench": "wall",
        "cameras": wish.cameras,
        "encoders": min(ENCODERS, wish.cameras),
        "picture": f"{HW[1]}x{HW[0]} at {wish.fps:g}",
        "analysed_fps": wish.analysed_fps,
        "minutes": round(wish.seconds / 60, 2),
        "warm_up_s": wish.warm_up_s,
        "samples": len(samples.looks),
        "fps_median": round(median(tile.fps_median for tile in tiles.values()), 2),
        "fps_worst_tile": round(min(tile.fps_median for tile in tiles.values()), 2),
        "fps_min": round(min(tile.fps_min for tile in tiles.values()), 2),
        "heard": round(sum(tile.heard for tile in tiles.values()) / max(1, shown), 3),
        "age_max_ms": max(tile.age_max_ms for tile in tiles.values()),
        "grows": any_grows(list(trends.values())),
        "rule": RULE,
        "measure": measure_of(),
        "memory": {name: _rounded(asdict(found)) for name, found in trends.items()},
        "tiles": {name: _rounded(asdict(tile)) for name, tile in tiles.items()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _used_bytes() -> Generator[list[tuple[Any, ...]], list[Any], int]:
    """What Redis has given out for data, by its own account."""
    (told,) = yield [("INFO", "memory")]
    return int(told["used_memory"])


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in fields.items()}
