"""PCK: the share of key points that lie where they should, within a tenth of the person's size.

A key point is right if it lies no further from the truth than `share` times the longer side of the true box of what is
visible (Yang and Ramanan 2013). Counted over clear persons for whom a track stands; visible points make the score,
hidden ones (in the picture, but behind something) are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from engines.evaluation.facts import PERSON, Seen
from streamer.errors import EngineError
from streamer.world import KEYPOINTS

SHARES = (0.05, 0.1, 0.2)
HIDDEN, VISIBLE = 1, 2


class KeyPoints:
    """Collects frames. `right` i64 (2, shares, K) and `asked` i64 (2, K): row 0 hidden points, row 1 visible ones."""

    def __init__(self) -> None:
        self.right = np.zeros((2, len(SHARES), len(KEYPOINTS)), np.int64)
        self.asked = np.zeros((2, len(KEYPOINTS)), np.int64)
        self.answered = False

    def add(self, seen: Seen) -> None:
        """One frame; raises EngineError if the model has other key points than the world."""
        answer = seen.payload.keypoints
        if answer is None:
            return
        names = seen.payload.keypoint_names
        if names != KEYPOINTS:
            raise EngineError(
                f"its key points are {', '.join(names[:3])} …, the world's {', '.join(KEYPOINTS[:3])} …",
                where="key points",
                mend="measure a model whose key points are the world's",
            )
        self.answered = True
        people = np.flatnonzero(seen.met & (seen.labels == PERSON))
        truth, found = seen.keypoints[people], answer[seen.partner[people]]  # (P, K, 3)
        boxes = seen.boxes_xyxy[people]
        size = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        apart = np.linalg.norm(truth[..., :2] - found[..., :2], axis=-1) / np.maximum(size, 1e-6)[:, None]
        for kind, value in enumerate((HIDDEN, VISIBLE)):
            counted = truth[..., 2] == value  # (P, K)
            self.asked[kind] += counted.sum(axis=0)
            for s, share in enumerate(SHARES):
                self.right[kind, s] += (counted & (apart <= share)).sum(axis=0)

    def pck(self, share: float = 0.1, *, hidden: bool = False) -> float | None:
        """The share of points that are right; None without a head or without a point to ask for."""
        kind = 0 if hidden else 1
        asked = int(self.asked[kind].sum())
        if not self.answered or not asked:
            return None
        return float(self.right[kind, SHARES.index(share)].sum() / asked)

    def details(self) -> dict[str, Any] | None:
        """PCK at each share, of hidden points, and by key point; None without a head."""
        if not self.answered:
            return None
        right = self.right[1, SHARES.index(0.1)]
        return {
            **{f"pck{round(share * 100):02d}": self.pck(share) for share in SHARES},
            "pck10_hidden": self.pck(hidden=True),
            "points": int(self.asked[1].sum()),
            "hidden_points": int(self.asked[0].sum()),
            "pck10_by_point": {
                name: float(r / n) if n else None
                for name, r, n in zip(KEYPOINTS, right.tolist(), self.asked[1].tolist(), strict=True)
            },
        }


def key_points(frames: Iterable[Seen]) -> KeyPoints:
    """The key points of these frames."""
    points = KeyPoints()
    for seen in frames:
        points.add(seen)
    return points
