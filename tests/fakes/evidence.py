"""A place for evidence in memory, and a recorder fed by hand: pictures that tell their number, results, events."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from streamer.clock import FakeClock
from streamer.metrics import Metrics
from streamer.sinks.evidence import EvidenceRecorder
from streamer.sinks.evidence_picture import Shrinker, SmallPicture
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
from tests.fakes.clips import bar_index, bar_picture

FPS = 25
WALL_NS = 1_700_000_000_000_000_000


class MemoryKeeper:
    """An EvidenceKeeper of dictionaries; `away` makes it take nothing."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.clips: dict[str, dict[str, Any]] = {}
        self.trimmed: list[str] = []
        self.away = False

    def keep(self, stream: str, event_id: str, fields: dict[str, bytes | str]) -> bool:
        if not self.away:
            self.records[event_id] = dict(fields)
        return not self.away

    def keep_clip(self, stream: str, event_id: str, fields: dict[str, bytes | str]) -> bool:
        if not self.away:
            self.clips[event_id] = dict(fields)
        return not self.away

    def add(self, stream: str, event_id: str, fields: dict[str, bytes | str]) -> bool:
        if not self.away and event_id in self.records:
            self.records[event_id].update(fields)
        return not self.away

    def trim(self, stream: str) -> bool:
        self.trimmed.append(stream)
        return not self.away


def ref(seq: int, stream: str = "gate", epoch: int = 1, fps: int = FPS) -> FrameRef:
    return FrameRef(stream, epoch, seq, seq, Fraction(1, fps), 0, WALL_NS + seq * 10**9 // fps)


def small(seq: int, epoch: int = 1, fps: int = FPS, picture: Any = None) -> SmallPicture:
    return Shrinker().small(ref(seq, epoch=epoch, fps=fps), bar_picture(seq) if picture is None else picture)


def result(seq: int, tracks: dict[int, float], stream: str = "gate", epoch: int = 1) -> Result:
    """Tracks by id; the value is the left edge of a box of 40x20 px."""
    boxes = np.array([[x, 10, x + 40, 30] for x in tracks.values()], np.float32).reshape(-1, 4)
    n = len(tracks)
    found = Detections(boxes, np.full(n, 0.5, np.float32), np.zeros(n, np.int64))
    seen = Tracks(found, np.array(list(tracks), np.int64), np.ones(n, np.int64))
    return Result(ref(seq, stream, epoch), (96, 256), Perception(seen, ("person",)), Timing(0, 0, 0, 0, 0, 0))


def event(
    seq: int,
    kind: EventKind = EventKind.APPEAR,
    track: int | None = 7,
    *,
    stream: str = "gate",
    epoch: int = 1,
    last_seq: int | None = None,
) -> Event:
    evidence = {} if last_seq is None else {"last_seq": last_seq}
    ident = event_id(stream, epoch, seq, kind, track)
    wall_ns = WALL_NS + seq * 10**9 // FPS
    return Event(ident, kind, stream, epoch, seq, wall_ns, track, {"label": "person"}, evidence)


class Rig:
    """A recorder without its thread, at a time that stands still: `recorder.work()` does what waits."""

    def __init__(self, pictures: int = 500, clips: int = 50) -> None:
        self.clock, self.metrics, self.keeper = FakeClock(), Metrics(), MemoryKeeper()
        self.recorder = EvidenceRecorder(
            self.keeper, pictures=pictures, clips=clips, clock=self.clock, metrics=self.metrics
        )

    def play(
        self, first: int, last: int, *, epoch: int = 1, picture: Any = None, answer: bool = True
    ) -> None:
        """Frames `first` to `last`, both included, each with its result; track 7 stands where the bar is."""
        for seq in range(first, last + 1):
            self.clock.advance(1 / FPS)
            shown = bar_picture(seq) if picture is None else picture
            self.recorder.offer(ref(seq, epoch=epoch), shown)
            if answer:
                self.recorder.emit_results([result(seq, {7: 4.0 * (seq % 50)}, epoch=epoch)])

    def tell(self, *events: Event) -> list[str]:
        """These events happen, and what waits is written."""
        self.recorder.emit_events(events)
        self.recorder.work()
        return [one.id for one in events]

    def lacks(self, what: str) -> dict[str, int]:
        """What was not kept, by reason, of all streams."""
        found: dict[str, int] = {}
        for sample in self.metrics.evidence_dropped.snapshot()["samples"]:
            if sample["labels"]["what"] == what:
                reason = str(sample["labels"]["reason"])
                found[reason] = found.get(reason, 0) + int(sample["value"])
        return found


def picture_in(jpg: bytes) -> np.ndarray[Any, Any]:
    """uint8 (H, W, 3) RGB."""
    found = cv2.imdecode(np.frombuffer(jpg, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(found[..., ::-1], np.uint8)


def number_in(jpg: bytes) -> int:
    """Which bar picture this JPEG shows."""
    return bar_index(picture_in(jpg))
