"""Does a compiled engine answer as its reference does? Numbers, limits, and a refusal that names both.

Two kinds of difference are told apart. *Rounding* moves every value a little; how much depends on the precision. A
*swap* puts another row in a row's place: object rows come from a top-k, and of two candidates with nearly equal scores
the smallest rounding decides which one is in the list. So object rows are first matched to the reference's by what they
say (score and box), which also undoes a mere change of order; rows without a partner are swaps. Few may be, and none
that the reference takes for an object. Since rows attend to each other, a swap moves all rows of its picture a little:
pictures with a swap are held to limits of their own, those without to the precision's. In float32 most
pictures have none, so the fine limits always bite. Rows of empty track slots mean nothing and are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from engines.build.recipe import NOISE
from engines.build.rounding import Pairs, Rounding, rounding
from engines.build.rows import apart, apart_in_sizes, paired, sigmoid
from streamer.errors import ParityError
from streamer.ports import Tensors


@dataclass(frozen=True, slots=True)
class Limits:
    """What a precision may cost: on pictures without a swap, on those with one, and how many swaps.

    Two rows are a pair while their class scores differ by less than `pair_score` and their boxes by less than
    `pair_box` of the box's size. `quantile` of the rows are under the limits of scores and boxes: the same half-sure,
    half-hidden object may be drawn a good deal larger for a rounding, but few are.
    """

    pair_score: float
    pair_box: float
    quantile: float

    clean: Rounding
    touched: Rounding
    touched_share: float  # pictures with a swap, as a share of a batch of 8 or more
    swapped: float  # object rows without a partner, as a share of a batch's
    sure: float  # what the reference scores above this must be seen by some row, unless the picture is noise


_FINE = Rounding(
    scores=1e-3, boxes=1e-3, queries=1e-3, mask_kernels=1e-3, mask_features=1e-4, mask_flips=1e-3, semantic_flips=1e-3,
    key_features=1e-3, key_kernels=1e-3, key_guesses=1e-3, key_scores=1e-3, object_features=1e-3, clip_features=1e-3,
    actions=2e-3, scene_actions=2e-3,
    decoder_attention=1e-3, encoder_attention=1e-3, attention_sums=1e-4,
)  # fmt: skip
# The shipped weights differ in bfloat16 by at most .020, .004, .054, .047, .009, .004 in scores, boxes, queries, masks.
# Of key points the first guess moves by up to .043 of a box in rows of low score; the heat has the last word.
# What a ring keeps of an object moves by up to .074, and the actions' probabilities of one row in twenty by .13 then;
# measured with the action heads before, of which nano's present one moves 1.15 times as much, its probabilities less.
_COARSE = Rounding(
    scores=0.03, boxes=0.01, queries=0.08, mask_kernels=0.06, mask_features=0.02, mask_flips=0.01, semantic_flips=0.03,
    key_features=0.05, key_kernels=0.05, key_guesses=0.06, key_scores=0.03, object_features=0.10, clip_features=0.06,
    actions=0.15, scene_actions=0.1,
    decoder_attention=0.1, encoder_attention=0.1, attention_sums=0.02,
)  # fmt: skip
_HALF = Rounding(
    scores=0.01, boxes=0.005, queries=0.02, mask_kernels=0.02, mask_features=0.01, mask_flips=0.01, semantic_flips=0.01,
    key_features=0.02, key_kernels=0.02, key_guesses=0.01, key_scores=0.01, object_features=0.02, clip_features=0.02,
    actions=0.03, scene_actions=0.03,
    decoder_attention=0.03, encoder_attention=0.03, attention_sums=0.005,
)  # fmt: skip
# Beside a swap, rows on the same object share its score anew: up to .036 seen in the 95th percentile of a picture.
_TOUCHED = Rounding(
    scores=0.1, boxes=0.03, queries=0.1, mask_kernels=0.1, mask_features=0.02, mask_flips=0.03, semantic_flips=0.03,
    key_features=0.05, key_kernels=0.1, key_guesses=0.06, key_scores=0.1, object_features=0.1, clip_features=0.05,
    actions=0.15, scene_actions=0.1,
    decoder_attention=0.2, encoder_attention=0.1, attention_sums=0.02,
)  # fmt: skip
LIMITS: Mapping[str, Limits] = {
    "f32": Limits(0.1, 0.1, 0.99, _FINE, _TOUCHED, touched_share=0.5, swapped=0.05, sure=0.25),
    # float16 in the encoder alone, boxes and scores in float32: rounding is an eighth of bfloat16's.
    "f16": Limits(0.25, 0.3, 0.95, _HALF, _TOUCHED, touched_share=1.0, swapped=0.15, sure=0.4),
    "bf16": Limits(0.25, 0.3, 0.95, _COARSE, _TOUCHED, touched_share=1.0, swapped=0.15, sure=0.4),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One batch's differences. `clean` and `touched` are None where a batch has no such picture.

    `touched_share` of pictures with a swap, `swapped` of object rows without a partner, both in 0..1; `sure` is the
    score of the strongest reference row that no row of the answer resembles.
    """

    batch: int
    kind: str
    clean: Rounding | None
    touched: Rounding | None
    touched_share: float
    swapped: float
    sure: float

    def over(self, limits: Limits) -> list[str]:
        """What is over its limit, in words."""
        found = self.clean.over(limits.clean) if self.clean else []
        found += (
            [f"{what} (beside a swap)" for what in self.touched.over(limits.touched)] if self.touched else []
        )
        if self.batch >= 8 and self.touched_share > limits.touched_share:
            found.append(f"pictures with swaps {self.touched_share:.2g} over {limits.touched_share:.2g}")
        if self.swapped > limits.swapped:
            found.append(f"swapped rows {self.swapped:.2g} over {limits.swapped:.2g}")
        if self.sure > limits.sure and self.kind != NOISE:
            found.append(f"an object of score {self.sure:.2g} not found")
        return found

    def worst(self, limits: Limits) -> tuple[str, float, float]:
        """The measure nearest to its limit, or furthest over it: name, value, limit."""
        measures = [("swapped rows", self.swapped, limits.swapped)]
        if self.kind != NOISE:
            measures.append(("object not found", self.sure, limits.sure))
        for found, allowed, beside in (
            (self.clean, limits.clean, ""),
            (self.touched, limits.touched, " beside a swap"),
        ):
            if found is not None:
                top = asdict(allowed)
                measures += [(name + beside, value, top[name]) for name, value in asdict(found).items()]
        return max(measures, key=lambda m: m[1] / m[2] if m[1] == m[1] else float("inf"))


