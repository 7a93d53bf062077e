"""The gate for graphs that choose some of their rows: DETR's mask head, which runs for the K surest queries.

The choice is a top-k inside the graph. Of two queries with nearly equal scores the smallest rounding decides which one
has a mask, and in what order they come. So masks are compared by the query they are of, where both have one; all else
is compared value by value as in closeness.py, with its limits. A query chosen by the engine and not by the reference
must be a tie: how far its score, as the reference has it, lies below the reference's last choice may not exceed the
limit for a largest difference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.build.closeness import LIMITS, Closeness, Comparison, closeness, gate
from streamer.ports import Tensors

__all__ = ["LIMITS", "compare", "gate"]

CHOICE, CHOSEN = "mask_queries", ("pred_masks",)


def compare(reference: Tensors, answer: Tensors, inputs: Tensors, kind: str, precision: str) -> Comparison:
    """The differences of one batch. `mask_queries` i64 (B, K) says which query each row of `pred_masks` is of."""
    batch = len(next(iter(inputs.values())))
    found = {
        name: closeness(reference[name], answer[name])
        for name in reference
        if name != CHOICE and name not in CHOSEN
    }
    mine: list[NDArray[np.intp]] = []
    its: list[NDArray[np.intp]] = []
    for b in range(batch):
        _, row, other = np.intersect1d(reference[CHOICE][b], answer[CHOICE][b], return_indices=True)
        mine.append(row)
        its.append(other)
    for name in CHOSEN:
        pairs = [
            (reference[name][b][row], answer[name][b][other])
            for b, (row, other) in enumerate(zip(mine, its, strict=True))
        ]
        ours, theirs = (np.concatenate(side) for side in zip(*pairs, strict=True))
        nothing = Closeness(np.nan, np.nan, 0.0, np.nan)  # no row in common: nothing was compared
        found[name] = closeness(ours, theirs) if len(ours) else nothing
    return Comparison(batch, kind, {**found, CHOICE: _choice(reference, answer)})


def _choice(reference: Tensors, answer: Tensors) -> Closeness:
    """How far the engine's choices lie below the reference's last one, in the reference's scores (0..1)."""
    logits = reference["pred_logits"].astype(np.float64)
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    sure = (shares / shares.sum(axis=-1, keepdims=True))[..., :-1].max(axis=-1)  # (B, Q)
    last = np.take_along_axis(sure, reference[CHOICE], axis=1).min(axis=1, keepdims=True)  # (B, 1)
    short = float((last - np.take_along_axis(sure, answer[CHOICE], axis=1)).max())
    twice = any(len(np.unique(row)) < len(row) for row in answer[CHOICE])  # a query has one mask
    return Closeness(0.0, max(short, 0.0), float(twice), max(short, 0.0))
