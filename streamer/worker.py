"""Bring what runs in line with what is wished for, say that we live, and end in order.

One thread: it wakes when it is told that something changed, and a few times a second anyway. The wish is a mapping of
stream configurations; streams are added, removed, changed and paused while the others go on undisturbed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from streamer.clock import Clock
from streamer.config import StreamConfig
from streamer.errors import SightlineError
from streamer.ledger import Ledger
from streamer.life import EndCode, Outcome
from streamer.metrics import Metrics
from streamer.ports import PictureTap, ViewerCounts
from streamer.publisher import Publisher
from streamer.runner import StreamRunner
from streamer.types import StreamState

log = logging.getLogger(__name__)

TICK_S = 0.25
REPORT_S = 1.0
# Changes are announced; this finds those whose announcement was lost.
RELOAD_S = 5.0
RELOAD_FAILED_S = 1.0
# A stopped stream has this long to end before it is left behind.
LEAVE_S = 10.0
# What may change of a stream while its source stays connected: only rules read these.
OF_RULES = ("events", "zones", "lines")
# What viewers may ask for; a message that names none means the first.
CODECS = ("h264", "vp8")

REMOVED = Outcome(StreamState.ENDED, EndCode.REMOVED, "the stream was removed")
CHANGED = Outcome(StreamState.ENDED, EndCode.CHANGED, "the stream's configuration changed")
PAUSED = Outcome(StreamState.PAUSED, EndCode.PAUSED, "paused")
STOPPED = Outcome(StreamState.ENDED, EndCode.STOPPED, "the worker stopped")


class Desired(Protocol):
    """Where the wish is kept."""

    def load(self) -> Mapping[str, StreamConfig]:
        """All wished-for streams by name; raises StoreError while they cannot be read."""
        ...


class Border(Protocol):
    """What the worker says to the outside besides results, events and states."""

    def heartbeat(self, fields: Mapping[str, str]) -> None: ...

    def watched(self, streams: Iterable[str], codec: str) -> set[str]: ...

    def forget(self, stream: str) -> None: ...

    def counts(self) -> Mapping[str, int]: ...


class ViewerTap(PictureTap, Protocol):
    """A stream's picture for viewers, in each of `CODECS`."""

    def set_watched(self, watched: bool, codec: str) -> None: ...

    def request_keyframe(self, codec: str) -> None: ...

    def counts(self) -> Mapping[str, ViewerCounts]: ...

    @property
    def groups_given_up(self) -> int: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Place:
    """One stream's runner and tap; `leaving_ns` is when it was asked to go."""

    runner: StreamRunner
    tap: ViewerTap
    leaving_ns: int | None = None


