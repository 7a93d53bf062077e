"""The thread that turns what events took hold of into JPEG and clips, and brings it to where it is kept.

It makes one clip at a time, and after each picture that it encodes it rests as long as it worked, so that it never has
more than half a core. (A low priority of its own would be worse: descheduled with the interpreter's lock in its hand it
would hold up everybody.) Records are small and hurried, so they go before clips and between the pictures of one.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Protocol

import orjson

from streamer.clock import Clock
from streamer.metrics import Metrics
from streamer.sinks.clips import Footage, clip_mp4
from streamer.sinks.evidence_picture import SmallPicture, jpeg
from streamer.sinks.evidence_trails import Sighting
from streamer.types import Event
from streamer.wire import encode_event

log = logging.getLogger(__name__)

# Events that wait for their JPEG, each with a small picture in hand; more keep only their path; more still nothing.
MOST_PICTURES_WAITING: Final = 128
MOST_WAITING: Final = 1024
# Footage that waits for the encoder, of all streams together: some 20 MB each.
MOST_FOOTAGE: Final = 4
TICK_S: Final = 0.5

Fields = dict[str, bytes | str]


class Lack(StrEnum):
    """Why something was not kept, as the record says it and the metrics count it."""

    GONE = "gone"  # the picture was not in memory any more
    BUSY = "busy"  # too much waited already
    FAILED = "failed"
    REDIS = "redis"  # away
    SOON = "soon"  # after the clip before
    SHORT = "short"  # not two pictures
    NONE = "none"  # by its nature


class EvidenceKeeper(Protocol):
    """Where evidence is kept; each call says whether it was."""

    def keep(self, stream: str, event_id: str, fields: Fields) -> bool: ...

    def keep_clip(self, stream: str, event_id: str, fields: Fields) -> bool: ...

    def add(self, stream: str, event_id: str, fields: Fields) -> bool: ...

    def trim(self, stream: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be written of one event; `clip` are its words on a clip."""

    event: Event
    picture: SmallPicture | None
    no_picture: Lack | None
    path: list[Sighting]
    clip: dict[str, str]


class EvidenceWriter:
    """`put` and `film` from any thread return at once; `work` is one round of the thread, after `each_tick`."""

    def __init__(
        self, keeper: EvidenceKeeper, clock: Clock, metrics: Metrics, each_tick: Callable[[], None]
    ) -> None:
        self._keeper, self._clock, self._metrics = keeper, clock, metrics
        self._each_tick = each_tick
        self._records: deque[Record] = deque()
        self._footage: deque[Footage] = deque()
        self._kick, self._stop = threading.Event(), threading.Event()
        self._jpeg: tuple[SmallPicture, bytes] | None = None
        self._worked_ns = 0
        self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return len(self._records)

    def put(self, record: Record) -> None:
        """Write this soon."""
        self._records.append(record)
        self._kick.set()

    def film(self, footage: Footage) -> None:
        """Make a clip of this when there is time, or say that there is none."""
        if len(self._footage) >= MOST_FOOTAGE:
            self.count_lack(footage.stream, "clip", Lack.BUSY)
            footage.let_go(given_up=True)
        self._footage.append(footage)
        self._kick.set()

    def count_lack(self, stream: str, what: Literal["frame", "picture", "clip"], why: Lack) -> None:
        self._metrics.evidence_dropped.add(1, stream, what, why)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Write what waits, without resting. False if that took longer than `timeout_s`."""
        self._stop.set()
        self._kick.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._clock.wait(self._kick, TICK_S)
            self._kick.clear()
            try:
                self.work()
            except Exception:  # this thread serves all streams
                log.exception("a round of evidence failed")
        self.work()

    def work(self) -> None:
        """Write all that waits."""
        self._each_tick()
        self._write_records()
        while self._footage:
            self._write_clip(self._footage.popleft())
            self._write_records()

    def _write_records(self) -> None:
        while self._records:
            record = self._records.popleft()
            try:
                self._write_record(record)
            except Exception:
                self.count_lack(record.event.stream, "picture", Lack.FAILED)
                log.exception("no evidence of %s", record.event.id)

    def _write_record(self, record: Record) -> None:
        event, picture = record.event, record.picture
        path = orjson.dumps([one.view() for one in record.path])
        fields: Fields = {"event": encode_event(event), "path": path, **record.clip}
        if picture is not None:
            if self._jpeg is None or self._jpeg[0] is not picture:  # many events have one picture
                self._jpeg = picture, jpeg(picture)
            fields["jpg"] = self._jpeg[1]
        elif record.no_picture is not None:
            fields["no_jpg"] = record.no_picture
        if not self._keeper.keep(event.stream, event.id, fields):
            self.count_lack(event.stream, "picture", Lack.REDIS)
        elif picture is not None:
            self._metrics.evidence_pictures.add(1, event.stream)

    def _write_clip(self, footage: Footage) -> None:
        stream, event_id, pictures = footage.stream, footage.event_id, footage.pictures
        lack = Lack.BUSY if footage.given_up else Lack.SHORT if len(pictures) < 2 else None
        data = b""
        try:
            self._worked_ns = self._clock.monotonic_ns()
            if lack is None:
                data = clip_mp4(pictures, between=self._rest)
        except Exception:
            log.exception("no clip of %s", event_id)
            lack = Lack.FAILED
        footage.let_go()
        if lack is not None:
            if lack is not Lack.BUSY:  # that was counted when it was given up
                self.count_lack(stream, "clip", lack)
            self._keeper.add(stream, event_id, {"no_clip": lack})
            return
        span = orjson.dumps([pictures[0].ref.wall_ns, pictures[-1].ref.wall_ns])
        if self._keeper.keep_clip(stream, event_id, {"clip": data, "clip_span": span}):
            self._metrics.evidence_clips.add(1, stream)
        else:
            self.count_lack(stream, "clip", Lack.REDIS)

    def _rest(self) -> None:
        self._write_records()
        self._clock.wait(self._stop, (self._clock.monotonic_ns() - self._worked_ns) / 1e9)
        self._worked_ns = self._clock.monotonic_ns()
