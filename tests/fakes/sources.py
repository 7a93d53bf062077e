"""A stream's configuration for tests, and ways to play what it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from streamer.clock import Clock, SystemClock
from streamer.errors import SourceError
from streamer.ports import Source
from streamer.sources import open_source
from streamer.types import Frame

HW = (48, 128)


@dataclass(frozen=True)
class Spec:
    url: str
    name: str = "gate"
    loop: bool = False
    realtime: bool | None = None
    transport: str = "tcp"
    max_fps: float | None = None
    open_timeout_s: float = 10.0
    read_timeout_s: float = 10.0
    guard: tuple[str, ...] | None = None


def source_of(spec: Spec, clock: Clock | None = None, tap: Any = None) -> Any:
    return open_source(spec, epoch=7, input_hw=HW, clock=clock or SystemClock(), tap=tap)


def play(spec: Spec, limit: int = 10_000, clock: Clock | None = None) -> list[Frame]:
    source: Source = source_of(spec, clock)
    source.open()
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == limit:
            break
    source.close()
    return frames


def failure_of(spec: Spec) -> SourceError:
    with pytest.raises(SourceError) as caught:
        play(spec)
    assert "\n" not in str(caught.value)
    return caught.value
