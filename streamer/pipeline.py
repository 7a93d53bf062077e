"""The hot loop: frames of many streams through one engine.

    stream threads ─► a channel each ─► batcher ─► preprocess ─► infer ─► postprocess ─► publisher ─► rules, sinks

Start reading at `_lane`. A lane is a thread that takes a batch, works on it and takes the next; with two lanes, one's
inference (which releases the interpreter lock) overlaps the other's Python. A stream's tracker state waits in its slot
between frames, and the slot is free again as soon as the state is back: publishing happens elsewhere. Where the engine
comes in two stages, the first, which needs no state, runs ahead: so even one stream keeps two lanes busy.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.batcher import Batch, Batcher, Pending, Slot, Stage
from streamer.channel import Channel, DropReason, Overflow
from streamer.clock import Clock
from streamer.errors import Closed
from streamer.ledger import Fate, Ledger
from streamer.metrics import Metrics
from streamer.ports import Engine, Recorder, StagedEngine, StagedTask, Task, Tensors
from streamer.publisher import EpochOver, Publisher
from streamer.types import Fit, Frame, Hw, Result, Timing

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
        """Close, wait until every frame is answered, tell the rules that the epoch is over, and wait until that is out.

        False if frames were still waiting after `timeout_s`: those are drained.
        """
        self.close()
        empty = self._batcher.wait_empty(self._slot, timeout_s)
        self.close(discard=True)
        for frame in self._batcher.detach(self._slot):
            self._ledger.end(frame.ref, Fate.DRAINED)
        with contextlib.suppress(Closed):
            self._publisher.put(EpochOver(self._slot.stream, self._slot.epoch))
            self._publisher.flush(timeout_s)
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
        recorder: Recorder | None = None,
    ) -> None:
        spec = engine.spec
        self._engine, self._task, self._publisher = engine, task, publisher
        self._stages: tuple[StagedEngine, StagedTask[S]] | None = None
        if task.stateful and isinstance(engine, StagedEngine) and isinstance(task, StagedTask):
            self._stages = engine, task
        self._ledger, self._metrics, self._clock = ledger, metrics, clock
        self._recorder = recorder
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
            staged=self._stages is not None,
            lanes=lanes,
        )
        self._began_ns: dict[int, int] = {}
        self._lanes = [
            threading.Thread(target=self._lane, name=f"lane-{spec.name}-{i}", daemon=True)
            for i in range(lanes)
        ]

    @property
    def input_hw(self) -> Hw:
        return self._task.input_hw

    @property
    def fit(self) -> Fit:
        """How a source's picture is to be laid into `input_hw`."""
        return self._task.fit

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
        slot = Slot(stream, epoch, channel, self._task.initial_state(), live)
        self._batcher.attach(slot)
        return Inlet(slot, self._batcher, self._publisher, self._ledger)

    def at_one_batch_s(self) -> float:
        """For how long the slowest lane has been at its present batch, in seconds; 0 if all wait."""
        now_ns = self._clock.monotonic_ns()
        return max((now_ns - began for began in list(self._began_ns.values())), default=0) / 1e9

    def close(self, timeout_s: float) -> bool:
        """Stop the lanes after the batch they are at. False if one is still at it after `timeout_s`."""
        self._batcher.close()
        until_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        for lane in self._lanes:
            if lane.is_alive():
                lane.join(max(0.0, (until_ns - self._clock.monotonic_ns()) / 1e9))
        return not any(lane.is_alive() for lane in self._lanes)

    def _lane(self) -> None:
        lane = threading.get_ident()
        while (batch := self._batcher.take()) is not None:
            self._began_ns[lane] = self._clock.monotonic_ns()
            self._work(batch)
            del self._began_ns[lane]

    def _work(self, batch: Batch[S]) -> None:
        if batch.stage is Stage.LOOK:
            self._look(batch)
            return
        try:
            results = self._answer(batch)
        except Exception as error:
            self._fail(batch, error)
        else:
            self._hand_on(results)
        finally:
            self._batcher.done(batch)

    def _answer(self, batch: Batch[S]) -> list[Result]:
        now = self._clock.monotonic_ns
        frames = [pending.frame for _, pending in batch.items]
        states = [slot.state for slot, _ in batch.items]
        if batch.stage is Stage.FOLLOW:
            outputs = self._follow([pending for _, pending in batch.items], states)
        else:
            inputs = self._task.preprocess(frames, states)
            start_ns = now()
            for _, pending in batch.items:
                pending.started_ns = start_ns
            outputs = self._timed(self._engine, inputs, self._model)
        infer_end_ns = now()
        answers = self._task.postprocess(outputs, frames, states)
        done_ns = now()
        results = []
        for (slot, pending), (payload, state) in zip(batch.items, answers, strict=True):
            frame = pending.frame
            if self._recorder is not None:
                self._recorder.keep(frame, slot.state, state, payload)
            slot.state = state
            timing = Timing(
                frame.ref.captured_ns,
                frame.decoded_ns,
                pending.dequeued_ns,
                pending.started_ns,
                infer_end_ns,
                done_ns,
            )
            results.append(Result(frame.ref, frame.source_hw, payload, timing, self._provenance, frame.truth))
        return results

    def _look(self, batch: Batch[S]) -> None:
        assert self._stages is not None
        engine, task = self._stages
        try:
            inputs = task.look_inputs([pending.frame for _, pending in batch.items])
            start_ns = self._clock.monotonic_ns()
            for _, pending in batch.items:
                pending.started_ns = start_ns
            outputs = self._timed(engine.look, inputs, f"{self._model}/look")
            said = [{name: rows[i] for name, rows in outputs.items()} for i in range(len(batch.items))]
        except Exception as error:
            self._batcher.looked(batch, None)
            self._fail(batch, error)
        else:
            for frame in self._batcher.looked(batch, said):
                self._ledger.end(frame.ref, Fate.DRAINED)

    def _follow(self, pendings: Sequence[Pending], states: Sequence[S]) -> Tensors:
        """Both stages' outputs for frames that were looked at before."""
        assert self._stages is not None
        engine, task = self._stages
        looked = [pending.looked for pending in pendings if pending.looked is not None]
        wanted = {tensor.name for tensor in engine.follow.spec.inputs}
        taken = [{name: row for name, row in one.items() if name in wanted} for one in looked]
        inputs = task.follow_inputs(taken, [pending.frame for pending in pendings], states)
        outputs = self._timed(engine.follow, inputs, f"{self._model}/follow")
        kept = [name for name in looked[0] if name not in wanted]
        return {**outputs, **{name: _rows([one[name] for one in looked]) for name in kept}}

    def _timed(self, engine: Engine, inputs: Tensors, model: str) -> Tensors:
        start_ns = self._clock.monotonic_ns()
        outputs = engine.infer(inputs)
        self._metrics.engine.observe((self._clock.monotonic_ns() - start_ns) / 1e9, model)
        self._metrics.batch.observe(len(next(iter(inputs.values()))), model)
        return outputs

    def _hand_on(self, results: Sequence[Result]) -> None:
        for result in results:
            try:
                self._publisher.put(result)
            except Closed:
                self._ledger.end(result.ref, Fate.DRAINED)

    def _fail(self, batch: Batch[S], error: Exception) -> None:
        """These frames have no answer; their streams keep the state they had, and everybody goes on."""
        self._metrics.errors.add(1, "engine")
        names = ", ".join(pending.frame.ref.key for _, pending in batch.items)
        log.error("no answer for %s: %s", names, error, exc_info=error)
        for _, pending in batch.items:
            self._ledger.end(pending.frame.ref, Fate.FAILED, type(error).__name__)


def _rows(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One array of B rows; a single row is not copied (mask features are nearly a megabyte)."""
    return rows[0][None] if len(rows) == 1 else np.stack(rows)
