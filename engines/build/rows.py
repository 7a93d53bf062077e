"""The gate for detectors whose rows come from a top-k: an answer's rows are matched to the reference's, then compared.

Two-stage detectors (Deformable DETR two-stage, RT-DETR, D-FINE and their kin) take their queries from the encoder's
best cells, and graphs that end in a list of boxes sort it: of two candidates with nearly equal scores the smallest
rounding decides which comes first, or at all. So rows are paired by what they say. Pairs must agree to the precision's
rounding; rows without a partner are swaps, of which few may be, and none that the reference takes for an object.

Weights that were drawn and never trained can make the encoder's cells all alike (a fresh RT-DETR's scores differ by
1e-7): its top-k then ranks rounding noise, every row is a swap, and the engine is refused, as it should be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from engines.build.recipe import NOISE
from streamer.errors import ParityError
from streamer.geometry import cxcywh_from_xyxy
from streamer.ports import Tensors
from streamer.types import F32

SMALLEST = 0.05  # a box is taken to be at least this wide and high, in picture sizes, when pairs are sought


@dataclass(frozen=True, slots=True)
class Limits:
    """What a precision may cost. Two rows are a pair while their class scores differ by less than `pair_score` and
    their boxes by less than `pair_box` of the box's size.

    `quantile` of the pairs differ in score by at most `scores` and in box by `boxes` (picture sizes), in pictures with
    no swap; where one is, all rows attend to another neighbour, and the `touched_` limits hold. `swapped`: rows without
    a partner as a share of a batch's; `sure`: what the reference scores above this must be seen, except in noise.
    """

    pair_score: float
    pair_box: float
    quantile: float
    scores: float
    boxes: float
    touched_scores: float
    touched_boxes: float
    swapped: float
    sure: float


LIMITS: Mapping[str, Limits] = {
    "f32": Limits(0.1, 0.1, 0.99, 1e-3, 1e-3, 0.1, 0.03, swapped=0.1, sure=0.25),
    "f16": Limits(0.1, 0.2, 0.98, 0.01, 5e-3, 0.1, 0.03, swapped=0.15, sure=0.3),
    "bf16": Limits(0.25, 0.3, 0.95, 0.03, 0.01, 0.1, 0.03, swapped=0.15, sure=0.4),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One batch's differences; a measure is NaN where the answer is. See `Limits`."""

    batch: int
    kind: str
    scores: float
    boxes: float
    touched_scores: float
    touched_boxes: float
    swapped: float
    sure: float

    def over(self, limits: Limits) -> list[str]:
        """What is over its limit, in words; a NaN is over every limit."""
        return [f"{w} {v:.2g} over {limit:.2g}" for w, v, limit in self._measures(limits) if not v <= limit]

    def worst(self, limits: Limits) -> tuple[str, float, float]:
        """The measure nearest to its limit, or furthest over it: name, value, limit."""
        return max(self._measures(limits), key=lambda m: m[1] / m[2] if m[1] == m[1] else float("inf"))

    def _measures(self, limits: Limits) -> list[tuple[str, float, float]]:
        return [
            ("scores", self.scores, limits.scores),
            ("boxes", self.boxes, limits.boxes),
            ("scores beside a swap", self.touched_scores, limits.touched_scores),
            ("boxes beside a swap", self.touched_boxes, limits.touched_boxes),
            ("rows without a partner", self.swapped, limits.swapped),
            *([("object not found", self.sure, limits.sure)] if self.kind != NOISE else []),
        ]


@dataclass(frozen=True, slots=True)
class Said:
    """What a detector says in each row, whatever its outputs are called.

    `scores` f32 (B, Q, C) in 0..1, `boxes_cxcywh` f32 (B, Q, 4) in picture sizes, `labels` i64 (B, Q) or None: rows of
    different labels are never a pair.
    """

    scores: F32
    boxes_cxcywh: F32
    labels: NDArray[np.int64] | None


def said(outputs: Tensors) -> Said:
    """Reads `pred_logits` and `pred_boxes`, or `scores`, `labels` and `boxes` (xyxy). Raises KeyError for less."""
    if "pred_logits" in outputs:
        return Said(sigmoid(outputs["pred_logits"]), outputs["pred_boxes"], None)
    return Said(outputs["scores"][..., None], cxcywh_from_xyxy(outputs["boxes"]), outputs["labels"])


