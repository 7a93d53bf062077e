"""Which frames go now? `decide` answers as a pure function of who waits and what time it is; `Batcher` only waits.

A batch leaves when it is full, or when its oldest frame has waited `max_queue_delay` since it arrived (not since
somebody looked), or at once when nobody else could join: every stream that is not in flight is already in it. Streams
take turns: who went longest ago goes first, so one that always has frames cannot crowd out one that seldom has.

A staged engine has two kinds of batch. `look` needs no state: frames go to it ahead of their turn, on any lane.
`follow` needs it: one frame per stream, in order, and before any more looking, because it is what results wait for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from streamer.channel import Channel
from streamer.clock import Clock
from streamer.ports import Tensors
from streamer.types import Frame

S = TypeVar("S")

# Frames of files that are looked at together: on a CPU, four at once cost an eighth less than four alone.
LOOK_BATCH = 4


@dataclass(frozen=True, slots=True)
class Waiting:
    """One attached stream as `decide` sees it. `arrived_ns` is that of its oldest frame, None where none waits."""

    arrived_ns: int | None
    frames: int
    busy: bool  # in flight: it neither goes nor is waited for
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

    A busy stream never goes, whatever the task: so its results come out in the order of its frames.
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


class Stage(StrEnum):
    """What a batch is for."""

    WHOLE = "whole"  # the engine is one piece
    LOOK = "look"
    FOLLOW = "follow"


@dataclass(slots=True, eq=False)
class Pending:
    """One frame on its way through the lanes. `looked` is what `look` said of it (no batch dimension)."""

    frame: Frame
    dequeued_ns: int
    started_ns: int = 0
    looked: Tensors | None = None


@dataclass(slots=True, eq=False)
class Slot(Generic[S]):
    """One epoch of one stream: its channel, and the task's state, which waits here between frames.

    `ahead` are the frames that are looked at before their turn, in order. All but `channel` is guarded by the batcher.
    """

    stream: str
    epoch: int
    channel: Channel[Frame]
    state: S
    live: bool = True
    busy: bool = False  # a frame is where the state is needed
    turn: int = 0
    ahead: deque[Pending] = field(default_factory=deque)
    attached: bool = False

    @property
    def empty(self) -> bool:
        return not self.busy and not self.ahead and len(self.channel) == 0

    def for_whole(self) -> Waiting:
        head = self.channel.peek()
        return Waiting(None if head is None else head.decoded_ns, len(self.channel), self.busy, self.turn)

    def for_look(self, most_ahead: int) -> Waiting:
        head, room = self.channel.peek(), most_ahead - len(self.ahead)
        if head is None:  # who has frames on the way is not waited for
            return Waiting(None, 0, self.busy or bool(self.ahead), self.turn)
        return Waiting(head.decoded_ns, min(len(self.channel), room), room <= 0, self.turn)

    def for_follow(self) -> Waiting:
        if self.busy or not self.ahead or self.ahead[0].looked is None:
            return Waiting(None, 0, True, self.turn)
        return Waiting(self.ahead[0].frame.decoded_ns, 1, False, self.turn)


@dataclass(frozen=True, slots=True)
class Batch(Generic[S]):
    """Work for one lane; given back with `Batcher.looked` or `Batcher.done`."""

    stage: Stage
    items: Sequence[tuple[Slot[S], Pending]]


class Batcher(Generic[S]):
    """Lets `lanes` threads take batches from the attached slots. All methods are thread-safe.

    With several lanes a batch is at most each lane's share of the streams, so that one lane's inference overlaps the
    other's Python instead of one lane taking everybody and the other starving.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_batch_size: int,
        max_delay_s: float,
        stateful: bool,
        staged: bool = False,
        lanes: int = 1,
    ) -> None:
        if max_batch_size < 1 or lanes < 1 or max_delay_s < 0:
            raise ValueError(f"max_batch_size {max_batch_size}, lanes {lanes}, max_delay_s {max_delay_s}")
        self._clock = clock
        self._max_batch_size = max_batch_size
        self._max_delay_ns = int(max_delay_s * 1e9)
        self._stateful = stateful
        self._staged = staged
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
            slot.turn, slot.attached = self._turn, True
            self._slots.append(slot)
            self._work.notify()

    def detach(self, slot: Slot[S]) -> list[Frame]:
        """The slot takes part no more. Gives the frames that were looked at in vain; those in flight go on."""
        with self._lock:
            if slot.attached:
                slot.attached = False
                self._slots.remove(slot)
            self._work.notify_all()  # who was waited for may be gone
            left = [pending for pending in slot.ahead if pending.looked is not None]
            for pending in left:
                slot.ahead.remove(pending)
            return [pending.frame for pending in left]

    def wake(self) -> None:
        """Something arrived: let a lane look again."""
        with self._lock:
            self._work.notify()

    def take(self) -> Batch[S] | None:
        """The next batch, waiting for it; its frames are in flight until given back. None once closed."""
        with self._lock:
            while not self._closed:
                now_ns = self._clock.monotonic_ns()
                wake_at_ns: int | None = None
                for stage in (Stage.FOLLOW, Stage.LOOK) if self._staged else (Stage.WHOLE,):
                    decision = self._decide(stage, now_ns)
                    if decision and (items := self._pick(stage, decision, now_ns)):
                        self._work.notify()  # what is left may be enough for another lane
                        return Batch(stage, items)
                    if decision:
                        wake_at_ns = now_ns  # a source closed between the look and the pick: ask again
                    elif decision.wake_at_ns is not None:
                        wake_at_ns = decision.wake_at_ns
                self._work.wait(None if wake_at_ns is None else max(0, wake_at_ns - now_ns) / 1e9)
            return None

    def looked(self, batch: Batch[S], said: Sequence[Tensors] | None) -> list[Frame]:
        """Give a `look` batch back with what was said of each frame; None: it failed, and the frames are forgotten.

        Gives the frames whose stream was detached meanwhile: nobody will follow them.
        """
        vain: list[Frame] = []
        with self._lock:
            for i, (slot, pending) in enumerate(batch.items):
                if said is not None:
                    pending.looked = said[i]
                if said is None or not slot.attached:
                    slot.ahead.remove(pending)
                    vain += [pending.frame] if said is not None else []
            self._work.notify()
            self._idle.notify_all()
        return vain

    def done(self, batch: Batch[S]) -> None:
        """Give any other batch back: the next frames of its streams may go."""
        with self._lock:
            for slot, _ in batch.items:
                slot.busy = False
            self._work.notify()
            self._idle.notify_all()

    def wait_empty(self, slot: Slot[S], timeout_s: float) -> bool:
        """Wait until nothing of the slot waits or is in flight; False after `timeout_s`."""
        with self._lock:
            return self._idle.wait_for(lambda: slot.empty, timeout_s)

    def close(self) -> None:
        """`take` gives None from now on."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    def _decide(self, stage: Stage, now_ns: int) -> Decision:
        if stage is Stage.FOLLOW:  # it has waited before it was looked at: whoever is ready goes
            waiting = [slot.for_follow() for slot in self._slots]
            return decide(waiting, now_ns, limit=self._max_batch_size, max_delay_ns=0, stateful=True)
        n = max(1, len(self._slots))
        if stage is Stage.WHOLE:
            waiting = [slot.for_whole() for slot in self._slots]
            limit = -(-n // self._lanes) if self._stateful else self._max_batch_size
        else:
            # Live: as few ahead as keep all lanes busy, since what was looked at can no longer give way to the newer.
            # Files have time: they go several at once, and another batch waits for the lane that is free next.
            needed = -(-(self._lanes + 1) // n)
            files = max(needed, -(-2 * LOOK_BATCH // n), 2)
            waiting = [slot.for_look(needed if slot.live else files) for slot in self._slots]
            limit = max(-(-n // self._lanes), LOOK_BATCH if any(not slot.live for slot in self._slots) else 1)
        return decide(
            waiting,
            now_ns,
            limit=min(self._max_batch_size, limit),
            max_delay_ns=self._max_delay_ns,
            stateful=self._stateful and stage is Stage.WHOLE,
        )

    def _pick(self, stage: Stage, decision: Decision, now_ns: int) -> list[tuple[Slot[S], Pending]]:
        items: list[tuple[Slot[S], Pending]] = []
        for slot, count in zip(self._slots, decision.go, strict=True):
            for _ in range(count):
                if stage is Stage.FOLLOW:
                    items.append((slot, slot.ahead.popleft()))
                    slot.busy = True
                    continue
                frame = slot.channel.take()
                if frame is None:  # its source closed it since `decide` looked
                    break
                pending = Pending(frame, now_ns)
                items.append((slot, pending))
                self._turn += 1
                slot.turn = self._turn
                if stage is Stage.LOOK:
                    slot.ahead.append(pending)
                else:
                    slot.busy = True
        return items
