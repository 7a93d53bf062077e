"""HOTA over a window and identity switches: the offline evaluation's definitions, cheap enough to be asked often.

Where an object is like one track only, and that track like no other object, they are matched whatever the rest of the
window says. So a frame knows which of its pairs are of that kind, and when the window is asked, an assignment is solved
only for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from engines.evaluation.hota import ALPHAS, Hota, HotaCounts
from engines.evaluation.live.compared import Compared
from engines.evaluation.matching import MATCH_IOU
from streamer.types import F32, I64

F64 = NDArray[np.float64]
_EPS = np.finfo(np.float64).eps
# Of so many objects the last match is remembered; those of long ago go first.
MOST_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class FramePairs:
    """What one frame adds: ids i64 (N,) of the objects asked for, track_ids i64 (M,), and its P pairs that are alike at
    all: `rows` and `columns` i64 (P,), `alike` f64 (P,), `share` f64 (P,), how much of both is in this pair.

    `contested` i64 (n, m), -1 for none: the pairs that have rivals, by object and track.
    """

    ids: I64
    track_ids: I64
    rows: I64
    columns: I64
    alike: F64
    share: F64
    contested: I64

    @classmethod
    def of(cls, ids: I64, track_ids: I64, alike: F32) -> FramePairs:
        """`alike` f32 (N, M): similarity of N objects and M tracks."""
        like = alike.astype(np.float64)
        rows, columns = np.nonzero(like > 0)
        values = like[rows, columns]
        share = values / (like.sum(axis=0)[columns] + like.sum(axis=1)[rows] - values)
        of_rows = np.bincount(rows, minlength=len(ids))
        of_columns = np.bincount(columns, minlength=len(track_ids))
        rivals = np.flatnonzero((of_rows[rows] > 1) | (of_columns[columns] > 1))
        known_rows, r = np.unique(rows[rivals], return_inverse=True)
        known_columns, c = np.unique(columns[rivals], return_inverse=True)
        contested = np.full((len(known_rows), len(known_columns)), -1, np.int64)
        contested[r, c] = rivals
        return cls(ids, track_ids, rows, columns, values, share, contested)


def rolling_hota(frames: Sequence[FramePairs]) -> Hota | None:
    """What `engines.evaluation.hota` answers of these frames; None if they ask for no object."""
    if not any(len(frame.ids) for frame in frames):
        return None
    _, rows, lived = _places([frame.ids for frame in frames], [frame.rows for frame in frames])
    tracks, columns, followed = _places(
        [frame.track_ids for frame in frames], [frame.columns for frame in frames]
    )
    known, pair = np.unique(rows * max(1, tracks) + columns, return_inverse=True)
    alike = np.concatenate([frame.alike for frame in frames])
    share = np.concatenate([frame.share for frame in frames])
    both = lived[known // max(1, tracks)] + followed[known % max(1, tracks)]  # frames with either, by pair
    together = np.bincount(pair, weights=share, minlength=len(known))
    weight = (together / np.maximum(_EPS, both - together))[pair] * alike
    chosen = _chosen(frames, weight)

    pair, alike = pair[chosen], alike[chosen]
    good = alike >= ALPHAS[:, None] - _EPS  # (19, matches)
    matched = good.sum(axis=1).astype(np.float64)
    held = np.stack([np.bincount(pair[row], minlength=len(known)) for row in good])  # (19, pairs): TPA
    return HotaCounts(
        matched=matched,
        missed=float(lived.sum()) - matched,
        false=float(followed.sum()) - matched,
        associated=(held * (held / np.maximum(1, both - held))).sum(axis=1),
        fit=(good * alike).sum(axis=1),
    ).score()


def _places(ids: Sequence[I64], rows: Sequence[I64]) -> tuple[int, I64, I64]:
    """How many identities there are; the identity's place of each pair's row, all frames in one; and each's frames."""
    known, place = np.unique(np.concatenate(ids), return_inverse=True)
    starts = np.cumsum([0, *(len(frame) for frame in ids[:-1])])
    shifted = np.concatenate([row + start for row, start in zip(rows, starts, strict=True)])
    return len(known), place[shifted], np.bincount(place, minlength=len(known))


def _chosen(frames: Sequence[FramePairs], weight: F64) -> NDArray[np.bool_]:
    """Which pairs of all frames are matches: those without rivals, and the best choice among the others."""
    chosen = np.ones(len(weight), bool)
    start = 0
    for frame in frames:
        there = frame.contested >= 0
        if frame.contested.size:
            weights = np.where(there, weight[start + frame.contested], 0.0)
            r, c = linear_sum_assignment(weights, maximize=True)
            taken = frame.contested[r, c]
            chosen[start + frame.contested[there]] = False
            chosen[start + taken[taken >= 0]] = True
        start += len(frame.rows)
    return chosen


class Switches:
    """Identity switches as CLEAR MOT counts them (Bernardin and Stiefelhagen 2008), the way motmetrics does.

    Who was matched stays so while their boxes still overlap by half; the others are matched anew, as many as possible.
    A switch is a new match of an object whose last one was another track.
    """

    def __init__(self) -> None:
        self._last: dict[int, int] = {}  # object -> the track that stood for it last

    def step(self, ids: I64, track_ids: I64, alike: F32) -> int:
        """How many objects of this frame switched; `alike` f32 (N, M)."""
        possible = alike >= MATCH_IOU
        column_of = {track: column for column, track in enumerate(track_ids.tolist())}
        names = ids.tolist()
        for row, name in enumerate(names):
            column = column_of.get(self._last.get(name, -1))
            if column is not None and possible[row, column]:
                possible[row, :] = possible[:, column] = False
        rows, columns = linear_sum_assignment(np.where(possible, 1.0 - alike, 1e3))
        switches = 0
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if not possible[row, column]:
                continue
            name, track = names[row], int(track_ids[column])
            switches += self._last.pop(name, track) != track
            self._last[name] = track  # the newest at the end
        while len(self._last) > MOST_REMEMBERED:
            del self._last[next(iter(self._last))]
        return switches


def pairs_and_switches(frame: Compared, switches: Switches) -> tuple[FramePairs, int]:
    """One frame for both measures, without the objects that are hard and the tracks that stand for them."""
    objects, shown = frame.asked
    ids, track_ids = frame.truth.ids[objects], frame.track_ids[shown]
    alike = frame.alike[np.ix_(objects, shown)]
    return FramePairs.of(ids, track_ids, alike), switches.step(ids, track_ids, alike)
