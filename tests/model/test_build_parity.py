"""The gate's arithmetic: what it forgives, what it does not, and that it says the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.build import parity
from engines.build.parity import LIMITS, compare, gate
from streamer.errors import ParityError

B, K, Q, C, D, M, H, W = 8, 4, 10, 3, 16, 6, 18, 32
Answer = dict[str, NDArray[Any]]


@pytest.fixture
def valid() -> NDArray[np.float32]:
    return (np.arange(K) < 2).astype(np.float32)[None].repeat(B, axis=0)


@pytest.fixture
def answer() -> Answer:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0.2, 0.8, (B, K + Q, 4))
    boxes[..., 2:] *= 0.4
    shapes: dict[str, Any] = {
        "pred_logits": rng.normal(-3, 2, (B, K + Q, C)),
        "pred_boxes": boxes,
        "mask_embed": rng.normal(size=(B, K + Q, M)),
        "mask_features": rng.normal(size=(B, M, H, W)),
        "next_hs": rng.normal(size=(B, K + Q, D)),
    }
    return {name: array.astype(np.float32) for name, array in shapes.items()}


def changed(answer: Answer, **new: NDArray[Any]) -> Answer:
    return {**{k: v.copy() for k, v in answer.items()}, **new}


def judge(
    reference: Answer, other: Answer, valid: NDArray[np.float32], precision: str = "f32"
) -> dict[str, Any]:
    return dict(
        gate([compare(reference, other, {"track_valid": valid}, "test", precision)], precision, "here")
    )


def test_the_same_answer_differs_by_nothing(answer: Answer, valid: NDArray[np.float32]) -> None:
    report = judge(answer, changed(answer), valid)
    [batch] = report["batches"]
    assert set(batch["clean"].values()) == {0.0}
    assert (batch["touched"], batch["swapped"], batch["batch"]) == (None, 0.0, B)


def test_object_rows_in_another_order_are_the_same_answer(answer: Answer, valid: NDArray[np.float32]) -> None:
    order = np.concatenate([np.arange(K), K + np.random.default_rng(1).permutation(Q)])
    rows = ("pred_logits", "pred_boxes", "mask_embed", "next_hs")
    shuffled = changed(answer, **{name: answer[name][:, order] for name in rows})
    [batch] = judge(answer, shuffled, valid)["batches"]
    assert set(batch["clean"].values()) == {0.0}


def test_track_rows_in_another_order_are_refused(answer: Answer, valid: NDArray[np.float32]) -> None:
    order = [1, 0, *range(2, K + Q)]
    rows = ("pred_logits", "pred_boxes", "mask_embed", "next_hs")
    with pytest.raises(ParityError, match="boxes"):
        judge(answer, changed(answer, **{name: answer[name][:, order] for name in rows}), valid)


def test_empty_slots_may_hold_anything(answer: Answer, valid: NDArray[np.float32]) -> None:
    other = changed(answer)
    for name in ("pred_logits", "pred_boxes", "mask_embed", "next_hs"):
        other[name][:, 2:K] = np.nan
    assert judge(answer, other, valid)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("pred_logits", "scores"),
        ("mask_embed", "mask_kernels"),
        ("next_hs", "queries"),
        ("mask_features", "mask_features"),
    ],
)
def test_a_drift_beyond_the_precision_is_refused_with_its_number(
    answer: Answer, valid: NDArray[np.float32], precision: str, name: str, measure: str
) -> None:
    limit = getattr(LIMITS[precision].clean, measure)
    noise = np.random.default_rng(2).normal(size=answer[name].shape).astype(np.float32)
    scale = 40 * limit if name == "pred_logits" else 3 * limit
    with pytest.raises(ParityError, match=rf"at batch 8 on test: .*{measure} \S+ over {limit:.2g}") as caught:
        judge(answer, changed(answer, **{name: answer[name] + scale * noise}), valid, precision)
    assert "\n" not in str(caught.value)
    small = 0.1 * limit * noise
    assert judge(answer, changed(answer, **{name: answer[name] + small}), valid, precision)


def test_a_weak_row_may_be_swapped_but_not_an_object(answer: Answer, valid: NDArray[np.float32]) -> None:
    quiet = changed(answer)
    quiet["pred_logits"][0, K] = -6
    other = changed(quiet)
    other["pred_boxes"][0, K] = [0.05, 0.05, 0.01, 0.01]
    [batch] = judge(quiet, other, valid)["batches"]
    assert batch["swapped"] == pytest.approx(1 / (B * Q)) and batch["touched_share"] == 1 / B
    loud = changed(quiet)
    loud["pred_logits"][0, K, 0] = 3
    with pytest.raises(ParityError, match=r"an object of score 0\.95 not found"):
        judge(loud, other, valid)


def test_a_swap_does_not_tear_other_pairs_apart(answer: Answer, valid: NDArray[np.float32]) -> None:
    """A stranger far away could be had cheaper by pairing it, and an object's twin, with the wrong rows."""
    quiet = changed(answer)
    quiet["pred_logits"][0, K:] = -6
    quiet["pred_logits"][0, K, 0] = 3  # an object, and the stranger's place nearer to it than to its own
    quiet["pred_boxes"][0, K] = [0.5, 0.5, 0.1, 0.1]
    quiet["pred_boxes"][0, K + 1] = [0.9, 0.5, 0.1, 0.1]
    other = changed(quiet)
    other["pred_boxes"][0, K] = [0.505, 0.5, 0.1, 0.1]
    other["pred_boxes"][0, K + 1] = [0.1, 0.5, 0.1, 0.1]
    one = compare(quiet, other, {"track_valid": valid}, "test", "f32")
    assert one.swapped == pytest.approx(1 / (B * Q)) and one.sure < 0.01


