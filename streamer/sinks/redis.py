"""Everything a worker says to Redis and hears from it. It never raises for a server that is away, and never waits.

Results are dropped then and counted, states are kept (the newest of each stream), events go to the spool, epochs are
numbered from the local file. What one batch brings leaves in one round trip.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import redis

from streamer.clock import Clock, SystemClock
from streamer.errors import WireError
from streamer.sinks.epochs import LocalEpochs
from streamer.sinks.redis_control import ControlListener
from streamer.sinks.redis_events import EventLog
from streamer.sinks.redis_link import Link
from streamer.sinks.redis_video import VideoLog
from streamer.sinks.spool import Spool
from streamer.types import Event, Result, StreamState
from streamer.wire import encode_result, keys

log = logging.getLogger(__name__)

SOCKET_TIMEOUT_S: Final = 0.5

StateUpdate = tuple[str, StreamState, Mapping[str, str]]

# INCR, but never to a number that was given out while Redis was away (ARGV[1] is the newest of those).
_NEXT_EPOCH: Final = """
local n = redis.call('INCR', KEYS[1])
local given = tonumber(ARGV[1])
if n <= given then n = given + 1; redis.call('SET', KEYS[1], n) end
return n
"""
_RAISE_EPOCH: Final = """
local n = tonumber(redis.call('GET', KEYS[1]) or '0')
if n < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return 0
"""


class RedisSink:
    """ResultSink, EventSink, StateSink, EpochStore and PacketWriter of one worker. Safe from any thread.

    `open` before the first use, `close` after the last; `data_dir` holds the spool and the epochs, one worker each.
    """

    def __init__(
        self,
        url: str,
        data_dir: Path,
        *,
        clock: Clock | None = None,
        results_maxlen: int = 300,
        events_maxlen: int = 100_000,
        spool_bytes: int = 64 << 20,
        timeout_s: float = SOCKET_TIMEOUT_S,
    ) -> None:
        self._url = url
        self._clock = clock or SystemClock()
        self._results_maxlen = results_maxlen
        self._epochs = LocalEpochs(Path(data_dir) / "epochs.json")
        self._spool = Spool(Path(data_dir) / "spool", max_bytes=spool_bytes)
        self._events = EventLog(self._spool, self._clock, maxlen=events_maxlen)
        self._link = Link(url, self._clock, self._bring, timeout_s=timeout_s)
        self._states: dict[str, dict[str, str]] = {}  # not yet in Redis
        self._states_lock = threading.Lock()
        self._video = VideoLog(self._try)
        self._listeners: list[ControlListener] = []
        self._started_wall_ns = self._clock.wall_ns()
        self.results_written = 0
        self.results_dropped = 0

    def open(self) -> None:
        """Connect; brings what an earlier run left in the spool first. Redis may be away."""
        self._link.open()

    def close(self) -> None:
        """End the threads and connections. What is in the spool stays for the next run."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._link.close()
        self._spool.close()

    def __enter__(self) -> RedisSink:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def up(self) -> bool:
        """Whether Redis answered the last call."""
        return self._link.up

    def counts(self) -> dict[str, int]:
        """What became of all that was given to this sink, since it was made; `events_waiting` are in the spool now."""
        return {
            "results_written": self.results_written,
            "results_dropped": self.results_dropped,
            "events_written": self._events.written,
            "events_spooled": self._events.spooled,
            "events_replayed": self._events.replayed,
            "events_duplicate": self._events.duplicates,
            "events_lost": self._events.lost,
            "events_waiting": self._events.waiting,
            "packets_written": self._video.written,
            "packets_dropped": self._video.dropped,
            "outages": self._link.losses,
        }

    # ------------------------------------------------------------------------------------------------ results

    def publish(
        self,
        results: Sequence[Result] = (),
        events: Sequence[Event] = (),
        states: Sequence[StateUpdate] = (),
    ) -> None:
        """Results and states in one round trip, events in a second if there are any (they are rare)."""
        for stream, state, fields in states:
            self._keep_state(stream, state, fields)
        if not self._link.up:
            self.results_dropped += len(results)
        elif results or states:
            self._write(results)
        if events:
            self._events.emit(self._link, events)

    def emit_results(self, results: Sequence[Result]) -> None:
        self.publish(results=results)

    def emit_events(self, events: Sequence[Event]) -> None:
        self.publish(events=events)

    def emit_state(self, stream: str, state: StreamState, fields: Mapping[str, str]) -> None:
        """`fields` replace those of their names, the others stay; a stream that runs has no error."""
        self.publish(states=[(stream, state, fields)])

    def _write(self, results: Sequence[Result]) -> None:
        pipe = self._link.client.pipeline(transaction=False)
        sent = 0
        for result in results:
            try:
                data = encode_result(result)
            except WireError as error:
                self.results_dropped += 1
                log.error("a result is dropped: %s", error)
                continue
            key = keys.results(result.ref.stream)
            pipe.execute_command(  # type: ignore[no-untyped-call]
                "XADD", key, "MAXLEN", "~", self._results_maxlen, "*", "data", data
            )
            sent += 1
        states = self._take_states()
        _hset_states(pipe, states)
        try:
            answers = pipe.execute(raise_on_error=False)
        except redis.RedisError as error:
            self._link.lost(error)
            self.results_dropped += sent
            self._put_back(states)
            return
        failed = [answer for answer in answers[:sent] if isinstance(answer, Exception)]
        self.results_written += sent - len(failed)
        self.results_dropped += len(failed)
        if failed:
            log.warning("redis refused %d results: %s", len(failed), failed[0])
        refused = [isinstance(answer, Exception) for answer in answers[sent:]]
        self._put_back({stream: states[stream] for stream, no in zip(states, refused, strict=True) if no})

    # ------------------------------------------------------------------------------------------------- states

    def _keep_state(self, stream: str, state: StreamState, fields: Mapping[str, str]) -> None:
        clear = {"error_code": "", "error": ""} if state is StreamState.RUNNING else {}
        now = {"state": str(state), "updated_wall_ns": str(self._clock.wall_ns())}
        with self._states_lock:
            self._states.setdefault(stream, {}).update({**clear, **fields, **now})

    def _take_states(self) -> dict[str, dict[str, str]]:
        with self._states_lock:
            states, self._states = self._states, {}
            return states

    def _put_back(self, states: Mapping[str, dict[str, str]]) -> None:
        with self._states_lock:
            for stream, fields in states.items():
                self._states[stream] = {**fields, **self._states.get(stream, {})}

    def forget(self, stream: str) -> None:
        """The stream is no more: remove its state, results and packets. Events and the epoch stay."""
        with self._states_lock:
            self._states.pop(stream, None)
        gone = (keys.state(stream), keys.results(stream), *self._video.forget(stream))
        self._try(lambda client: client.delete(*gone))

    def heartbeat(self, fields: Mapping[str, str]) -> None:
        """Say in sl:worker that this process lives; `fields` such as backend and metrics (JSON) go with it."""
        beat: dict[Any, Any] = {
            **fields,
            "pid": str(os.getpid()),
            "started_wall_ns": str(self._started_wall_ns),
            "heartbeat_wall_ns": str(self._clock.wall_ns()),
        }
        self._try(lambda client: client.hset(keys.WORKER, mapping=beat))

    # ------------------------------------------------------------------------------------------------- epochs

    def next_epoch(self, stream: str) -> int:
        """A number that this stream never had. Raises StoreError only if it cannot be written down here."""
        given = self._epochs.newest(stream)
        epoch: Any = self._try(lambda client: client.eval(_NEXT_EPOCH, 1, keys.epoch(stream), str(given)))
        if epoch is None:
            return self._epochs.next(stream)
        self._epochs.keep(stream, int(epoch))
        return int(epoch)

    # ------------------------------------------------------------------------------------------------ viewers

    def write_packet(
        self,
        stream: str,
        data: bytes,
        key: bool,
        pts90k: int,
        epoch: int,
        seq: int,
        wall_ns: int,
        codec: str = "h264",
    ) -> None:
        """One packet for viewers; see VideoLog."""
        self._video.write(stream, codec, data, key, pts90k, epoch, seq, wall_ns)

    def watched(self, streams: Iterable[str], codec: str = "h264") -> set[str]:
        """Those of `streams` that somebody watches now in this codec; none while Redis is away."""
        return self._video.watched(list(streams), codec)

    def listen(self, callback: Callable[[Mapping[str, Any]], None]) -> ControlListener:
        """Hear sl:control until `close`; see ControlListener."""
        listener = ControlListener(self._url, self._clock, callback)
        self._listeners.append(listener)
        return listener

    # ------------------------------------------------------------------------------------------------- outage

    def _try(self, call: Callable[[redis.Redis], Any]) -> Any:
        """What Redis answers; None if it is away or refuses."""
        if not self._link.up:
            return None
        try:
            return call(self._link.client)
        except redis.ResponseError as error:
            log.warning("redis refused: %s", error)
        except redis.RedisError as error:
            self._link.lost(error)
        return None

    def _bring(self) -> None:
        """The link is up: what was held back goes first. Raises RedisError."""
        client = self._link.client
        epochs = self._epochs.all()
        if epochs:
            pipe = client.pipeline(transaction=False)
            for stream, epoch in epochs.items():
                pipe.eval(_RAISE_EPOCH, 1, keys.epoch(stream), str(epoch))
            pipe.execute()
        states = self._take_states()
        try:
            pipe = client.pipeline(transaction=False)
            _hset_states(pipe, states)
            pipe.execute()
        except redis.RedisError:
            self._put_back(states)
            raise
        self._events.drain(self._link)


def _hset_states(pipe: redis.Redis, states: Mapping[str, Mapping[Any, Any]]) -> None:
    for stream, fields in states.items():
        pipe.hset(keys.state(stream), mapping=fields)