def compare(reference: Tensors, answer: Tensors, inputs: Tensors, kind: str, precision: str) -> Comparison:
    """The differences of one batch. Tensors as the street model takes and gives them."""
    limits, track_valid = LIMITS[precision], inputs["track_valid"]
    batch, slots = track_valid.shape
    scores, other_scores = sigmoid(reference["pred_logits"]), sigmoid(answer["pred_logits"])
    found: list[tuple[int, int, int]] = []
    swaps, unseen = 0, 0.0
    touched = np.zeros(batch, bool)
    for b in range(batch):
        found += [(b, i, i) for i in np.flatnonzero(track_valid[b] > 0.5).tolist()]
        far = np.maximum(
            apart(scores[b, slots:], other_scores[b, slots:]) / limits.pair_score,
            apart_in_sizes(reference["pred_boxes"][b, slots:], answer["pred_boxes"][b, slots:])
            / limits.pair_box,
        )  # (Q, Q); a pair is below 1
        rows, alone, unlike = paired(far)
        found += [(b, slots + i, slots + j) for i, j in rows.tolist()]
        swaps += len(alone)
        touched[b] = bool(alone)
        # Of the others another row sees the same: seeds lie in heaps on a large object.
        unseen = max([unseen, *(float(scores[b, slots + i].max()) for i in unlike)])
    pairs = Pairs(*np.array(found, np.int64).reshape(-1, 3).T)
    objects = batch * (scores.shape[1] - slots)
    return Comparison(
        batch,
        kind,
        clean=None
        if touched.all()
        else rounding(reference, answer, pairs.of(~touched), ~touched, slots, limits.quantile),
        touched=rounding(reference, answer, pairs.of(touched), touched, slots, limits.quantile)
        if touched.any()
        else None,
        touched_share=float(touched.mean()),
        swapped=swaps / objects if objects else 0.0,
        sure=unseen,
    )


def gate(comparisons: Iterable[Comparison], precision: str, where: str) -> dict[str, object]:
    """The report of all batches. Raises ParityError with the numbers if anything is over its limit."""
    limits = LIMITS[precision]
    done = list(comparisons)
    for one in done:
        if over := one.over(limits):
            raise ParityError(
                f"the compiled engine does not answer as its reference at batch {one.batch} on {one.kind}: "
                f"{', '.join(over)}",
                where=where,
                mend="it is not used; try another precision or backend",
            )
    return {"precision": precision, "limits": asdict(limits), "batches": [asdict(one) for one in done]}
