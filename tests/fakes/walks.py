"""Results of tracks that stand at given places, for rules that look where somebody stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from streamer.rules.rule import Rule
from streamer.types import Detections, Event, Perception, Result, Timing, Tracks
from tests.fakes.core import LABELS, ref

SOURCE_HW = (1000, 2000)
Feet = Mapping[int, tuple[float, float]]  # track -> x, y in fractions of the picture


def standing(
    seq: int, feet: Feet, *, fps: int = 10, labels: Mapping[int, int] | None = None, height: float = 0.1
) -> Result:
    """Frame `seq` with a box of `height` (a fraction of the picture) over each foot; `labels` index LABELS."""
    h, w = SOURCE_HW
    boxes = [((x - 0.01) * w, (y - height) * h, (x + 0.01) * w, y * h) for x, y in feet.values()]
    n = len(feet)
    found = Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.9, np.float32),
        np.array([(labels or {}).get(track, 0) for track in feet], np.int64),
    )
    tracks = Tracks(found, np.array(list(feet), np.int64), np.ones(n, np.int64))
    return Result(ref(seq=seq, fps=fps), SOURCE_HW, Perception(tracks, LABELS), Timing(0, 1, 2, 3, 4, 5))


def run(rule: Rule, results: Iterable[Result]) -> tuple[list[Event], Any]:
    """All events but those of the epoch's end, and the last state."""
    state, events = rule.initial_state(), list[Event]()
    for result in results:
        state, happened = rule.step(state, result)
        events += happened
    return events, state


def walk(places: Sequence[tuple[float, float] | None], *, track: int = 7, **how: Any) -> list[Result]:
    """One track, frame by frame; None: it is not seen."""
    return [standing(i, {} if at is None else {track: at}, **how) for i, at in enumerate(places)]
