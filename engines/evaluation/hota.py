"""HOTA: one number for finding objects and keeping their identities, with its halves DetA and AssA.

Luiten et al. 2020, "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking". The kept implementation,
TrackEval, wants a windowed OpenCV beside the headless one and so is no dependency; this is the paper's algorithm over
numpy, and tests/golden/hota.npz holds what TrackEval 1.3.0 answers, which it equals to rounding.

For each threshold alpha = .05, .10, … .95 a truth box and a track's box may stand for each other from similarity alpha
on. Each frame is matched once, preferring the pairs of identities that go together over the whole sequence. With
TP(alpha) such pairs,

    DetA = TP / (TP + FN + FP)        AssA = mean over the TPs of  TPA / (TPA + FNA + FPA)

where TPA counts the frames in which this pair of identities is matched, FNA and FPA those in which only one of the two
is there or it is matched otherwise. HOTA(alpha) = sqrt(DetA * AssA); the score is the mean over alpha.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
ALPHAS: F64 = np.arange(0.05, 0.99, 0.05)
_EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True)
class Hota:
    """The mean over ALPHAS of each part, 0..1. `loca`: how well matched boxes fit; 1 where nothing was matched."""

    hota: float
    deta: float
    assa: float
    loca: float


@dataclass(frozen=True, slots=True)
class HotaCounts:
    """One sequence's sums at each alpha, all f64 (19,): they add up over sequences.

    `associated` is the sum over matches of TPA / (TPA + FNA + FPA), `fit` that of their similarities.
    """

    matched: F64
    missed: F64
    false: F64
    associated: F64
    fit: F64

    def score(self) -> Hota:
        """The numbers of these sums."""
        det = self.matched / np.maximum(1, self.matched + self.missed + self.false)
        ass = self.associated / np.maximum(1, self.matched)
        loc = np.maximum(1e-10, self.fit) / np.maximum(1e-10, self.matched)
        return Hota(float(np.sqrt(det * ass).mean()), float(det.mean()), float(ass.mean()), float(loc.mean()))


def summed(parts: Iterable[HotaCounts]) -> HotaCounts:
    """The counts of several sequences together."""
    rows = [(p.matched, p.missed, p.false, p.associated, p.fit) for p in parts]
    sums = np.sum(rows, axis=0) if rows else np.zeros((5, len(ALPHAS)))
    return HotaCounts(*sums)


class HotaSequence:
    """Collects one sequence, frame by frame; identities are any integers, unique within a frame."""

    def __init__(self) -> None:
        self._frames: list[tuple[I64, I64, F64]] = []

    def add(self, ids: I64, track_ids: I64, similarity: NDArray[np.floating]) -> None:
        """One frame: identities of its N true objects and M tracks, and how alike they are, (N, M) in 0..1."""
        if similarity.shape != (len(ids), len(track_ids)):
            raise ValueError(
                f"similarity {similarity.shape} for {len(ids)} objects and {len(track_ids)} tracks"
            )
        self._frames.append((ids, track_ids, similarity.astype(np.float64)))

    def counts(self) -> HotaCounts:
        """The sums over all frames so far."""
        object_ids, objects = _places([frame[0] for frame in self._frames])
        tracker_ids, tracks = _places([frame[1] for frame in self._frames])
        n_objects, n_tracks = len(object_ids), len(tracker_ids)
        lived = np.bincount(np.concatenate([*objects, np.zeros(0, np.int64)]), minlength=n_objects)
        followed = np.bincount(np.concatenate([*tracks, np.zeros(0, np.int64)]), minlength=n_tracks)
        together = np.zeros((n_objects, n_tracks))  # how much each pair of identities was alike, in all
        for rows, columns, (_, _, similarity) in zip(objects, tracks, self._frames, strict=True):
            rivals = similarity.sum(0)[None, :] + similarity.sum(1)[:, None] - similarity
            together[np.ix_(rows, columns)] += np.divide(
                similarity, rivals, out=np.zeros_like(similarity), where=rivals > _EPS
            )
        alignment = together / np.maximum(_EPS, lived[:, None] + followed[None, :] - together)

        matched, fit = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
        pairs = np.zeros((len(ALPHAS), n_objects, n_tracks))  # frames in which this pair was matched: TPA
        for rows, columns, (_, _, similarity) in zip(objects, tracks, self._frames, strict=True):
            if not similarity.size:
                continue
            r, c = linear_sum_assignment(alignment[np.ix_(rows, columns)] * similarity, maximize=True)
            alike = similarity[r, c]
            good = alike[None, :] >= ALPHAS[:, None] - _EPS  # (19, matches)
            matched += good.sum(axis=1)
            fit += (good * alike).sum(axis=1)
            pairs[:, rows[r], columns[c]] += good
        share = pairs / np.maximum(1, lived[:, None] + followed[None, :] - pairs)  # (19, objects, tracks)
        return HotaCounts(
            matched=matched,
            missed=float(lived.sum()) - matched,
            false=float(followed.sum()) - matched,
            associated=(pairs * share).sum(axis=(1, 2)),
            fit=fit,
        )


def _places(ids_by_frame: list[I64]) -> tuple[I64, list[I64]]:
    """The identities that occur, and for each frame their places among them."""
    known = np.unique(np.concatenate([*ids_by_frame, np.zeros(0, np.int64)]))
    return known, [np.searchsorted(known, ids) for ids in ids_by_frame]