class Worker:
    """Owns the runners. `tell` may be called from any thread; all else happens on the thread of `run`."""

    def __init__(
        self,
        *,
        desired: Desired,
        border: Border,
        runner_for: Callable[[StreamConfig, PictureTap], StreamRunner],
        tap_for: Callable[[str], ViewerTap],
        stalled: Callable[[], str],
        publisher: Publisher,
        ledger: Ledger,
        metrics: Metrics,
        clock: Clock,
        backend: str,
        adopted: Callable[[StreamConfig], None] = lambda spec: None,
        forgotten: Callable[[str], None] = lambda stream: None,
    ) -> None:
        """`adopted` is told of a stream whose configuration changed as it ran on, `forgotten` of one that is gone."""
        self._desired, self._border, self._forgotten = desired, border, forgotten
        self._runner_for, self._tap_for, self._stalled = runner_for, tap_for, stalled
        self._publisher, self._ledger, self._metrics, self._clock = publisher, ledger, metrics, clock
        self._backend, self._adopted = backend, adopted
        self._places: dict[str, _Place] = {}
        self._wish: Mapping[str, StreamConfig] = {}
        self._told: deque[Mapping[str, Any]] = deque(maxlen=1024)
        self._kick = threading.Event()
        self._loaded_ns: int | None = None
        self._reported_ns: int | None = None

    def tell(self, message: Mapping[str, Any]) -> None:
        """A control message: `streams` (the wish changed), `watch` or `keyframe` of a stream; others are ignored.

        The last two may name a `codec` of `CODECS`.
        """
        self._told.append(message)
        self._kick.set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set (`wake` makes it be seen at once)."""
        while not stop.is_set():
            self.tick()
            leaving = any(place.leaving_ns is not None for place in self._places.values())
            self._clock.wait(self._kick, TICK_S / 5 if leaving else TICK_S)
            self._kick.clear()

    def wake(self) -> None:
        """Look now. Safe in a signal handler."""
        self._kick.set()

    def tick(self) -> None:
        """One round: hear, load, reconcile, watch over, report."""
        now_ns = self._clock.monotonic_ns()
        changed = self._hear()
        if changed or self._due(self._loaded_ns, now_ns, RELOAD_S):
            try:
                self._wish = dict(self._desired.load())
                self._loaded_ns = now_ns
            except SightlineError as error:
                log.warning("the wished-for streams cannot be read, all stays as it is: %s", error)
                self._loaded_ns = now_ns - int((RELOAD_S - RELOAD_FAILED_S) * 1e9)
        self._reconcile(now_ns)
        for name, place in list(self._places.items()):
            if place.runner.alive and not place.runner.watch():
                log.error("stream %s: its thread is lost; a new one takes over", name)
                self._start(place.runner.spec, place.tap)
        if self._due(self._reported_ns, now_ns, REPORT_S):
            self._reported_ns = now_ns
            self._report()

    def close(self, deadline_s: float) -> bool:
        """Stop every stream and wait for all; False if one was still at it after `deadline_s`."""
        until_ns = self._clock.monotonic_ns() + int(deadline_s * 1e9)
        for place in self._places.values():
            place.runner.stop(STOPPED)
        ended = True
        for name, place in self._places.items():
            left_s = max(0.0, (until_ns - self._clock.monotonic_ns()) / 1e9)
            if not place.runner.join(0 if place.runner.preparing else left_s) and not place.runner.preparing:
                log.error("stream %s did not end in time", name)
                ended = False
            place.tap.close()
        self._places.clear()
        return ended

    @property
    def running(self) -> dict[str, StreamState]:
        """The streams there are, and their states."""
        return {name: place.runner.state for name, place in self._places.items()}

    # ------------------------------------------------------------------------------------------------ one tick

    def _hear(self) -> bool:
        changed = False
        while self._told:
            message = self._told.popleft()
            place = self._places.get(str(message.get("stream")))
            codec = str(message.get("codec", CODECS[0]))
            match message.get("op"):
                case "streams":
                    changed = True
                case "watch" if place is not None:
                    place.tap.set_watched(True, codec)  # whether it still is, the next report sees
                case "keyframe" if place is not None:
                    place.tap.request_keyframe(codec)
        return changed

    def _reconcile(self, now_ns: int) -> None:
        for name in sorted({*self._places, *self._wish}):
            place, want = self._places.get(name), self._wish.get(name)
            if place is None:
                if want is not None:
                    self._start(want, self._tap_for(name))
            elif place.leaving_ns is not None or want is None:
                self._change(name, place, want, now_ns)
            elif place.runner.spec != want:
                if _differ_in_rules_only(place.runner.spec, want):
                    self._adopted(want)
                    place.runner.adopt(want)
                else:
                    self._change(name, place, want, now_ns)

    def _change(self, name: str, place: _Place, want: StreamConfig | None, now_ns: int) -> None:
        """One step of replacing or removing what runs: ask it to go, wait, then put what is wished in its place."""
        if place.leaving_ns is None:
            place.leaving_ns = now_ns
            place.runner.stop(REMOVED if want is None else PAUSED if want.paused else CHANGED)
        if place.runner.alive:
            if now_ns - place.leaving_ns < LEAVE_S * 1e9:
                return
            log.error("stream %s does not end and is left behind", name)
            place.runner.abandon()
        if want is not None:
            self._start(want, place.tap)
            return
        log.info("stream %s is removed", name)
        place.tap.close()
        del self._places[name]
        self._publisher.after_all(lambda: self._forget(name))

    def _start(self, spec: StreamConfig, tap: ViewerTap) -> None:
        runner = self._runner_for(spec, tap)
        self._places[spec.name] = _Place(runner, tap)
        if spec.paused:
            runner.park()
        else:
            runner.start()

    def _forget(self, name: str) -> None:
        if name in self._wish:
            return  # wished for again meanwhile
        self._publisher.forget(name)
        self._metrics.forget(name)
        self._border.forget(name)
        self._forgotten(name)
        try:
            self._ledger.forget(name)
        except ValueError as error:  # left behind with frames in flight
            log.warning("%s", error)

    # ------------------------------------------------------------------------------------------------ reports

    def _report(self) -> None:
        names = list(self._places)
        watched = {codec: self._border.watched(names, codec) for codec in CODECS}
        for name, place in self._places.items():
            for codec in CODECS:
                place.tap.set_watched(name in watched[codec], codec)
            if place.runner.alive:
                place.runner.report()
            self._count(name, place.tap)
        self._metrics.spooled.set(self._border.counts().get("events_waiting", 0))
        if reason := self._stalled():
            # Without heartbeats the supervisor starts us anew, which is all that helps against this.
            log.error("no heartbeat: %s", reason)
            return
        self._border.heartbeat(
            {
                "backend": self._backend,
                "streams": str(len(names)),
                "metrics": orjson.dumps(self._metrics.snapshot()).decode(),
            }
        )

    def _count(self, name: str, tap: ViewerTap) -> None:
        counts = self._ledger.counts(name)
        for end, frames in counts.ended.items():
            self._metrics.frames.set(frames, name, end)
            if end.startswith("dropped:"):
                self._metrics.dropped.set(frames, name, end.removeprefix("dropped:"))
        self._metrics.in_flight.set(counts.in_flight, name)
        pace = self._publisher.pace(name)
        self._metrics.fps.set(round(pace.fps, 2), name)
        self._metrics.show_accuracy(name, pace.accuracy)
        zones = place.runner.spec.zones if (place := self._places.get(name)) else ()
        self._metrics.show_zones(name, {zone.name: pace.inside.get(zone.name, 0) for zone in zones})
        self._metrics.show_viewers(name, tap.counts(), tap.groups_given_up)

    @staticmethod
    def _due(last_ns: int | None, now_ns: int, every_s: float) -> bool:
        return last_ns is None or now_ns - last_ns >= every_s * 1e9


def _differ_in_rules_only(one: StreamConfig, other: StreamConfig) -> bool:
    return one.model_copy(update={field: getattr(other, field) for field in OF_RULES}) == other
