"""The run: streets side by side through the serving path, and of each frame what the metrics need.

The engine is only a callable from named tensors to named tensors, so torch and compiled engines are measured alike, and
the task is the one that serves (`TrackTask`), with its rules. Nothing is drawn by chance but the shuffling of the
control (order.py), from fixed seeds: a run gives the same numbers each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.baselines import detections_of
from engines.evaluation.facts import PERSON, Seen, Street
from engines.evaluation.matching import rows_as_boxes, used_rows
from engines.evaluation.order import Choices, OrderControl
from engines.evaluation.semantic import Confusion
from streamer.errors import EngineError
from streamer.types import Frame, FrameRef, Perception
from streamer.world import ACTIONS, LABELS, SEMANTIC, Truth, World, WorldConfig

Tensors = Mapping[str, NDArray[Any]]
Infer = Callable[[Tensors], Tensors]
MOST_SIDE_BY_SIDE = 8
BEGIN_NS = 10**18  # wall time of a street's first frame; clips are made of differences


class TrackingTask(Protocol):
    """What is needed of `TrackTask`. A state has `valid` bool (K,) and `ids` i64 (K,): which slots hold which track."""

    labels: tuple[str, ...]

    def initial_state(self) -> Any: ...

    def preprocess(self, frames: Sequence[Frame], states: Sequence[Any]) -> Tensors: ...

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[Any]
    ) -> list[tuple[Perception, Any]]: ...


@dataclass(frozen=True, slots=True)
class Clips:
    """How a model's clips are made: `labels` of its actions (none: it has no such head), `frames` of a clip,
    `stride_s` between them, `hz` the ticks a second of the ring's ages."""

    labels: tuple[str, ...] = ()
    frames: int = 8
    stride_s: float = 0.16
    hz: float = 12.5

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Clips:
        """From a model's config (`spec.meta["config"]`)."""
        return cls(
            labels=tuple(config.get("action_labels", ())),
            frames=int(config.get("clip_frames", 8)),
            stride_s=float(config.get("clip_stride_s", 0.16)),
            hz=float(config.get("clip_hz", 12.5)),
        )


@dataclass(slots=True)
class SplitRun:
    """All that was seen: streets, their frames, a confusion a street (none without the head), the order control."""

    labels: tuple[str, ...]
    clips: Clips
    streets: list[Street] = field(default_factory=list)
    frames: list[Seen] = field(default_factory=list)
    confusions: dict[int, Confusion] = field(default_factory=dict)
    order_clip: Choices = field(default_factory=Choices)
    order_ring: Choices = field(default_factory=Choices)
    order_asked: bool = False  # whether the control could ask at all


