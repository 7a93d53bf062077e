"""How far two answers of the street model are apart where their rows are pairs: a number for each thing it says.

What a model has no head for is apart by nothing. Maps and features belong to whole pictures, boxes, kernels and
features of objects to pairs of rows, actions to the slots of tracks; rows of empty slots mean nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from engines.build.rows import high, sigmoid
from streamer.ports import Tensors
from streamer.types import F32, I64

SPOKEN = 0.1  # the score from which on a row may be told of: below it nobody reads its key points
OF_OBJECTS = ("key_embed", "key_offset", "key_logits", "object_feature")


@dataclass(frozen=True, slots=True)
class Rounding:
    """How far paired rows of some pictures are apart; as limits, how far they may be."""

    scores: float  # a high quantile over rows of the largest difference of a class score, 0..1
    boxes: float  # likewise of a coordinate, in picture sizes
    queries: float  # rms of the difference of the next frame's queries, relative to the reference's rms
    mask_kernels: float  # likewise, each channel in units of its own rms, the median channel
    mask_features: float  # likewise
    mask_flips: float  # share of mask cells, inside boxes, on the other side of zero
    semantic_flips: float  # share of the map's cells with another class: where two tie, a rounding decides
    key_features: float  # relative rms
    key_kernels: float  # likewise
    key_guesses: float  # a high quantile over rows of the largest difference, in box sizes
    key_scores: float  # likewise of being seen, 0..1
    object_features: float  # relative rms
    clip_features: float  # likewise
    actions: float  # a high quantile over tracks of the largest difference of an action's probability, 0..1
    scene_actions: float  # likewise over pictures
    decoder_attention: float = (
        0.0  # a high quantile over rows of the share of a row's looks that goes elsewhere
    )
    encoder_attention: float = 0.0  # likewise over cells
    attention_sums: float = 0.0  # the largest distance of a row's sum from 1

    def over(self, limits: Rounding) -> list[str]:
        """The measures over their limit, in words; a NaN is over every limit."""
        allowed = asdict(limits)
        return [f"{n} {v:.2g} over {allowed[n]:.2g}" for n, v in asdict(self).items() if not v <= allowed[n]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows that are compared: picture, the reference's row, the answer's row; i64 (n,) each."""

    picture: I64
    row: I64
    other: I64

    def of(self, pictures: NDArray[np.bool_]) -> Pairs:
        """Those of the pictures marked True in bool (B,)."""
        mine = pictures[self.picture]
        return Pairs(self.picture[mine], self.row[mine], self.other[mine])


def rounding(
    reference: Tensors,
    answer: Tensors,
    pairs: Pairs,
    pictures: NDArray[np.bool_],
    slots: int,
    quantile: float,
) -> Rounding:
    """The differences over `pairs`, of the `pictures` marked True in bool (B,); the first `slots` rows are tracks."""
    mine, its = (pairs.picture, pairs.row), (pairs.picture, pairs.other)
    spoken = sigmoid(reference["pred_logits"][mine]).max(axis=-1, initial=0) >= SPOKEN
    heard = (mine[0][spoken], mine[1][spoken]), (its[0][spoken], its[1][spoken])
    tracks = pairs.row < slots
    seats = pairs.picture[tracks], pairs.row[tracks]

    def relative(name: str, rows: bool = True) -> float:
        if name not in reference:
            return 0.0
        if rows:
            ours, others = heard if name in OF_OBJECTS else (mine, its)
            return _relative(reference[name][ours], answer[name][others])
        return _relative(reference[name][pictures], answer[name][pictures])

    def largest(difference: F32) -> float:
        if not difference.size:
            return 0.0
        return high(np.abs(difference).reshape(len(difference), -1).max(axis=1), quantile)

    def by_row(name: str, said: object = None) -> float:
        if name not in reference:
            return 0.0
        ours, others = heard if name in OF_OBJECTS else (mine, its)
        a, b = reference[name][ours], answer[name][others]
        return largest(sigmoid(a) - sigmoid(b) if said is sigmoid else a - b)

    actions = scene = flips = 0.0
    if "action_logits" in reference:
        actions = largest(
            _softmax(reference["action_logits"][seats]) - _softmax(answer["action_logits"][seats])
        )
        scene = largest(
            sigmoid(reference["scene_logits"][pictures]) - sigmoid(answer["scene_logits"][pictures])
        )
    if "semantic" in reference:
        flips = float((reference["semantic"][pictures] != answer["semantic"][pictures]).mean())
    return Rounding(
        scores=by_row("pred_logits", sigmoid),
        boxes=by_row("pred_boxes"),
        queries=relative("next_hs"),
        mask_kernels=_by_channel(reference["mask_embed"][mine], answer["mask_embed"][its])
        if "mask_embed" in reference
        else 0.0,
        mask_features=relative("mask_features", rows=False),
        mask_flips=_mask_flips(reference, answer, pairs) if "mask_embed" in reference else 0.0,
        semantic_flips=flips,
        key_features=relative("key_features", rows=False),
        key_kernels=relative("key_embed"),
        key_guesses=by_row("key_offset"),
        key_scores=by_row("key_logits", sigmoid),
        object_features=relative("object_feature"),
        clip_features=relative("clip_feature", rows=False),
        actions=actions,
        scene_actions=scene,
        **_attention(reference, answer, mine, its, pictures, quantile),
    )


