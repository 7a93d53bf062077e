"""COCO's average precision over a window: each frame is matched once, when it comes; the window only sorts and sums.

pycocotools answers the same (a test holds it to that), but matches every frame anew at each question: with a window of
400 frames that is too much to ask every few seconds. Whoever is shown at all counts, with the score that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.live.compared import Compared
from streamer.types import F32, I64

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
_EPS = np.spacing(1)


@dataclass(frozen=True, slots=True)
class FrameHits:
    """What one frame adds. M tracks, the likeliest first: labels i64 (M,), scores f32 (M,); at each of the 10 IoUs
    `right` bool (10, M) and `left_out` bool (10, M), those that found a hard object. `asked` i64 (C,): clear objects
    by class."""

    labels: I64
    scores: F32
    right: NDArray[np.bool_]
    left_out: NDArray[np.bool_]
    asked: I64

    @classmethod
    def of(cls, frame: Compared) -> FrameHits:
        """Let the likeliest choose first; each takes the object it fits best, a clear one rather than a hard one."""
        order = np.argsort(-frame.scores, kind="stable")
        alike = frame.alike[:, order].astype(np.float64)  # (N, M), 0 where labels differ
        right, left_out = np.zeros((2, len(IOUS), alike.shape[1]), bool)
        rows, columns = np.nonzero(alike >= IOUS[0])
        rivals = (np.bincount(rows)[rows] > 1) | (np.bincount(columns)[columns] > 1)
        # who is alone in fitting an object that fits nobody else takes it, at whichever IoU it reaches
        takes = alike[rows, columns] >= IOUS[:, None]  # (10, pairs)
        for kind, found in ((~frame.hard, right), (frame.hard, left_out)):
            alone = np.flatnonzero(~rivals & kind[rows])
            found[:, columns[alone]] = takes[:, alone]
        _let_choose(np.unique(columns[rivals]).tolist(), alike, frame.hard, right, left_out)
        clear = frame.truth.labels[~frame.hard]
        asked = np.bincount(clear, minlength=len(frame.truth.label_names))
        return cls(frame.labels[order], frame.scores[order], right, left_out, asked)


def _let_choose(
    columns: Sequence[int],
    alike: NDArray[np.float64],
    hard: NDArray[np.bool_],
    right: NDArray[np.bool_],
    left_out: NDArray[np.bool_],
) -> None:
    """The tracks of `columns`, in this order, choose among the objects; marks what they find."""
    free = np.ones((len(IOUS), len(hard)), bool)
    for column in columns:
        fits = free & (alike[:, column] >= IOUS[:, None])  # (10, N)
        for kind, found in ((~hard, right), (hard, left_out)):
            fit = np.where(fits & kind, alike[:, column], 0.0)
            best = fit.argmax(axis=1)  # (10,)
            takes = np.flatnonzero((fit.max(axis=1) > 0) & ~right[:, column])
            found[takes, column] = True
            free[takes, best[takes]] = False


def average_precision(frames: Sequence[FrameHits]) -> tuple[float, float] | None:
    """(AP over IoU .50 to .95, AP at .50), means over the classes with clear objects; None if there are none."""
    asked = np.sum([frame.asked for frame in frames], axis=0) if frames else np.zeros(0, np.int64)
    if not asked.any():
        return None
    labels = np.concatenate([frame.labels for frame in frames])
    scores = np.concatenate([frame.scores for frame in frames])
    right = np.concatenate([frame.right for frame in frames], axis=1)  # (10, D)
    wrong = ~right & ~np.concatenate([frame.left_out for frame in frames], axis=1)
    by_class = []
    for label in np.flatnonzero(asked).tolist():
        mine = np.flatnonzero(labels == label)
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        by_class.append(_class_precision(right[:, mine], wrong[:, mine], int(asked[label])))
    precision = np.array(by_class)  # (classes, 10)
    return float(precision.mean()), float(precision[:, 0].mean())


def _class_precision(right: NDArray[np.bool_], wrong: NDArray[np.bool_], asked: int) -> NDArray[np.float64]:
    """The mean over 101 recalls of the best precision there or beyond: f64 (10,)."""
    hits = np.cumsum(right, axis=1, dtype=np.float64)  # (10, D)
    recall = hits / asked
    precision = hits / (hits + np.cumsum(wrong, axis=1) + _EPS)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    means = np.zeros(len(IOUS))
    for i in range(len(IOUS)):
        at = np.searchsorted(recall[i], RECALLS, side="left")
        at = at[at < best.shape[1]]  # what is not recalled has precision 0
        means[i] = best[i, at].sum() / len(RECALLS)
    return means
