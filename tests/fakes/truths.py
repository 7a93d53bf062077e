"""Frames made by hand with their truth: who is there, who is shown, what is said and what each really does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from streamer.rules.presence import Presence
from streamer.types import (
    Action,
    Detections,
    Event,
    FrameRef,
    FrameTruth,
    Perception,
    Result,
    Timing,
    Tracks,
)
from streamer.world import ACTIONS, LABELS

FPS = 10
SIDE = 20.0
NOWHERE = 9
Told = tuple[int, int]  # track, and the place it is shown at


def box(place: int) -> list[float]:
    """Places are squares beside each other, far enough apart not to overlap."""
    return [2 * SIDE * place, 10, 2 * SIDE * place + SIDE, 10 + SIDE]


def truth_of(
    number: int, there: Sequence[int], *, hard: Sequence[int] = (), doing: dict[int, str] | None = None
) -> FrameTruth:
    """Objects `there` by id, each at the place of its id, all persons; those in `hard` show four pixels."""
    n = len(there)
    return FrameTruth(
        number=number,
        time_s=number / FPS,
        boxes_xyxy=np.array([box(i) for i in there], np.float32).reshape(n, 4),
        labels=np.zeros(n, np.int64),
        ids=np.array(there, np.int64),
        pixels=np.array([4 if i in hard else 400 for i in there], np.int64),
        visibility=np.ones(n, np.float32),
        actions=np.array([ACTIONS.index((doing or {}).get(i, "stand")) for i in there], np.int64),
        label_names=LABELS,
        action_names=ACTIONS,
    )


def result_of(
    truth: FrameTruth,
    told: Sequence[Told],
    *,
    stream: str = "street",
    epoch: int = 1,
    label: str = "person",
    actions: Sequence[tuple[int, str]] = (),
) -> Result:
    """Tracks `told` as (id, place), and what is said of them as (track, action)."""
    n, seq = len(told), truth.number
    found = Detections(
        np.array([box(place) for _, place in told], np.float32).reshape(n, 4),
        np.full(n, 0.9, np.float32),
        np.full(n, (*LABELS, "bench").index(label), np.int64),
    )
    tracks = Tracks(found, np.array([track for track, _ in told], np.int64), np.ones(n, np.int64))
    payload = Perception(
        tracks, (*LABELS, "bench"), actions=tuple(Action(name, 0.9, track, 0, 0) for track, name in actions)
    )
    ref = FrameRef(stream, epoch, seq, seq, Fraction(1, FPS), 0, 10**18 + seq * 10**9 // FPS)
    return Result(ref, (40, 400), payload, Timing(0, 1, 2, 3, 4, 5), truth=truth)


class Story:
    """Plays frames through the presence rule, one after the other."""

    def __init__(self) -> None:
        self.rule, self.number = Presence(), 0
        self.state = self.rule.initial_state()

    def frame(
        self,
        there: Sequence[int],
        told: Sequence[Told],
        *,
        hard: Sequence[int] = (),
        doing: dict[int, str] | None = None,
        actions: Sequence[tuple[int, str]] = (),
    ) -> tuple[Result, FrameTruth, Sequence[Event]]:
        """The next frame, as a measure takes it."""
        truth = truth_of(self.number, there, hard=hard, doing=doing)
        result = result_of(truth, told, actions=actions)
        self.number += 1
        self.state, events = self.rule.step(self.state, result)
        return result, truth, events


def without_truth(result: Result) -> Result:
    """The same answer, as a camera's would be."""
    return replace(result, truth=None)
