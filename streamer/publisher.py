"""Results to rules to sinks, on a thread of its own: the engine never waits for JSON or for Redis.

One publisher serves all pipelines of a worker. What comes in goes out in order, several at a time, so that a busy
worker needs few round trips. A frame is `emitted` in the ledger once its result was handed to the sink.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamer.accuracy import Accuracy
from streamer.channel import Channel
from streamer.clock import Clock
from streamer.errors import Closed
from streamer.ledger import Fate, Ledger
from streamer.metrics import Metrics
from streamer.ports import EventSink, ResultSink, Scorer
from streamer.rules.rule import Occupied, Rule
from streamer.types import Event, EventKind, Result

log = logging.getLogger(__name__)

# Results that may wait for the sinks before the lanes are held back; at 200 frames/s more than a second.
CAPACITY = 256
AT_ONCE = 64
FPS_WINDOW_S = 5.0


@dataclass(frozen=True, slots=True)
class EpochOver:
    """All results of this epoch are in: rules may finish."""

    stream: str
    epoch: int


Item = Result | Event | EpochOver | Callable[[], None]


@dataclass(frozen=True, slots=True)
class StreamPace:
    """How a stream does lately: results per second, capture-to-published latency, when the last frame was.

    `last_frame_wall_ns` is by this host's clock, for a camera's own may be an hour off. `accuracy` is known where the
    source knows the truth; `inside` is how many objects are in which zone now.
    """

    fps: float
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    last_frame_wall_ns: int | None
    accuracy: Accuracy | None = None
    inside: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Follow:
    """What is kept of one stream between results."""

    epoch: int = -1
    over: bool = False
    rule_states: list[Any] = field(default_factory=list)
    done_ns: deque[int] = field(default_factory=lambda: deque(maxlen=2048))
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=256))
    last_wall_ns: int | None = None


class Publisher:
    """Owns the rules' state of every stream. `put` may block while the sinks are slow; it never drops."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        results: ResultSink,
        events: EventSink,
        ledger: Ledger,
        metrics: Metrics,
        clock: Clock,
        scorer: Scorer | None = None,
    ) -> None:
        self._rules = tuple(rules)
        self._results = results
        self._events = events
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._scorer = scorer
        self._channel: Channel[Item] = Channel(CAPACITY)
        self._follows: dict[str, _Follow] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over a result, an event or the end of an epoch; raises Closed after `close`."""
        self._channel.put(item)

    def close(self, timeout_s: float) -> bool:
        """Publish what waits, then stop. False if that took longer than `timeout_s`."""
        self._channel.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def pace(self, stream: str) -> StreamPace:
        """The stream's rate over the last seconds and latencies of its last frames."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            follow = self._follows.get(stream, _Follow())
            done_ns = list(follow.done_ns)
            latencies = list(follow.latencies_ms)
            last = follow.last_wall_ns
            states = list(follow.rule_states)  # values, whatever the publishing thread makes of them next
        since_ns = now_ns - int(FPS_WINDOW_S * 1e9)
        lately = [t for t in done_ns if t >= since_ns]
        # A stream younger than the window is judged by its own age; one result is no rate.
        known_s = (
            FPS_WINDOW_S if len(lately) < len(done_ns) else (now_ns - done_ns[0]) / 1e9 if done_ns else 0
        )
        fps = len(lately) / known_s if len(lately) > 1 and known_s > 0 else 0.0
        p50, p95 = np.percentile(latencies, [50, 95]).tolist() if latencies else (None, None)
        accuracy = None if self._scorer is None else self._scorer.accuracy(stream)
        inside = {
            zone: objects
            for rule, state in zip(self._rules, states, strict=False)
            if isinstance(rule, Occupied)
            for zone, objects in rule.inside(state).items()
        }
        return StreamPace(fps, p50, p95, last, accuracy, inside)

    def forget(self, stream: str) -> None:
        """The stream was removed; its state is given up."""
        with self._lock:
            self._follows.pop(stream, None)
        if self._scorer is not None:
            self._scorer.forget(stream)

    def after_all(self, then: Callable[[], None]) -> None:
        """Call `then` on the publishing thread once everything put in before is out; not at all if closed."""
        with contextlib.suppress(Closed):
            self._channel.put(then)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was put in before is out; False after `timeout_s`, or if closed."""
        out = threading.Event()
        try:
            self._channel.put(out.set)
        except Closed:
            return False
        return out.wait(max(0.0, timeout_s))

    def publish(self, items: Sequence[Item]) -> None:
        """Run the rules over `items` and hand all that came of it to the sinks. The thread's body; no thread needed."""
        results: list[Result] = []
        events: list[Event] = []
        afterwards: list[Callable[[], None]] = []
        for item in items:
            if isinstance(item, Result):
                results.append(item)
                made = self._judge(item)
                events.extend(made)
                if item.truth is not None and self._scorer is not None:
                    self._scorer.see(item, made)
            elif isinstance(item, Event):
                events.append(item)
            elif isinstance(item, EpochOver):
                events.extend(self._finish(item))
                if self._scorer is not None:
                    self._scorer.finish(item.stream, item.epoch)
            else:
                afterwards.append(item)
        if results:
            self._guarded(self._results.emit_results, results, "result sink")
        if events:
            self._guarded(self._events.emit_events, events, "event sink")
        for event in events:
            self._metrics.events.add(1, event.stream, event.kind)
            if event.kind is EventKind.CROSS:
                way = event.attrs["direction"]
                self._metrics.line_crossings.add(1, event.stream, event.attrs["line"], way)
        self._account(results)
        for then in afterwards:
            try:
                then()
            except Exception:
                self._complain("publisher", "what was to follow failed")

    def _run(self) -> None:
        while True:
            try:
                items = self._channel.get_many(AT_ONCE)
            except Closed:
                return
            self.publish(items)

    def _judge(self, result: Result) -> list[Event]:
        ref = result.ref
        follow = self._follows.get(ref.stream)
        if follow is None:
            follow = self._follows[ref.stream] = _Follow()
        if ref.epoch > follow.epoch:
            follow.epoch, follow.over = ref.epoch, False
            follow.rule_states = [rule.initial_state() for rule in self._rules]
        if ref.epoch < follow.epoch or follow.over:
            return []  # a straggler of an epoch whose events are closed
        events: list[Event] = []
        for i, rule in enumerate(self._rules):
            try:
                follow.rule_states[i], happened = rule.step(follow.rule_states[i], result)
            except Exception:
                self._complain("rule", f"rule {type(rule).__name__} failed at {ref.key}")
            else:
                events.extend(happened)
        return events

    def _finish(self, end: EpochOver) -> list[Event]:
        follow = self._follows.get(end.stream)
        if follow is None or follow.epoch != end.epoch or follow.over:
            return []
        follow.over = True
        events: list[Event] = []
        for rule, state in zip(self._rules, follow.rule_states, strict=True):
            try:
                events.extend(rule.finish(state))
            except Exception:
                self._complain("rule", f"rule {type(rule).__name__} failed at the end of {end.stream}")
        follow.rule_states = []
        return events

    def _account(self, results: Sequence[Result]) -> None:
        now_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        with self._lock:
            for result in results:
                follow = self._follows[result.ref.stream]
                follow.done_ns.append(now_ns)
                follow.latencies_ms.append((now_ns - result.timing.captured_ns) / 1e6)
                follow.last_wall_ns = wall_ns - (now_ns - result.timing.captured_ns)
        for result in results:
            self._metrics.latency.observe((now_ns - result.timing.captured_ns) / 1e9, result.ref.stream)
            self._ledger.end(result.ref, Fate.EMITTED)

    def _guarded(self, emit: Any, batch: Sequence[Any], what: str) -> None:
        # Sinks promise not to raise; should one break its word, the thread that serves all streams must live on.
        try:
            emit(batch)
        except Exception:
            self._complain(what, f"{what} failed, {len(batch)} lost")

    def _complain(self, at: str, message: str) -> None:
        self._metrics.errors.add(1, at)
        log.exception("%s", message)
