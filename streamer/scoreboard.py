"""Scores streams whose source knows the truth, on a thread of its own: neither lanes nor publisher wait for it.

It begins with the first frame that brings its truth; a worker without such streams has no thread and no measure. What
comes faster than it can be scored pushes the oldest out and is counted. New numbers are made every REFRESH_S, or more
seldom where making them costs more than a REST-th of the time.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from streamer.accuracy import Accuracy
from streamer.channel import Channel, DropReason, Overflow
from streamer.clock import Clock
from streamer.errors import Closed
from streamer.ports import Measure
from streamer.types import Event, Result

log = logging.getLogger(__name__)

REFRESH_S = 2.0
REST = 50
CAPACITY = 64
AT_ONCE = 16
MOST_EVENTS = 256

Scored = tuple[Result, Sequence[Event]]


@dataclass(slots=True)
class _Board:
    """What is kept of one stream. `measure` is of `epoch`; `before` are the totals of the epochs before."""

    epoch: int
    measure: Measure
    switches_before: int = 0
    scored_before: int = 0
    due_ns: int = 0
    latest: Accuracy | None = None


@dataclass(slots=True)
class _Left:
    """Of one stream: how many frames were pushed out, and the events told of them, to be judged on the next frame."""

    frames: int = 0
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))


class Scoreboard:
    """A `Scorer`. `see`, `finish` and `forget` are called by the publishing thread, `accuracy` by any."""

    def __init__(self, measure_for: Callable[[], Measure], clock: Clock, *, capacity: int = CAPACITY) -> None:
        self._measure_for, self._clock = measure_for, clock
        self._channel: Channel[Scored] = Channel(capacity, Overflow.DROP_OLDEST, on_drop=self._pushed_out)
        self._boards: dict[str, _Board] = {}
        self._left: dict[str, _Left] = {}
        self._over: dict[str, int] = {}  # the newest epoch that has ended
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._broken: set[tuple[str, int]] = set()

    def see(self, result: Result, events: Sequence[Event]) -> None:
        """One result with its truth; starts the thread when the first one comes."""
        try:
            self._channel.put((result, events))
        except Closed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="scoreboard", daemon=True)
            self._thread.start()

    def finish(self, stream: str, epoch: int) -> None:
        """The epoch's numbers are no longer of now; the totals stay."""
        with self._lock:
            self._over[stream] = max(epoch, self._over.get(stream, 0))
            board = self._boards.get(stream)
            if board is not None and board.epoch <= epoch:
                board.latest = None

    def forget(self, stream: str) -> None:
        """Give the stream up."""
        with self._lock:
            for kept in (self._boards, self._left, self._over):
                kept.pop(stream, None)

    def accuracy(self, stream: str) -> Accuracy | None:
        """The newest numbers; None for a stream without truth, one that has ended, and before the first."""
        with self._lock:
            board = self._boards.get(stream)
            if board is None or board.latest is None:
                return None
            return replace(board.latest, unscored_total=self._left.get(stream, _Left()).frames)

    def close(self, timeout_s: float) -> bool:
        """Stop, whatever waits. False if the thread did not end in time."""
        self._channel.close(discard=True)
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def score(self, items: Sequence[Scored]) -> None:
        """Compare these, and make new numbers where they are due. The thread's body; no thread needed."""
        for result, events in items:
            try:
                self._score(result, events)
            except Exception:
                # One complaint an epoch: what fails at one frame fails at the next.
                if (where := (result.ref.stream, result.ref.epoch)) not in self._broken:
                    self._broken.add(where)
                    log.exception("stream %s cannot be scored", result.ref.stream)

    def _run(self) -> None:
        while True:
            try:
                items = self._channel.get_many(AT_ONCE)
            except Closed:
                return
            self.score(items)

    def _score(self, result: Result, events: Sequence[Event]) -> None:
        ref, truth = result.ref, result.truth
        board = self._board_of(ref.stream, ref.epoch)
        if board is None or truth is None:
            return
        with self._lock:
            left = self._left.get(ref.stream)
            if left is not None:
                events = [*(event for event in left.events if event.epoch == ref.epoch), *events]
                left.events.clear()
        board.measure.add(result, truth, events)
        began_ns = self._clock.monotonic_ns()
        if began_ns < board.due_ns:
            return
        fresh = board.measure.accuracy()
        fresh = replace(
            fresh,
            switches_total=board.switches_before + fresh.switches_total,
            scored_total=board.scored_before + fresh.scored_total,
        )
        now_ns = self._clock.monotonic_ns()
        board.due_ns = now_ns + max(int(REFRESH_S * 1e9), REST * (now_ns - began_ns))
        with self._lock:
            if self._over.get(ref.stream, 0) < ref.epoch:
                board.latest = fresh

    def _board_of(self, stream: str, epoch: int) -> _Board | None:
        """The stream's board, begun anew with a new epoch; None for a straggler of an epoch that is over."""
        with self._lock:
            board = self._boards.get(stream)
            over = epoch <= self._over.get(stream, 0)
        if over or (board is not None and epoch < board.epoch):
            return None
        if board is not None and epoch == board.epoch:
            return board
        fresh = _Board(epoch, self._measure_for())  # takes its time when it is the worker's first
        if board is not None:
            last = board.measure.accuracy()
            fresh.switches_before = board.switches_before + last.switches_total
            fresh.scored_before = board.scored_before + last.scored_total
        with self._lock:
            self._boards[stream] = fresh
        return fresh

    def _pushed_out(self, scored: Scored, reason: DropReason) -> None:
        result, events = scored
        if reason is not DropReason.OVERFLOW:
            return
        with self._lock:
            left = self._left.setdefault(result.ref.stream, _Left())
            left.frames += 1
            left.events.extend(events)
