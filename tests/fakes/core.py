"""Small stand-ins for the borders of the core: frames, an engine and a task of a few lines, sinks that keep."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from streamer.ports import EngineSpec, Tensors, TensorSpec
from streamer.types import (
    Detections,
    Event,
    Fit,
    Frame,
    FrameRef,
    Perception,
    Result,
    StreamState,
    Timing,
    Tracks,
)

LABELS = ("person", "car")


def ref(
    stream: str = "door", epoch: int = 1, seq: int = 0, *, fps: int = 10, captured_ns: int = 0
) -> FrameRef:
    wall_ns = 1_700_000_000_000_000_000 + seq * 1_000_000_000 // fps
    return FrameRef(stream, epoch, seq, seq, Fraction(1, fps), captured_ns, wall_ns)


def frame(stream: str = "door", epoch: int = 1, seq: int = 0, *, now_ns: int = 0) -> Frame:
    image = np.full((4, 6, 3), seq % 256, np.uint8)
    return Frame(ref(stream, epoch, seq, captured_ns=now_ns), image, (40, 60), now_ns)


def perception(track_ids: Sequence[int], *, label: int = 0, score: float = 0.9) -> Perception:
    n = len(track_ids)
    boxes = np.tile(np.array([1, 2, 11, 22], np.float32), (n, 1))
    found = Detections(boxes, np.full(n, score, np.float32), np.full(n, label, np.int64))
    return Perception(Tracks(found, np.array(track_ids, np.int64), np.ones(n, np.int64)), LABELS)


def result(track_ids: Sequence[int], stream: str = "door", epoch: int = 1, seq: int = 0, **kw: Any) -> Result:
    return Result(ref(stream, epoch, seq), (40, 60), perception(track_ids, **kw), Timing(0, 1, 2, 3, 4, 5))


class CountingTask:
    """State is how many frames of the stream were answered before; each frame is answered with that as a track id."""

    def __init__(self, *, stateful: bool = True) -> None:
        self.stateful = stateful
        self.input_hw = (4, 6)
        self.fit = Fit.STRETCH

    def initial_state(self) -> int:
        return 0

    def preprocess(self, frames: Sequence[Frame], states: Sequence[int]) -> dict[str, np.ndarray[Any, Any]]:
        return {"images": np.stack([f.image for f in frames]), "counts": np.array(states, np.int64)}

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[int]
    ) -> list[tuple[Perception, int]]:
        return [(perception([int(n)]), int(n)) for n in outputs["counts"]]


class AddingEngine:
    """Adds one to `counts`; `before(inputs)` runs first and may wait or raise."""

    def __init__(
        self, before: Callable[[Tensors], None] = lambda inputs: None, max_batch_size: int = 8
    ) -> None:
        self._before = before
        self.batches: list[int] = []
        images = TensorSpec("images", (-1, 4, 6, 3), np.dtype(np.uint8))
        self.spec = EngineSpec("adder", "numpy", "f32", "cpu", "d1", (images,), (), max_batch_size, {})

    def infer(self, inputs: Tensors) -> dict[str, np.ndarray[Any, Any]]:
        self._before(inputs)
        self.batches.append(len(inputs["counts"]))
        return {"counts": inputs["counts"] + 1}

    def close(self) -> None:
        pass


class StagedTask(CountingTask):
    """The same answers in two steps; what `look` says of a frame is its picture's first value."""

    def look_inputs(self, frames: Sequence[Frame]) -> dict[str, np.ndarray[Any, Any]]:
        return {"images": np.stack([f.image for f in frames])}

    def follow_inputs(
        self, looked: Sequence[Tensors], frames: Sequence[Frame], states: Sequence[int]
    ) -> dict[str, np.ndarray[Any, Any]]:
        return {"seen": np.stack([one["seen"] for one in looked]), "counts": np.array(states, np.int64)}

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[int]
    ) -> list[tuple[Perception, int]]:
        # Each frame must come with its own features, through both routes.
        firsts = [int(f.image[0, 0, 0]) for f in frames]
        assert outputs["kept"].tolist() == firsts and outputs["followed"].tolist() == firsts
        return super().postprocess(outputs, frames, states)


class StagedEngine:
    """`look` gives `seen` for `follow` and `kept` for the task; `look_before` and `follow_before` may wait or raise."""

    def __init__(
        self,
        look_before: Callable[[Tensors], None] = lambda inputs: None,
        follow_before: Callable[[Tensors], None] = lambda inputs: None,
    ) -> None:
        images = TensorSpec("images", (-1, 4, 6, 3), np.dtype(np.uint8))
        seen = TensorSpec("seen", (-1,), np.dtype(np.int64))
        counts = TensorSpec("counts", (-1,), np.dtype(np.int64))
        self.spec = EngineSpec("staged", "numpy", "f32", "cpu", "d2", (images, counts), (), 8, {})
        self.look = _Stage(self._look, look_before, (images,))
        self.follow = _Stage(self._follow, follow_before, (seen, counts))

    @staticmethod
    def _look(inputs: Tensors) -> dict[str, np.ndarray[Any, Any]]:
        firsts = inputs["images"][:, 0, 0, 0].astype(np.int64)
        return {"seen": firsts, "kept": firsts}

    @staticmethod
    def _follow(inputs: Tensors) -> dict[str, np.ndarray[Any, Any]]:
        return {"counts": inputs["counts"] + 1, "followed": inputs["seen"]}

    def infer(self, inputs: Tensors) -> dict[str, np.ndarray[Any, Any]]:
        raise AssertionError("a staged engine is run by its stages")

    def close(self) -> None:
        pass


class _Stage:
    def __init__(
        self,
        run: Callable[[Tensors], dict[str, np.ndarray[Any, Any]]],
        before: Callable[[Tensors], None],
        inputs: tuple[TensorSpec, ...],
    ) -> None:
        self._run, self._before = run, before
        self.spec = EngineSpec("stage", "numpy", "f32", "cpu", "d", inputs, (), 8, {})

    def infer(self, inputs: Tensors) -> dict[str, np.ndarray[Any, Any]]:
        assert set(inputs) == {tensor.name for tensor in self.spec.inputs}
        self._before(inputs)
        return self._run(inputs)

    def close(self) -> None:
        pass


class KeepingSink:
    """Keeps all it is given: results, events and states, and says when something new came."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.events: list[Event] = []
        self.states: list[tuple[str, StreamState, Mapping[str, str]]] = []
        self.changed = threading.Condition()

    def emit_results(self, results: Sequence[Result]) -> None:
        with self.changed:
            self.results.extend(results)
            self.changed.notify_all()

    def emit_events(self, events: Sequence[Event]) -> None:
        with self.changed:
            self.events.extend(events)
            self.changed.notify_all()

    def emit_state(self, stream: str, state: StreamState, fields: Mapping[str, str]) -> None:
        with self.changed:
            self.states.append((stream, state, dict(fields)))
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), "it did not happen in time"

    def seqs(self, stream: str) -> list[int]:
        return [r.ref.seq for r in self.results if r.ref.stream == stream]
