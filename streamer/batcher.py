"""Which frames go now? `decide` answers as a pure function of who waits and what time it is; `Batcher` only waits.

A batch leaves when it is full, or when its oldest frame has waited `max_queue_delay` since it arrived (not since
somebody looked), or at once when nobody else could join: every stream that is not in flight is already in it. Streams
take turns: who went longest ago goes first, so one that always has frames cannot crowd out one that seldom has.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from streamer.channel import Channel
from streamer.clock import Clock
from streamer.types import Frame

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Waiting:
    """One attached stream as `decide` sees it. `arrived_ns` is that of its oldest frame, None where none waits."""

    arrived_ns: int | None
    frames: int
    busy: bool  # frames of it are in flight
    turn: int  # when it last went; smaller is longer ago


@dataclass(frozen=True, slots=True)
class Decision:
    """`go[i]` is how many frames stream i sends now (all 0: nobody goes). Else ask again at `wake_at_ns`, or when
    something changes (None: only then)."""

    go: tuple[int, ...]
    wake_at_ns: int | None = None

    def __bool__(self) -> bool:
        return any(self.go)


def decide(
    waiting: Sequence[Waiting], now_ns: int, *, limit: int, max_delay_ns: int, stateful: bool
) -> Decision:
    """Who goes now, at most `limit` frames in all and, for a stateful task, one of each stream.

    A stream in flight never goes, whatever the task: so its results come out in the order of its frames.
    """
    go = [0] * len(waiting)
    oldest_ns: int | None = None
    somebody_may_join = False
    ready: list[int] = []
    for i, stream in enumerate(waiting):
        if stream.busy:
            continue
        if stream.arrived_ns is None:
            somebody_may_join = True
            continue
        ready.append(i)
        if oldest_ns is None or stream.arrived_ns < oldest_ns:
            oldest_ns = stream.arrived_ns
    if oldest_ns is None:
        return Decision(tuple(go))
    ready.sort(key=lambda i: (waiting[i].turn, waiting[i].arrived_ns))
    left = limit
    while left > 0 and ready:
        for i in ready[:left]:
            go[i] += 1
        left -= min(left, len(ready))
        ready = [] if stateful else [i for i in ready if go[i] < waiting[i].frames]
    if left > 0 and somebody_may_join and now_ns < oldest_ns + max_delay_ns:
        return Decision((0,) * len(waiting), oldest_ns + max_delay_ns)
    return Decision(tuple(go))


@dataclass(slots=True, eq=False)
class Slot(Generic[S]):
    """One stream's place in the batcher: its channel, and the task's state, which waits here between frames."""

    stream: str
    epoch: int
    channel: Channel[Frame]
    state: S
    busy: bool = field(default=False)
    turn: int = field(default=0)

    def seen(self) -> Waiting:
        """The slot as `decide` wants it."""
        head = self.channel.peek()
        return Waiting(
            arrived_ns=None if head is None else head.decoded_ns,
            frames=len(self.channel),
            busy=self.busy,
            turn=self.turn,
        )


class Batcher(Generic[S]):
    """Lets `lanes` threads take batches from the attached slots. All methods are thread-safe.

    With several lanes a stateful batch is at most each lane's share of the streams, so that one lane's inference
    overlaps the other's Python instead of one lane taking everybody and the other starving.
    """

    def __init__(
        self, clock: Clock, *, max_batch_size: int, max_delay_s: float, stateful: bool, lanes: int = 1
    ) -> None:
        if max_batch_size < 1 or lanes < 1 or max_delay_s < 0:
            raise ValueError(f"max_batch_size {max_batch_size}, lanes {lanes}, max_delay_s {max_delay_s}")
        self._clock = clock
        self._max_batch_size = max_batch_size
        self._max_delay_ns = int(max_delay_s * 1e9)
        self._stateful = stateful
        self._lanes = lanes
        self._slots: list[Slot[S]] = []
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._turn = 0
        self._closed = False

    def attach(self, slot: Slot[S]) -> None:
        """From now on the slot's frames take part."""
        with self._lock:
            self._turn += 1
            slot.turn = self._turn
            self._slots.append(slot)
            self._work.notify()

    def detach(self, slot: Slot[S]) -> None:
        """The slot takes part no more; frames of it in flight go on."""
        with self._lock:
            if slot in self._slots:
                self._slots.remove(slot)
            self._work.notify_all()  # who was waited for may be gone

    def wake(self) -> None:
        """Something arrived: let a lane look again."""
        with self._lock:
            self._work.notify()

    def take(self) -> list[tuple[Slot[S], Frame]] | None:
        """The next batch, waiting for it; its streams are in flight until `done`. None once closed."""
        with self._lock:
            while not self._closed:
                now_ns = self._clock.monotonic_ns()
                decision = decide(
                    [slot.seen() for slot in self._slots],
                    now_ns,
                    limit=self._limit(),
                    max_delay_ns=self._max_delay_ns,
                    stateful=self._stateful,
                )
                if decision:
                    batch = self._pick(decision)
                    if batch:
                        self._work.notify()  # what is left may be enough for another lane
                        return batch
                    continue
                wake = decision.wake_at_ns
                self._work.wait(None if wake is None else max(0, wake - now_ns) / 1e9)
            return None

    def done(self, batch: Sequence[tuple[Slot[S], Frame]]) -> None:
        """The batch's streams are in flight no more: their next frames may go."""
        with self._lock:
            for slot, _ in batch:
                slot.busy = False
            self._work.notify()
            self._idle.notify_all()

    def wait_empty(self, slot: Slot[S], timeout_s: float) -> bool:
        """Wait until nothing of the slot waits or is in flight; False after `timeout_s`."""
        with self._lock:
            return self._idle.wait_for(lambda: not slot.busy and len(slot.channel) == 0, timeout_s)

    def close(self) -> None:
        """`take` gives None from now on."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    def _limit(self) -> int:
        if not self._stateful:
            return self._max_batch_size
        share = -(-len(self._slots) // self._lanes)
        return max(1, min(self._max_batch_size, share))

    def _pick(self, decision: Decision) -> list[tuple[Slot[S], Frame]]:
        batch: list[tuple[Slot[S], Frame]] = []
        for slot, count in zip(self._slots, decision.go, strict=True):
            # A source may have closed its channel since `decide` looked; then fewer frames come, or none.
            for _ in range(count):
                frame = slot.channel.take()
                if frame is None:
                    break
                self._turn += 1
                slot.busy, slot.turn = True, self._turn
                batch.append((slot, frame))
        return batch
