"""One stream's life: connect, hand frames to the pipeline, and connect again, on a thread of its own.

Each connection that brings frames is an epoch. A lost stream is tried again with growing pauses, a file that is no
video slowly, a finished file not at all. What users see of it is one state, an `up` when frames begin to come and a
`down`, with the reason, when they end.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streamer.clock import Clock
from streamer.config import StreamConfig
from streamer.errors import Closed, SightlineError, SourceCode
from streamer.ledger import Ledger
from streamer.life import EndCode, Life, Outcome, outcome_of, state_fields
from streamer.metrics import Metrics
from streamer.pipeline import Inlet, Pipeline
from streamer.ports import EpochStore, PictureTap, Source, SourceInfo, SourceOpener, StateSink
from streamer.publisher import Publisher
from streamer.sources.backoff import Backoff
from streamer.types import Event, EventKind, Frame, StreamState, event_id

log = logging.getLogger(__name__)

# A camera that is back is seen within 5 s; what only a person can mend is looked at twice a minute, later less often.
RETRY = Backoff(first_s=0.5, cap_s=5.0)
SLOW_RETRY = Backoff(first_s=15.0, cap_s=60.0)
# A connection that held this long was good: the next pause is the short one again.
GOOD_AFTER_S = 5.0
# Sources end their own hanging reads; this much later it is done for them, and as much later again they are given up.
GRACE_S = 5.0
# What waits for an answer when a connection ends: at most a few frames.
FINISH_S = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all runners of a worker share. `pipeline_for` may build an engine; it is called on the stream's thread."""

    pipeline_for: Callable[[StreamConfig], Pipeline[Any]]
    open_source: SourceOpener
    publisher: Publisher
    epochs: EpochStore
    states: StateSink
    ledger: Ledger
    metrics: Metrics
    clock: Clock


class Phase(StrEnum):
    """What the stream's thread waits for; only the source's phases may hang."""

    PREPARING = "preparing"  # an engine may be built
    OPENING = "opening"
    READING = "reading"
    ELSEWHERE = "elsewhere"


@dataclass(slots=True)
class _Connection:
    """What is known of the present or last connection."""

    epoch: int = 0
    last_seq: int = 0
    info: SourceInfo | None = None
    source: Source | None = None
    inlet: Inlet[Any] | None = None
    began_ns: int = 0
    phase: Phase = Phase.ELSEWHERE
    phase_ns: int = 0
    timed_out: bool = False