def compare(reference: Tensors, answer: Tensors, inputs: Tensors, kind: str, precision: str) -> Comparison:
    """The differences of one batch; `inputs` are what both were given."""
    limits, real, found = LIMITS[precision], said(reference), said(answer)
    batch, queries = real.scores.shape[:2]
    parts: dict[bool, list[tuple[F32, F32]]] = {False: [], True: []}
    swaps, unseen = 0, 0.0
    for b in range(batch):
        far = np.maximum(
            apart(real.scores[b], found.scores[b]) / limits.pair_score,
            apart_in_sizes(real.boxes_cxcywh[b], found.boxes_cxcywh[b]) / limits.pair_box,
        )
        if real.labels is not None and found.labels is not None:
            far = np.where(real.labels[b][:, None] == found.labels[b][None, :], far, 1)
        pairs, alone, unlike = paired(far)
        swaps += len(alone)
        unseen = max([unseen, *(float(real.scores[b, i].max()) for i in unlike)])
        mine, its = pairs.T
        parts[len(alone) > 0].append(
            (
                np.abs(real.scores[b, mine] - found.scores[b, its]).max(axis=-1),
                np.abs(real.boxes_cxcywh[b, mine] - found.boxes_cxcywh[b, its]).max(axis=-1),
            )
        )
    (scores, boxes), (touched_scores, touched_boxes) = (
        tuple(
            high(np.concatenate([p[i] for p in parts[swap]] or [np.zeros(0, np.float32)]), limits.quantile)
            for i in (0, 1)
        )
        for swap in (False, True)
    )
    swapped = swaps / (batch * queries) if queries else 0.0
    return Comparison(batch, kind, scores, boxes, touched_scores, touched_boxes, swapped, unseen)


def gate(comparisons: Iterable[Comparison], precision: str, where: str) -> dict[str, object]:
    """The report of all batches. Raises ParityError with the numbers if anything is over its limit."""
    limits, done = LIMITS[precision], list(comparisons)
    for one in done:
        if over := one.over(limits):
            raise ParityError(
                f"the compiled engine does not answer as its reference at batch {one.batch} on {one.kind}: "
                f"{', '.join(over)}",
                where=where,
                mend="it is not used; try another precision or backend",
            )
    return {"precision": precision, "limits": asdict(limits), "batches": [asdict(one) for one in done]}


def paired(far: F32) -> tuple[NDArray[np.int64], list[int], list[int]]:
    """Rows of two answers by how far apart they are, (Q, Q), strangers at 1 and more.

    To the pairs i64 (n, 2), the first's rows that got no partner, and those of them that resemble no row at all.
    """
    far = np.nan_to_num(np.minimum(far, 1), nan=1)  # how far strangers are apart must not decide pairs
    rows = np.stack(linear_sum_assignment(far), axis=1).astype(np.int64)
    close = far[rows[:, 0], rows[:, 1]] < 1
    alone = [int(i) for i in rows[~close, 0]]
    return rows[close], alone, [i for i in alone if far[i].min() >= 1]


def apart(a: F32, b: F32) -> F32:
    """(N, d) and (M, d) to the largest coordinate difference of each two rows, (N, M)."""
    largest: F32 = np.abs(a[:, None] - b[None, :]).max(axis=-1)
    return largest


def apart_in_sizes(a_cxcywh: F32, b_cxcywh: F32) -> F32:
    """(N, 4) and (M, 4) boxes to their largest difference in units of box a's width and height, (N, M)."""
    size = np.maximum(np.tile(a_cxcywh[:, 2:], 2), SMALLEST)[:, None]  # (N, 1, 4): w h w h
    largest: F32 = (np.abs(a_cxcywh[:, None] - b_cxcywh[None, :]) / size).max(axis=-1)
    return largest


def high(values: F32, quantile: float) -> float:
    """That quantile of the values, 0 of none."""
    return float(np.quantile(values, quantile)) if values.size else 0.0


def sigmoid(x: F32) -> F32:
    """Logits to 0..1."""
    return (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32, copy=False)