def _attention(
    reference: Tensors,
    answer: Tensors,
    mine: tuple[I64, I64],
    its: tuple[I64, I64],
    pictures: NDArray[np.bool_],
    quantile: float,
) -> dict[str, float]:
    """How far the looks of an engine that tells them are apart: nothing where it does not."""
    if "decoder_attention" not in reference:
        return {}
    found: dict[str, float] = {}
    sums = 0.0
    for name, ours, others in (("decoder_attention", mine, its), ("encoder_attention", pictures, pictures)):
        a, b = reference[name][ours], answer[name][others]
        cells = a.shape[-1]
        elsewhere = 0.5 * np.abs(a - b).reshape(-1, cells).sum(axis=1)
        found[name] = high(elsewhere, quantile) if elsewhere.size else 0.0
        off = np.abs(b.reshape(-1, cells).sum(axis=1) - 1)
        sums = float(np.maximum(sums, off.max(initial=0.0)))  # a NaN stays one
    return {**found, "attention_sums": sums}


def _mask_flips(reference: Tensors, answer: Tensors, pairs: Pairs) -> float:
    """Share of mask cells inside the reference's boxes whose sign differs, over all pairs."""
    h, w = reference["mask_features"].shape[2:]
    flipped = cells = 0
    for b, i, j in zip(pairs.picture, pairs.row, pairs.other, strict=True):
        cx, cy, bw, bh = np.nan_to_num(reference["pred_boxes"][b, i])
        x0, x1 = np.clip([np.floor((cx - bw / 2) * w), np.ceil((cx + bw / 2) * w)], 0, w).astype(int)
        y0, y1 = np.clip([np.floor((cy - bh / 2) * h), np.ceil((cy + bh / 2) * h)], 0, h).astype(int)
        inside = (slice(None), slice(y0, y1), slice(x0, x1))
        ref = np.tensordot(reference["mask_embed"][b, i], reference["mask_features"][b][inside], 1) > 0
        got = np.tensordot(answer["mask_embed"][b, j], answer["mask_features"][b][inside], 1) > 0
        flipped += int((ref != got).sum())
        cells += ref.size
    return flipped / cells if cells else 0.0


def _relative(reference: F32, answer: F32) -> float:
    """Root mean square of the difference as a share of the reference's."""
    if not reference.size:
        return 0.0
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(reference - answer, dtype=np.float64)))) / max(scale, 1e-12)


def _by_channel(reference: F32, answer: F32) -> float:
    """The same with each channel (the last axis) in units of its own rms, of the median channel.

    Those of places go with the inverse square of a box's size: of a narrow box a rounding is a good share of them, and
    yet hardly a cell of the mask changes. What becomes of a mask, `mask_flips` says.
    """
    if not reference.size:
        return 0.0
    axes = tuple(range(reference.ndim - 1))
    scale = np.sqrt(np.mean(np.square(reference, dtype=np.float64), axis=axes))
    apart = np.sqrt(np.mean(np.square(reference - answer, dtype=np.float64), axis=axes))
    return float(np.median(apart / np.maximum(scale, 1e-12)))


def _softmax(logits: F32) -> F32:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    probabilities: F32 = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities
