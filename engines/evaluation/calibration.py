"""Do scores mean what they say? Of the tracks shown with a score about s, a share of about s should be right.

Right is a track that stands for a clear object (label, IoU of at least half). Tracks that stand for difficult objects
are left out. The expected calibration error is that of Guo et al. 2017: bins of equal width, weighed by their counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.facts import Seen

BINS = 10


def calibration(frames: Iterable[Seen]) -> dict[str, Any]:
    """`ece` (None if nothing was shown), `shown`, and of each bin that holds any: bounds, count, score and share."""
    parts = [_scored(seen) for seen in frames]
    scores = np.concatenate([s for s, _ in parts]) if parts else np.zeros(0, np.float32)
    right = np.concatenate([r for _, r in parts]) if parts else np.zeros(0, bool)
    return reliability(scores, right)


def reliability(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> dict[str, Any]:
    """The same from scores (n,) in 0..1 and whether each was right, bool (n,)."""
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins: list[dict[str, Any]] = []
    error = 0.0
    for b in range(BINS):
        held = place == b
        n = int(held.sum())
        if not n:
            continue
        score, share = float(scores[held].mean()), float(right[held].mean())
        error += n / len(scores) * abs(score - share)
        bins.append({"from": b / BINS, "to": (b + 1) / BINS, "count": n, "score": score, "right": share})
    return {"ece": error if len(scores) else None, "shown": len(scores), "bins": bins}


def _scored(seen: Seen) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One frame's scores, and which of them stand for a clear object; without those that stand for difficult ones."""
    right = np.zeros(len(seen.tracks), bool)
    right[seen.partner[seen.met]] = True
    left_out = np.zeros(len(seen.tracks), bool)
    left_out[seen.partner[seen.hard & (seen.partner >= 0)]] = True
    scores = seen.tracks.detections.scores
    return scores[~left_out], right[~left_out]
