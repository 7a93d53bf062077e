"""How evidence stands in a worker: beside the viewers' tap and beside Redis, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from streamer.clock import Clock
from streamer.metrics import Metrics
from streamer.ports import EventSink, PictureTap, ResultSink
from streamer.types import Event, Result

if TYPE_CHECKING:
    from streamer.sinks.redis import RedisSink


class Evidence:
    """The recorder and its way to Redis where `pictures` or `clips` are wished for; else nothing, and no thread."""

    def __init__(
        self, redis_url: str, pictures: int, clips: int, *, sink: RedisSink, clock: Clock, metrics: Metrics
    ) -> None:
        self.results: ResultSink = sink
        self.events: EventSink = sink
        self._recorder = None
        if not (pictures or clips):
            return
        from streamer.sinks.evidence import EvidenceRecorder
        from streamer.sinks.evidence_redis import EvidenceRedis

        records = pictures or clips
        self._redis = EvidenceRedis(redis_url, clock, records=records, clips=clips)
        self._recorder = EvidenceRecorder(
            self._redis, pictures=pictures, clips=clips, clock=clock, metrics=metrics
        )
        self.results = self.events = _InTurn(sink, self._recorder)

    def beside(self, tap: Any) -> PictureTap:
        """What a source is given: the viewers' `tap`, and the recorder's if there is one."""
        from streamer.sinks.taps import Taps

        given: PictureTap = tap if self._recorder is None else Taps(tap, self._recorder)
        return given

    def open(self) -> None:
        if self._recorder is not None:
            self._redis.open()
            self._recorder.start()

    def close(self, timeout_s: float) -> bool:
        """After the publisher, whose last events it still keeps. False if that took too long."""
        if self._recorder is None:
            return True
        clean = self._recorder.close(timeout_s)
        self._redis.close()
        return clean


class _Sink(ResultSink, EventSink, Protocol): ...


class _InTurn:
    """Redis first: an event is told before its evidence can be there."""

    def __init__(self, *sinks: _Sink) -> None:
        self._sinks = sinks

    def emit_results(self, results: Sequence[Result]) -> None:
        for sink in self._sinks:
            sink.emit_results(results)

    def emit_events(self, events: Sequence[Event]) -> None:
        for sink in self._sinks:
            sink.emit_events(events)
