"""The hot loop: frames of many streams through one engine.

    stream threads ─► a channel each ─► batcher ─► preprocess ─► infer ─► postprocess ─► publisher ─► rules, sinks

Start reading at `_answer`. A lane is a thread that takes a batch, answers it and takes the next; with two lanes, one's
inference (which releases the interpreter lock) overlaps the other's Python. A stream's tracker state waits in its slot
between frames, and the slot is free again as soon as the state is back: publishing happens elsewhere.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

from streamer.batcher import Batcher, Slot
from streamer.channel import Channel, DropReason, Overflow
from streamer.clock import Clock
from streamer.errors import Closed
from streamer.ledger import Fate, Ledger
from streamer.metrics import Metrics
from streamer.ports import Engine, Task
from streamer.publisher import EpochOver, Publisher
from streamer.types import Frame, Hw, Result, Timing

log = logging.getLogger(__name__)

S = TypeVar("S")

# A file's decoder may run ahead by this much while the engine is busy with others; a live source only by as much as
# hides a late lane, because every frame that waits here is latency.
FILE_CAPACITY = 4
LIVE_CAPACITY = 2


class Inlet(Generic[S]):
    """Where one epoch of one stream puts its frames in. Made by `Pipeline.attach`, used by the stream's thread."""

    def __init__(self, slot: Slot[S], batcher: Batcher[S], publisher: Publisher, ledger: Ledger) -> None:
        self._slot, self._batcher, self._publisher, self._ledger = slot, batcher, publisher, ledger

    def put(self, frame: Frame) -> None:
        """Hand a frame over: a file's waits for room, a live one pushes the oldest out. Raises Closed."""
        self._ledger.enter(frame.ref)
        try:
            self._slot.channel.put(frame)
        except Closed:
            self._ledger.end(frame.ref, Fate.DRAINED)
            raise

    def close(self, *, discard: bool = False) -> None:
        """No more frames; with `discard` those that wait end as drained. From any thread, more than once."""
        self._slot.channel.close(discard=discard)
        self._batcher.wake()

    def finish(self, timeout_s: float) -> bool:
        """Close, wait until every frame is answered, and tell the rules that the epoch is over.

        False if frames were still waiting after `timeout_s`: those are drained.
        """
        self.close()
        empty = self._batcher.wait_empty(self._slot, timeout_s)
        self.close(discard=True)
        self._batcher.detach(self._slot)
        self._publisher.put(EpochOver(self._slot.stream, self._slot.epoch))
        return empty


class Pipeline(Generic[S]):
    """One engine, its task, and the lanes that run them. The caller owns the engine and the publisher."""

    def __init__(
        self,
        engine: Engine,
        task: Task[S],
        publisher: Publisher,
        *,
        ledger: Ledger,
        metrics: Metrics,
        clock: Clock,
        lanes: int = 1,
        max_batch_size: int = 8,
        max_queue_delay_s: float = 0.02,
    ) -> None:
        spec = engine.spec
        self._engine, self._task, self._publisher = engine, task, publisher
        self._ledger, self._metrics, self._clock = ledger, metrics, clock
        self._model = spec.name
        self._provenance = {
            "model": spec.name,
            "engine": spec.digest,
            "backend": spec.backend,
            "precision": spec.precision,
        }
        self._batcher: Batcher[S] = Batcher(
            clock,
            max_batch_size=min(max_batch_size, spec.max_batch_size),
            max_delay_s=max_queue_delay_s,
            stateful=task.stateful,
            lanes=lanes,
        )
        self._lanes = [
            threading.Thread(target=self._lane, name=f"lane-{spec.name}-{i}", daemon=True)
            for i in range(lanes)
        ]

    @property
    def input_hw(self) -> Hw:
        return self._task.input_hw

    @property
    def model(self) -> str:
        return self._model

    @property
    def backend(self) -> str:
        return self._provenance["backend"]

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    def attach(self, stream: str, epoch: int, *, live: bool) -> Inlet[S]:
        """A fresh inlet, with the task's initial state, for a new epoch of a stream."""

        def dropped(frame: Frame, reason: DropReason) -> None:
            if reason is DropReason.CLOSED:
                self._ledger.end(frame.ref, Fate.DRAINED)
            else:
                self._ledger.end(frame.ref, Fate.DROPPED, reason)

        channel: Channel[Frame] = Channel(
            LIVE_CAPACITY if live else FILE_CAPACITY,
            Overflow.DROP_OLDEST if live else Overflow.BLOCK,
            on_drop=dropped,
            on_put=self._batcher.wake,
        )
        slot = Slot(stream, epoch, channel, self._task.initial_state())
        self._batcher.attach(slot)
        return Inlet(slot, self._batcher, self._publisher, self._ledger)

    def close(self, timeout_s: float) -> bool:
        """Stop the lanes after the batch they are at. False if one is still at it after `timeout_s`."""
        self._batcher.close()
        until_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        for lane in self._lanes:
            if lane.is_alive():
                lane.join(max(0.0, (until_ns - self._clock.monotonic_ns()) / 1e9))
        return not any(lane.is_alive() for lane in self._lanes)

    def _lane(self) -> None:
        while (batch := self._batcher.take()) is not None:
            try:
                results = self._answer(batch)
            except Exception as error:
                self._fail(batch, error)
            else:
                self._hand_on(results)
            finally:
                self._batcher.done(batch)

    def _answer(self, batch: Sequence[tuple[Slot[S], Frame]]) -> list[Result]:
        now = self._clock.monotonic_ns
        dequeued_ns = now()
        frames = [frame for _, frame in batch]
        states = [slot.state for slot, _ in batch]

        inputs = self._task.preprocess(frames, states)
        infer_start_ns = now()
        outputs = self._engine.infer(inputs)
        infer_end_ns = now()
        answers = self._task.postprocess(outputs, frames, states)
        done_ns = now()

        results = []
        for (slot, frame), (payload, state) in zip(batch, answers, strict=True):
            slot.state = state
            timing = Timing(
                frame.ref.captured_ns, frame.decoded_ns, dequeued_ns, infer_start_ns, infer_end_ns, done_ns
            )
            results.append(Result(frame.ref, frame.source_hw, payload, timing, self._provenance))
        self._metrics.engine.observe((infer_end_ns - infer_start_ns) / 1e9, self._model)
        self._metrics.batch.observe(len(batch), self._model)
        return results

    def _hand_on(self, results: Sequence[Result]) -> None:
        for result in results:
            try:
                self._publisher.put(result)
            except Closed:
                self._ledger.end(result.ref, Fate.DRAINED)

    def _fail(self, batch: Sequence[tuple[Slot[S], Frame]], error: Exception) -> None:
        """These frames have no answer; their streams keep the state they had, and everybody goes on."""
        self._metrics.errors.add(1, "engine")
        log.error("no answer for %s: %s", ", ".join(f.ref.key for _, f in batch), error, exc_info=error)
        for _, frame in batch:
            self._ledger.end(frame.ref, Fate.FAILED, type(error).__name__)
