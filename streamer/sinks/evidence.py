"""What is kept to look at of each event: its very frame, a short clip, the path of its track.

The recorder stands beside the viewers' tap (pictures come on the decode threads) and beside Redis (results and events
come on the publisher's). Both only hand over: an event takes hold of its picture at once, before the ring can lose it,
and the writer's thread does all that takes time. Nothing here ever waits or raises; what cannot be kept is counted
with its reason, and written where the picture would be.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streamer.clock import Clock
from streamer.metrics import Metrics
from streamer.sinks.clips import AFTER_S, Footage
from streamer.sinks.evidence_picture import Shrinker, SmallPicture
from streamer.sinks.evidence_ring import PictureRing
from streamer.sinks.evidence_trails import Trails
from streamer.sinks.evidence_writer import (
    MOST_PICTURES_WAITING,
    MOST_WAITING,
    TICK_S,
    EvidenceKeeper,
    EvidenceWriter,
    Lack,
    Record,
)
from streamer.types import Event, EventKind, FrameRef, Result

log = logging.getLogger(__name__)

CLIP_EVERY_S: Final = 5.0
# A stream without pictures for so long is paused, gone or broken: its memory is given back.
IDLE_S: Final = 30.0
# A clip whose pictures stay away for so long is made of those there are.
STUCK_S: Final = 2 * AFTER_S
# So long after its event nobody waits for a clip any more.
CLIP_WITHIN_S: Final = AFTER_S + STUCK_S + 30.0


@dataclass(slots=True)
class _Scene:
    """What is remembered of one stream."""

    offered_ns: int
    ring: PictureRing = field(default_factory=PictureRing)
    shrinker: Shrinker = field(default_factory=Shrinker)
    trails: Trails = field(default_factory=Trails)
    judged: tuple[int, float] | None = None  # of the last results: their events come with the next call
    last_clip: Footage | None = None
    last_clip_ns: int = 0
    trimmed: bool = False


class EvidenceRecorder:
    """A PictureTap, ResultSink and EventSink. `pictures` and `clips` say which of the two are made at all.

    `start` before the first event, `close` after the last; `work` does the thread's work where there is no thread.
    """

    def __init__(
        self, keeper: EvidenceKeeper, *, pictures: int, clips: int, clock: Clock, metrics: Metrics
    ) -> None:
        self._keeper, self._clock, self._metrics = keeper, clock, metrics
        self._pictures, self._clips = pictures > 0, clips > 0
        self._lock = threading.Lock()
        self._scenes: dict[str, _Scene] = {}
        self._ticked_ns: int | None = None
        self._writer = EvidenceWriter(keeper, clock, metrics, self._tick)
        self.start, self.work = self._writer.start, self._writer.work

    def close(self, timeout_s: float) -> bool:
        """Write what waits, clips as far as they are. False if that took longer than `timeout_s`."""
        for scene in self._all().values():
            self._cut(scene)
        return self._writer.close(timeout_s)

    # ------------------------------------------------------------------------------------------- decode threads

    @property
    def wanted(self) -> bool:
        return True

    def offer(self, ref: FrameRef, picture: Any) -> None:
        """Keep a small copy of the picture. Never raises."""
        try:
            scene = self._scene(ref.stream)
            scene.offered_ns = self._clock.monotonic_ns()
            done = scene.ring.put(scene.shrinker.small(ref, picture))
        except Exception:
            self._writer.count_lack(ref.stream, "frame", Lack.FAILED)
            log.debug("no small picture of %s", ref.key, exc_info=True)
            return
        if done is not None:
            self._writer.film(done)

    # ---------------------------------------------------------------------------------------- publisher's thread

    def emit_results(self, results: Sequence[Result]) -> None:
        """Follow the tracks. Never raises."""
        try:
            self._follow(results)
        except Exception:
            log.exception("evidence does not follow %d results", len(results))

    def emit_events(self, events: Sequence[Event]) -> None:
        """Take hold of what belongs to these events. Returns at once, never raises."""
        for event in events:
            try:
                self._take(event)
            except Exception:
                self._writer.count_lack(event.stream, "picture", Lack.FAILED)
                log.exception("no evidence of %s", event.id)

    def _follow(self, results: Sequence[Result]) -> None:
        for stream in {result.ref.stream for result in results}:
            scene = self._scene(stream)
            if scene.judged is not None:  # the events of the results before these were told
                scene.ring.judged(*scene.judged, scene.trails.last_seqs())
        for result in results:
            scene, ref = self._scene(result.ref.stream), result.ref
            scene.trails.add(result)
            scene.judged = ref.epoch, float(ref.pts * ref.time_base)

    def _take(self, event: Event) -> None:
        if self._writer.waiting >= MOST_WAITING:
            self._writer.count_lack(event.stream, "picture", Lack.BUSY)
            return
        scene = self._scene(event.stream)
        now = scene.ring.find(event.epoch, event.seq)
        picture = now
        if event.kind is EventKind.LEAVE:  # it is not in the event's frame any more
            picture = scene.ring.find(event.epoch, int(event.evidence.get("last_seq", event.seq)))
        ended = event.kind is EventKind.DOWN
        if ended and now is None and not scene.ring.has_epoch(event.epoch):
            return  # it never came up: there is nothing to see
        clip = self._clip_of(event, scene, now or picture) if self._clips else {}
        if ended:
            self._cut(scene)
        lack: Lack | None = None
        if not self._pictures:
            picture = None
        elif picture is None:
            lack = Lack.GONE
        elif self._writer.waiting >= MOST_PICTURES_WAITING:
            picture, lack = None, Lack.BUSY
        if lack is not None:
            self._writer.count_lack(event.stream, "picture", lack)
        track = event.track_id
        path = [] if track is None else scene.trails.path(event.epoch, track, event.seq)
        self._writer.put(Record(event, picture, lack, path, clip))

    def _clip_of(self, event: Event, scene: _Scene, moment: SmallPicture | None) -> dict[str, str]:
        """The record's words on its clip: its own is in the making, or another's shows it, or why there is none."""
        if moment is None:
            return self._no_clip(event, Lack.GONE)
        last, now_ns = scene.last_clip, self._clock.monotonic_ns()
        due = {"clip_due": str(self._clock.wall_ns() + int(CLIP_WITHIN_S * 1e9))}
        if last is not None and last.covers(moment):
            return {"clip_of": last.event_id, **due}
        if event.kind is EventKind.UP:
            return {"no_clip": Lack.NONE}  # nothing has happened yet
        if last is not None:
            same = last.epoch == moment.ref.epoch
            since_s = moment.time_s - last.at_s if same else (now_ns - scene.last_clip_ns) / 1e9
            if since_s < CLIP_EVERY_S:
                return self._no_clip(event, Lack.SOON)
        footage = Footage(event.id, moment)
        scene.last_clip, scene.last_clip_ns = footage, now_ns
        for done in scene.ring.film(footage):
            self._writer.film(done)
        return due

    def _no_clip(self, event: Event, lack: Lack) -> dict[str, str]:
        self._writer.count_lack(event.stream, "clip", lack)
        return {"no_clip": lack}

    # ------------------------------------------------------------------------------------------ writer's thread

    def _tick(self) -> None:
        """Trim what an earlier worker left, give back the memory of silent streams, count what the others take."""
        now_ns = self._clock.monotonic_ns()
        if self._ticked_ns is not None and now_ns - self._ticked_ns < TICK_S * 1e9 / 2:
            return
        self._ticked_ns = now_ns
        for stream, scene in self._all().items():
            if not scene.trimmed:
                scene.trimmed = self._keeper.trim(stream)
            quiet_s = (now_ns - scene.offered_ns) / 1e9
            if quiet_s > STUCK_S:
                self._cut(scene)
            if quiet_s > IDLE_S:
                with self._lock:
                    self._scenes.pop(stream, None)
                self._metrics.evidence_ring.forget(stream)
            else:
                self._metrics.evidence_ring.set(scene.ring.bytes, stream)

    # ------------------------------------------------------------------------------------------------- any thread

    def _cut(self, scene: _Scene) -> None:
        if (footage := scene.ring.cut()) is not None:
            self._writer.film(footage)

    def _all(self) -> dict[str, _Scene]:
        with self._lock:
            return dict(self._scenes)

    def _scene(self, stream: str) -> _Scene:
        with self._lock:
            scene = self._scenes.get(stream)
            if scene is None:
                scene = self._scenes[stream] = _Scene(self._clock.monotonic_ns())
            return scene