def test_many_swaps_are_no_rounding(answer: Answer, valid: NDArray[np.float32]) -> None:
    quiet = changed(answer, pred_logits=np.full_like(answer["pred_logits"], -6))
    other = changed(quiet)
    other["pred_boxes"][:, K:] = np.random.default_rng(9).uniform(0.2, 0.3, (B, Q, 4))
    with pytest.raises(ParityError, match="swapped rows"):
        judge(quiet, other, valid, "bf16")


@pytest.mark.parametrize("name", ["pred_logits", "pred_boxes", "mask_embed", "mask_features", "next_hs"])
def test_one_nan_is_refused(answer: Answer, valid: NDArray[np.float32], name: str) -> None:
    other = changed(answer)
    other[name][3, 0] = np.nan  # a valid track row, or a mask channel
    with pytest.raises(ParityError, match="nan"):
        judge(answer, other, valid, "bf16")


def test_every_precision_has_limits_and_the_fine_ones_are_finer() -> None:
    assert set(LIMITS) == {"f32", "f16", "bf16"}
    fine, coarse = LIMITS["f32"].clean, LIMITS["bf16"].clean
    for name in parity.Rounding.__dataclass_fields__:
        assert getattr(fine, name) < getattr(coarse, name)


@pytest.fixture
def talkative(answer: Answer) -> Answer:
    """An answer of a model with every head."""
    rng = np.random.default_rng(5)
    n = K + Q
    shapes: dict[str, Any] = {
        "key_features": rng.normal(size=(B, 4, H, W)),
        "key_embed": rng.normal(size=(B, n, 12)),
        "key_logits": rng.normal(size=(B, n, 3)),
        "key_offset": rng.normal(0, 0.2, (B, n, 3, 2)),
        "object_feature": rng.normal(size=(B, n, 8)),
        "clip_feature": rng.normal(size=(B, 8)),
        "action_logits": rng.normal(size=(B, K, 5)),
        "scene_logits": rng.normal(size=(B, 5)),
    }
    semantic = rng.integers(0, 5, (B, H, W), dtype=np.uint8)
    return {**answer, **{k: v.astype(np.float32) for k, v in shapes.items()}, "semantic": semantic}


HEADS = {
    "key_features": "key_features",
    "key_embed": "key_kernels",
    "key_logits": "key_scores",
    "key_offset": "key_guesses",
    "object_feature": "object_features",
    "clip_feature": "clip_features",
    "action_logits": "actions",
    "scene_logits": "scene_actions",
}


@pytest.mark.parametrize("precision", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("name", HEADS)
def test_a_drift_of_a_head_is_refused_with_its_number(
    talkative: Answer, valid: NDArray[np.float32], precision: str, name: str
) -> None:
    limit = getattr(LIMITS[precision].clean, HEADS[name])
    noise = np.random.default_rng(2).normal(size=talkative[name].shape).astype(np.float32)
    with pytest.raises(ParityError, match=rf"{HEADS[name]} \S+ over {limit:.2g}"):
        judge(talkative, changed(talkative, **{name: talkative[name] + 20 * limit * noise}), valid, precision)
    assert judge(
        talkative, changed(talkative, **{name: talkative[name] + 0.1 * limit * noise}), valid, precision
    )
    bad = changed(talkative)
    bad[name][3, 0] = np.nan
    with pytest.raises(ParityError, match="nan"):
        judge(talkative, bad, valid, precision)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_of_a_map_few_cells_may_be_of_another_class(
    talkative: Answer, valid: NDArray[np.float32], precision: str
) -> None:
    limit = LIMITS[precision].clean.semantic_flips
    cells = talkative["semantic"].size
    for share, right in ((0.5, True), (1.5, False)):
        other = changed(talkative)
        other["semantic"].ravel()[: int(share * limit * cells)] += 1
        if right:
            assert judge(talkative, other, valid, precision)
        else:
            with pytest.raises(ParityError, match="semantic_flips"):
                judge(talkative, other, valid, precision)


def test_rows_of_heads_follow_their_pairs_and_empty_slots_hold_anything(
    talkative: Answer, valid: NDArray[np.float32]
) -> None:
    order = np.concatenate([np.arange(K), K + np.random.default_rng(1).permutation(Q)])
    by_row = [n for n, a in talkative.items() if a.shape[1:2] == (K + Q,)]
    other = changed(talkative, **{name: talkative[name][:, order] for name in by_row})
    for name in (*by_row, "action_logits"):
        other[name][:, 2:K] = np.nan
    [batch] = judge(talkative, other, valid)["batches"]
    assert set(batch["clean"].values()) == {0.0} and len(by_row) == 8


def test_a_model_without_masks_is_compared_in_all_else(answer: Answer, valid: NDArray[np.float32]) -> None:
    for name in ("mask_embed", "mask_features"):
        del answer[name]
    assert judge(answer, changed(answer), valid)
    with pytest.raises(ParityError, match="queries"):
        judge(answer, changed(answer, next_hs=answer["next_hs"] * 1.1), valid)