def run_split(
    infer: Infer,
    task: TrackingTask,
    configs: Sequence[WorldConfig],
    *,
    frames: int,
    clips: Clips | None = None,
    most: int = MOST_SIDE_BY_SIDE,
    watch: Callable[[int, int], None] | None = None,
    begin: Sequence[int] | None = None,
    index_from: int = 0,
) -> SplitRun:
    """Run these streets for `frames` frames each, up to `most` side by side as one batch.

    All must be of the engine's size and one rate. `watch(done, total)` counts frames of all streets. `begin` is how
    many frames of each street pass undrawn first (none), `index_from` the first one's place. Raises EngineError for a
    model that finds other things than the world holds.
    """
    if tuple(task.labels) != LABELS:
        raise EngineError(
            f"it finds {', '.join(task.labels[:6])}; the world's streets hold {', '.join(LABELS)}",
            where="labels",
            mend="measure a street model",
        )
    run = SplitRun(tuple(task.labels), clips or Clips())
    groups = -(-len(configs) // most)
    size = max(1, -(-len(configs) // max(1, groups)))  # no streets: no rounds
    total, done = len(configs) * frames, 0
    for first in range(0, len(configs), size):
        worlds = [World(config) for config in configs[first : first + size]]
        passed = list(begin or [0] * len(configs))[first : first + size]
        for world, frames_before in zip(worlds, passed, strict=True):
            world.skip(frames_before)
        places = range(index_from + first, index_from + first + len(worlds))
        streets = [Street.of(*place) for place in zip(places, worlds, passed, strict=True)]
        group = _Group(infer, task, worlds, streets, run, most)
        for step in range(frames):
            group.step(step)
            done += len(worlds)
            if watch is not None:
                watch(done, total)
        group.close()
    run.frames.sort(key=lambda seen: (seen.street, seen.frame))
    return run


class _Group:
    """Streets that share a batch."""

    def __init__(
        self,
        infer: Infer,
        task: TrackingTask,
        worlds: list[World],
        streets: list[Street],
        run: SplitRun,
        most: int,
    ) -> None:
        self._infer, self._task, self._worlds, self._run = infer, task, worlds, run
        self._streets = streets
        run.streets += self._streets
        self._states = [task.initial_state() for _ in worlds]
        self._control = OrderControl(
            infer, run.clips.labels, ticks_a_step=run.clips.hz / worlds[0].config.fps, most=most
        )

    def step(self, step: int) -> None:
        """The next frame of each."""
        pictures, truths = zip(*(world.step() for world in self._worlds), strict=True)
        shown = [
            _frame(street, step, picture) for street, picture in zip(self._streets, pictures, strict=True)
        ]
        states = self._states
        inputs = self._task.preprocess(shown, states)
        outputs = self._infer(inputs)
        answers = self._task.postprocess(outputs, shown, states)
        seen = [self._seen(i, step, truths[i], answers[i][0], outputs, states[i]) for i in range(len(shown))]
        self._run.frames += seen
        slots = [
            {int(s.ids[k]): int(k) for k in np.flatnonzero(s.valid)} if self._run.clips.labels else {}
            for s in states
        ]
        self._control.see(step, inputs, outputs, slots, [_doing(s) for s in seen])
        self._states = [state for _, state in answers]

    def close(self) -> None:
        """Hand over what the control counted."""
        self._run.order_asked |= self._control.works
        for mine, all_of_it in (
            (self._control.clip, self._run.order_clip),
            (self._control.ring, self._run.order_ring),
        ):
            all_of_it.merge(mine)

    def _seen(
        self, i: int, step: int, truth: Truth, payload: Perception, outputs: Tensors, state: Any
    ) -> Seen:
        index, config = self._streets[i].index, self._streets[i].config
        hw = (config.height, config.width)
        wrong = 0.0
        if payload.semantic is not None:
            confusion = self._run.confusions.setdefault(index, Confusion(SEMANTIC))
            wrong = confusion.add(truth.semantic, payload.semantic, payload.semantic_names)
        return Seen.of(
            index,
            step,
            truth,
            payload,
            rows_as_boxes(outputs, i, state.valid, hw),
            detections_of(*used_rows(outputs, i, state.valid, hw)),
            wrong,
        )


def _frame(street: Street, step: int, picture: NDArray[np.uint8]) -> Frame:
    """The picture as a stream of the street's own rate would give it."""
    config = street.config
    period = 1 / Fraction(config.fps).limit_denominator(1001)
    at_ns = BEGIN_NS + round(step * period * 10**9)
    ref = FrameRef(f"street-{street.index}", 0, step, step, period, at_ns - BEGIN_NS, at_ns)
    return Frame(ref, picture, (config.height, config.width), at_ns - BEGIN_NS)


def _doing(seen: Seen) -> dict[int, tuple[str, int | None]]:
    """Of each clear person that does something: what, and the track that stands for it."""
    people: dict[int, tuple[str, int | None]] = {}
    for row in np.flatnonzero((seen.labels == PERSON) & (seen.actions >= 0) & ~seen.hard).tolist():
        column = int(seen.partner[row])
        track = int(seen.tracks.track_ids[column]) if column >= 0 else None
        people[int(seen.ids[row])] = ACTIONS[seen.actions[row]], track
    return people