class StreamRunner:
    """Runs one stream until stopped or finished. `stop`, `watch` and `report` are for the worker's thread."""

    def __init__(
        self, spec: StreamConfig, surroundings: Surroundings, *, tap: PictureTap | None = None
    ) -> None:
        self.spec = spec
        self._all = surroundings
        self._tap = tap
        self._life = Life()
        self._now = _Connection()
        self._fresh_epoch: int | None = None  # given out, and no frame came of it yet
        self._announced: EventKind | None = None
        self._model, self._backend = spec.model, ""
        self._lock = threading.RLock()
        # Held while a state is on its way: what was true later arrives later.
        self._reporting = threading.Lock()
        self._stopping = threading.Event()
        self._stop_outcome = Outcome(StreamState.ENDED, EndCode.STOPPED, "the worker stopped")
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name=f"stream-{spec.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, outcome: Outcome) -> None:
        """Ask the stream to end as `outcome` says; returns at once. `join` waits for it."""
        with self._lock:
            self._stop_outcome = outcome
            self._stopping.set()
            source, inlet = self._now.source, self._now.inlet
        if inlet is not None:
            inlet.close()
        if source is not None:
            source.close()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False if it did not come."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    @property
    def preparing(self) -> bool:
        """Whether it waits for its engine, which may take minutes and holds nothing that needs an orderly end."""
        return self._now.phase is Phase.PREPARING

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def state(self) -> StreamState:
        return self._life.state

    def watch(self) -> bool:
        """End what hangs. False if even that did not help: the thread is lost inside its source, and is given up."""
        with self._lock:
            now = self._now
            limit_s = {
                Phase.OPENING: self.spec.open_timeout_s,
                Phase.READING: self.spec.read_timeout_s + 2.0 / (self.spec.max_fps or 1e9),
            }.get(now.phase)
            if limit_s is None or self._stopping.is_set():
                return True
            over_s = (self._all.clock.monotonic_ns() - now.phase_ns) / 1e9 - limit_s
            if over_s < GRACE_S:
                return True
            lost = over_s > 2 * GRACE_S
            hanging = None if now.timed_out else now.source
            now.timed_out = True
        if lost:
            message = f"{now.phase} hangs and cannot be ended"
            self.abandon(Outcome(StreamState.RESTARTING, SourceCode.TIMEOUT, message))
        elif hanging is not None:
            log.warning("stream %s: %s hangs and is ended", self.spec.name, now.phase)
            hanging.close()
        return not lost

    def report(self) -> None:
        """Say what the stream is and how it does: the fields of its state hash."""
        with self._reporting:
            with self._lock:
                if self._abandoned:
                    return
                state, fields = self._life.state, self._fields()
            self._all.states.emit_state(self.spec.name, state, fields)

    def adopt(self, spec: StreamConfig) -> None:
        """A configuration that needs no other connection from now on: what is told of the pictures differs, no more."""
        self.spec = spec
        self.report()

    def park(self) -> None:
        """Instead of `start`: the stream is wished for, but paused."""
        self._move(StreamState.PAUSED, EndCode.PAUSED, "paused")

    def abandon(self, outcome: Outcome | None = None) -> None:
        """The thread is lost: speak its last word for it. Whatever it may still say, nobody hears it."""
        with self._lock:
            inlet, self._now.inlet = self._now.inlet, None
            self._stopping.set()
        if inlet is not None:
            inlet.finish(0)
        self._come_down(outcome or self._stop_outcome)
        self._abandoned = True

    def _run(self) -> None:
        tries = 0
        self.report()
        while not self._stopping.is_set():
            outcome = self._connect_and_read()
            good = self._now.began_ns and self._age_s(self._now.began_ns) > GOOD_AFTER_S
            waiting = outcome.code == SourceCode.WAITING  # for a publisher: nothing has failed
            tries = 0 if good or waiting else tries + 1
            if self._stopping.is_set():
                break
            self._come_down(outcome)
            if outcome.state is StreamState.ENDED:
                return
            slow = outcome.state is StreamState.ERROR
            self._all.metrics.reconnects.add(float(not waiting), self.spec.name, outcome.code)
            pause_s = (SLOW_RETRY if slow else RETRY).delay_s(max(0, tries - 1))
            if self._all.clock.wait(self._stopping, pause_s):
                break
            if slow:
                self._move(StreamState.INITIALISING, outcome.code, outcome.message)
        self._come_down(self._stop_outcome)

    def _connect_and_read(self) -> Outcome:
        """One connection from its opening to its end, whatever that is."""
        name = self.spec.name
        inlet: Inlet[Any] | None = None
        source: Source | None = None
        with self._lock:
            self._now = _Connection(epoch=self._now.epoch, info=self._now.info)
        try:
            epoch = self._take_epoch()
            self._enter(Phase.PREPARING)
            pipeline = self._all.pipeline_for(self.spec)
            self._enter(Phase.ELSEWHERE)
            self._model, self._backend = pipeline.model, pipeline.backend
            source = self._all.open_source(
                self.spec,
                epoch=epoch,
                input_hw=pipeline.input_hw,
                clock=self._all.clock,
                tap=self._tap,
                fit=pipeline.fit,
            )
            with self._lock:
                self._now.source = source
            if self._stopping.is_set():
                return self._stop_outcome
            self._enter(Phase.OPENING)
            info = source.open()
            self._enter(Phase.ELSEWHERE)
            inlet = pipeline.attach(name, epoch, live=info.live)
            with self._lock:
                self._now.info, self._now.inlet = info, inlet
            if self._stopping.is_set():
                return self._stop_outcome
            return self._read(source, inlet, epoch, live=info.live)
        except Closed:
            return self._stop_outcome
        except Exception as error:
            if not isinstance(error, SightlineError):
                log.exception("stream %s failed", name)
            return outcome_of(error, timed_out=self._now.timed_out)
        finally:
            self._enter(Phase.ELSEWHERE)
            with self._lock:
                self._now.source = self._now.inlet = None
            if source is not None:
                source.close()
            if inlet is not None and not inlet.finish(FINISH_S):
                log.warning("stream %s: frames were still waiting for the engine", name)

    def _read(self, source: Source, inlet: Inlet[Any], epoch: int, *, live: bool) -> Outcome:
        self._enter(Phase.READING)
        for frame in source.frames():
            self._enter(Phase.ELSEWHERE)
            if self._stopping.is_set():
                return self._stop_outcome
            if self._now.epoch != epoch:
                self._come_up(frame)
            self._now.last_seq = frame.ref.seq
            inlet.put(frame)
            self._enter(Phase.READING)
        if self._now.timed_out:
            return Outcome(StreamState.RESTARTING, SourceCode.TIMEOUT, "no picture came in time")
        if live:
            return Outcome(StreamState.RESTARTING, SourceCode.LOST, "the stream ended")
        return Outcome(StreamState.ENDED, EndCode.FINISHED, "the file is finished")

    def _take_epoch(self) -> int:
        # A try that brings no frame uses none up, so the epoch grows by one at each reconnect however many it took.
        if self._fresh_epoch is None:
            self._fresh_epoch = self._all.epochs.next_epoch(self.spec.name)
        return self._fresh_epoch

    def _come_up(self, first: Frame) -> None:
        with self._lock:
            self._now.epoch, self._now.last_seq = first.ref.epoch, first.ref.seq
            self._now.began_ns = self._all.clock.monotonic_ns()
            self._fresh_epoch = None
        info = self._now.info
        assert info is not None
        height, width = first.source_hw
        self._announce(
            EventKind.UP,
            first.ref.wall_ns,
            {"codec": info.codec, "source_hw": [height, width], "live": info.live},
        )
        self._move(StreamState.RUNNING)

    def _come_down(self, outcome: Outcome) -> None:
        """Tell it once: a stream that was never up, or is tried for the tenth time, has nothing new to say."""
        if self._abandoned:
            return
        quiet = self._stopping.is_set() or outcome.code == SourceCode.WAITING
        news = self._announced is EventKind.UP or (self._announced is None and not quiet)
        if news:
            if self._announced is None and self._fresh_epoch is not None:
                # Its `down` uses this epoch up; with the next one the ids of both stay apart.
                self._now.epoch, self._fresh_epoch = self._fresh_epoch, None
            log.info("stream %s is down: %s %s", self.spec.name, outcome.code, outcome.message)
            wall_ns = self._all.clock.wall_ns()
            self._announce(EventKind.DOWN, wall_ns, {"code": outcome.code, "message": outcome.message})
        self._move(outcome.state, outcome.code, outcome.message)

    def _announce(self, kind: EventKind, wall_ns: int, attrs: Mapping[str, Any]) -> None:
        self._announced = kind
        now, name = self._now, self.spec.name
        ident = event_id(name, now.epoch, now.last_seq, kind, None)
        event = Event(ident, kind, name, now.epoch, now.last_seq, wall_ns, attrs=attrs)
        with contextlib.suppress(Closed):  # the worker's deadline passed, and it went without this stream
            self._all.publisher.put(event)

    def _move(self, state: StreamState, code: str = "", message: str = "") -> None:
        with self._lock:
            self._life.move(state, code, message)
        self._all.metrics.up.set(float(state is StreamState.RUNNING), self.spec.name)
        self.report()

    def _enter(self, phase: Phase) -> None:
        with self._lock:
            self._now.phase, self._now.phase_ns = phase, self._all.clock.monotonic_ns()

    def _age_s(self, since_ns: int) -> float:
        return (self._all.clock.monotonic_ns() - since_ns) / 1e9

    def _fields(self) -> dict[str, str]:
        now, name, all_ = self._now, self.spec.name, self._all
        for_viewers = {} if self._tap is None else self._tap.fields()
        return for_viewers | state_fields(
            self.spec,
            self._life,
            epoch=now.epoch,
            info=now.info,
            model=self._model,
            backend=self._backend,
            pace=all_.publisher.pace(name),
            counts=all_.ledger.counts(name, now.epoch),
            total=all_.ledger.counts(name),
            crossings={line.name: all_.metrics.crossings(name, line.name) for line in self.spec.lines},
            wall_ns=all_.clock.wall_ns(),
        )
