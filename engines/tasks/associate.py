"""Identity by association: ByteTrack, so that a detector which knows no tracks can still be followed.

The method is Zhang et al. 2022, "ByteTrack: Multi-Object Tracking by Associating Every Detection Box": each track's box
is moved on by a Kalman filter of constant velocity; sure detections are matched to tracks by overlap; then the unsure
ones to the tracks still without, because an object half hidden scores low but is where it was expected.

The kept libraries own their tracker's memory, an object a stream; here it is a value that goes in and comes out, so a
replay is exact and streams may move. The rules are those of `trackers` 2.6 (its `ByteTrackTracker`, which wants a
windowed OpenCV beside the headless one and so is not a dependency); tests/golden/bytetrack.npz holds what it answered,
and the ids here equal it. Its filter has the same noise on all four coordinates and none across, so every coordinate
has the same 2x2 covariance: it is kept once a track, and the gain is two numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import EngineError
from streamer.geometry import iou_matrix
from streamer.types import F32, I64, Detections, Tracks, frozen_array

F64 = NDArray[np.float64]

# The filter's noise, in units of its own: only their ratios matter, as a box is compared by overlap alone.
_MEASURED, _MOVED = 0.1, 0.01


@dataclass(frozen=True, slots=True)
class AssociationRules:
    """Scores in 0..1, `overlap` an IoU, `patience` and `confirm` in frames.

    `sure` parts the detections matched first from those matched second; below `unsure` none is looked at; `birth`
    starts a track, which gets its id once it was seen `confirm` frames running, and is forgotten after `patience`
    unseen ones.
    """

    sure: float = 0.5
    unsure: float = 0.1
    birth: float = 0.6
    overlap: float = 0.1
    patience: int = 30
    confirm: int = 2

    @classmethod
    def from_meta(cls, fields: Mapping[str, Any]) -> AssociationRules:
        """The rules of a model's card; an unknown name raises EngineError."""
        known = [f.name for f in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                raise EngineError(
                    f"unknown association rule {name!r}", mend=f"the rules are {', '.join(known)}"
                )
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class AssociationState:
    """One stream's tracks between two frames: K rows, all arrays read-only.

    `boxes_xyxy` and `speeds_xyxy` f64 (K, 4), source px and px a frame; `spread` f64 (K, 3), the variance of the box,
    its covariance with the speed, and the speed's; `ids` i64 (K,), 0 until confirmed; `hits` i64 (K,) frames seen
    running; `miss` i64 (K,) frames since last seen; `ages` i64 (K,) frames since birth. `next_id` is the next
    confirmed one's.
    """

    boxes_xyxy: F64
    speeds_xyxy: F64
    spread: F64
    ids: I64
    hits: I64
    miss: I64
    ages: I64
    next_id: int = 1

    @classmethod
    def empty(cls) -> AssociationState:
        """No tracks: how every epoch starts."""
        none, box = frozen_array(np.zeros(0, np.int64)), frozen_array(np.zeros((0, 4)))
        return cls(box, box, frozen_array(np.zeros((0, 3))), none, none, none, none)


class Associator:
    """Detections of one frame and the state before it, to tracks and the state after it. Has no memory of its own."""

    def __init__(self, rules: AssociationRules | None = None) -> None:
        from scipy.optimize import linear_sum_assignment  # only who associates pays for it

        self.rules = rules or AssociationRules()
        self._assign: Callable[..., tuple[I64, I64]] = linear_sum_assignment

    @property
    def lowest(self) -> float:
        """Detections that score below this are of no use to `associate`; those above should all be given."""
        return self.rules.unsure

    def initial_state(self) -> AssociationState:
        """No tracks; the first id is 1."""
        return AssociationState.empty()

    def associate(self, detections: Detections, state: AssociationState) -> tuple[Tracks, AssociationState]:
        """The detections that belong to a confirmed track, in the order given, and the tracks for the next frame."""
        rules = self.rules
        scores, boxes = detections.scores, detections.boxes_xyxy.astype(np.float64)
        tracks = _moved(state)
        k = len(state.ids)
        owner = np.full(len(scores), -1, np.int64)  # of each detection: row of the track it belongs to
        sure = np.flatnonzero(scores >= rules.sure)
        rest = np.flatnonzero((scores >= rules.unsure) & (scores < rules.sure))
        waiting = np.arange(k)
        next_id = state.next_id
        for wanted in (sure, rest):
            rows, found = self._match(tracks.boxes_xyxy[waiting], boxes[wanted])
            owner[wanted[found]] = waiting[rows]
            next_id = _seen(tracks, waiting[rows], boxes[wanted[found]], rules.confirm, next_id)
            waiting = np.delete(waiting, rows)
        kept = (tracks.miss <= rules.patience) & (
            (tracks.ids > 0) | (tracks.hits >= rules.confirm) | (tracks.miss == 0)
        )
        born = sure[(owner[sure] < 0) & (scores[sure] >= rules.birth)]
        mine = np.flatnonzero(owner >= 0)
        mine = mine[tracks.ids[owner[mine]] > 0]
        told = Tracks(
            Detections(
                boxes_xyxy=frozen_array(detections.boxes_xyxy[mine]),
                scores=frozen_array(scores[mine]),
                labels=frozen_array(detections.labels[mine]),
                masks=None if detections.masks is None else tuple(detections.masks[i] for i in mine),
            ),
            track_ids=frozen_array(tracks.ids[owner[mine]]),
            ages=frozen_array(tracks.ages[owner[mine]]),
        )
        return told, _after(tracks, kept, boxes[born], next_id)

    def _match(self, predicted: F64, boxes: F64) -> tuple[I64, I64]:
        """Rows of `predicted` (K, 4) and of `boxes` (N, 4) that go together, each at most once, rising by the first."""
        if not len(predicted) or not len(boxes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        overlap: F32 = iou_matrix(predicted, boxes)  # type: ignore[arg-type]  # float64 serves as well
        rows, found = self._assign(overlap, maximize=True)
        good = overlap[rows, found] >= self.rules.overlap
        return rows[good], found[good]


def _moved(state: AssociationState) -> AssociationState:
    """Every track one frame on: a new state whose arrays may be written to."""
    var, cov, speed = state.spread.T
    return dataclasses.replace(
        state,
        boxes_xyxy=state.boxes_xyxy + state.speeds_xyxy,
        speeds_xyxy=state.speeds_xyxy.copy(),
        spread=np.stack([var + 2 * cov + speed + _MOVED, cov + speed, speed + _MOVED], axis=1),
        ids=state.ids.copy(),
        hits=np.where(state.miss > 0, 0, state.hits),
        miss=state.miss + 1,
        ages=state.ages + 1,
    )


def _seen(tracks: AssociationState, rows: I64, boxes: F64, confirm: int, next_id: int) -> int:
    """Correct the tracks at `rows` by what was seen, in place, and give ids; returns the next free one."""
    var, cov, speed = tracks.spread[rows].T
    gain, turn = var / (var + _MEASURED), cov / (var + _MEASURED)  # of the box, and of its speed
    apart = boxes - tracks.boxes_xyxy[rows]
    tracks.boxes_xyxy[rows] += gain[:, None] * apart
    tracks.speeds_xyxy[rows] += turn[:, None] * apart
    tracks.spread[rows] = np.stack([(1 - gain) * var, (1 - gain) * cov, speed - turn * cov], axis=1)
    tracks.hits[rows] += 1
    tracks.miss[rows] = 0
    named = rows[(tracks.ids[rows] == 0) & (tracks.hits[rows] >= confirm)]
    tracks.ids[named] = next_id + np.arange(len(named))
    return next_id + len(named)


def _after(tracks: AssociationState, kept: NDArray[np.bool_], born: F64, next_id: int) -> AssociationState:
    """The tracks that live on, and behind them those born of boxes (n, 4)."""
    n = len(born)
    zeros, ones = np.zeros(n, np.int64), np.ones(n, np.int64)

    def both(old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
        return frozen_array(np.concatenate([old[kept], new]))

    return AssociationState(
        boxes_xyxy=both(tracks.boxes_xyxy, born),
        speeds_xyxy=both(tracks.speeds_xyxy, np.zeros((n, 4))),
        spread=both(tracks.spread, np.tile([1.0, 0.0, 1.0], (n, 1))),
        ids=both(tracks.ids, zeros),
        hits=both(tracks.hits, ones),
        miss=both(tracks.miss, zeros),
        ages=both(tracks.ages, zeros),
        next_id=next_id,
    )
