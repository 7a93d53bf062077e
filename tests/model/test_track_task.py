"""The laws of the track task, on answers made by hand: lives, duplicates, overflow, batches, masks."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.tasks.track import TrackRules, TrackState, TrackTask
from streamer.errors import EngineError
from streamer.masks import mask_from_rle
from streamer.ports import EngineSpec, TensorSpec
from streamer.types import Frame, FrameRef, Perception

K, Q, D, M, HW, MASK_HW = 4, 6, 8, 3, (32, 64), (16, 32)
LABELS = ("person", "car")
SOURCE_HW = (320, 640)
# Rules of the tests' own: they say how the life of a track goes, not which numbers are shipped.
RULES = TrackRules(birth=0.5, keep=0.4, patience=10, duplicate_iou=0.6, collapse_iou=0.9)
TASK = TrackTask(labels=LABELS, input_hw=HW, slots=K, dim=D, rules=RULES)
Row = tuple[int, float, tuple[float, float, float, float]]  # row, score, box cxcywh in 0..1
Answer = dict[str, NDArray[Any]]

LEFT, RIGHT, TOP, FOOT = (
    (0.2, 0.5, 0.2, 0.4),
    (0.7, 0.5, 0.2, 0.4),
    (0.45, 0.1, 0.1, 0.2),
    (0.45, 0.9, 0.1, 0.2),
)


def frame(stream: str = "s", seq: int = 0) -> Frame:
    ref = FrameRef(stream, 1, seq, seq, Fraction(1, 25), 0, 0)
    return Frame(ref, np.full((*HW, 3), seq % 256, np.uint8), SOURCE_HW, 0)


def answer(*rows: Row, label: int = 0) -> Answer:
    """One frame's answer in which only `rows` are objects; every row's next query is its own number."""
    logits = np.full((1, K + Q, len(LABELS)), -12.0, np.float32)
    boxes = np.tile(np.array([0.5, 0.5, 0.1, 0.1], np.float32), (1, K + Q, 1))
    for row, score, box in rows:
        logits[0, row, label] = np.log(score / (1 - score))
        boxes[0, row] = box
    hs = np.repeat(np.arange(K + Q, dtype=np.float32)[None, :, None], D, axis=2)
    return {
        "pred_logits": logits,
        "pred_boxes": boxes,
        "mask_embed": np.ones((1, K + Q, M), np.float32),
        "mask_features": np.ones((1, M, *MASK_HW), np.float32),
        "next_hs": hs,
    }


def follow(answers: list[Answer], state: TrackState | None = None) -> tuple[list[Perception], TrackState]:
    """Run one stream through these answers."""
    state = state or TASK.initial_state()
    seen = []
    for seq, one in enumerate(answers):
        [(perception, state)] = TASK.postprocess(one, [frame(seq=seq)], [state])
        seen.append(perception)
    return seen, state


def ids(perception: Perception) -> list[int]:
    return perception.tracks.track_ids.tolist()


def same(a: TrackState, b: TrackState) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(TrackState))


def test_nothing_seen_is_an_empty_answer_and_an_empty_state() -> None:
    [perception], state = follow([answer()])
    assert len(perception.tracks) == 0
    assert perception.tracks.detections.masks == ()
    assert same(state, TASK.initial_state())


def test_a_newborn_becomes_a_query_with_its_row_and_keeps_its_id() -> None:
    seen, state = follow([answer((K + 2, 0.9, LEFT)), answer((0, 0.8, RIGHT))])
    assert [ids(p) for p in seen] == [[1], [1]]
    assert [p.tracks.ages.tolist() for p in seen] == [[0], [1]]
    assert state.valid.tolist() == [True, False, False, False]
    assert state.hs[0].tolist() == [0.0] * D  # row 0's next query
    np.testing.assert_allclose(state.boxes_cxcywh[0], RIGHT)
    np.testing.assert_allclose(
        seen[1].tracks.detections.boxes_xyxy, [[0.6 * 640, 0.3 * 320, 0.8 * 640, 0.7 * 320]], rtol=1e-6
    )


@pytest.mark.parametrize(("row", "score", "seen"), [(K, 0.49, 0), (K, 0.51, 1)])
def test_birth_needs_more_than_half(row: int, score: float, seen: int) -> None:
    [perception], _ = follow([answer((row, score, LEFT))])
    assert len(perception.tracks) == seen


@pytest.mark.parametrize(("score", "kept"), [(0.39, []), (0.41, [1])])
def test_keeping_needs_less_than_birth(score: float, kept: list[int]) -> None:
    seen, _ = follow([answer((K, 0.9, LEFT)), answer((0, score, LEFT))])
    assert ids(seen[1]) == kept


def test_a_score_in_an_empty_slot_means_nothing() -> None:
    [perception], _ = follow([answer((0, 0.99, LEFT), (3, 0.99, RIGHT))])
    assert len(perception.tracks) == 0


@pytest.mark.parametrize(("gap", "back"), [(1, [1]), (10, [1]), (11, [])])
def test_a_lost_track_lives_ten_frames_and_revives(gap: int, back: list[int]) -> None:
    seen, state = follow([answer((K, 0.9, LEFT)), *[answer()] * gap, answer((0, 0.6, LEFT))])
    assert ids(seen[-1]) == back
    assert all(not ids(p) for p in seen[1:-1])
    assert bool(state.valid[0]) == bool(back)


def test_while_lost_it_keeps_the_query_and_box_it_was_last_seen_with() -> None:
    _, state = follow([answer((K + 5, 0.9, LEFT)), answer((0, 0.1, RIGHT))])
    assert state.miss[0] == 1
    assert state.hs[0].tolist() == [float(K + 5)] * D
    np.testing.assert_allclose(state.boxes_cxcywh[0], LEFT)


def test_an_object_row_on_a_kept_track_is_not_born_whatever_its_score() -> None:
    nearly_left = (0.21, 0.5, 0.2, 0.4)
    seen, _ = follow([answer((K, 0.9, LEFT)), answer((0, 0.45, LEFT), (K, 0.99, nearly_left))])
    assert ids(seen[1]) == [1]
    assert seen[1].tracks.detections.scores.tolist() == pytest.approx([0.45])


def test_of_two_newborns_on_one_object_the_surer_lives() -> None:
    [perception], _ = follow([answer((K, 0.7, LEFT), (K + 1, 0.9, LEFT), (K + 2, 0.8, RIGHT))])
    assert sorted(perception.tracks.detections.scores.tolist()) == pytest.approx([0.8, 0.9])


def test_an_overlap_with_a_lost_track_is_no_duplicate() -> None:
    seen, _ = follow([answer((K, 0.9, LEFT)), answer((K, 0.9, LEFT))])
    assert ids(seen[1]) == [2]


def test_two_tracks_fallen_onto_one_object_are_settled_for_the_one_seen_before() -> None:
    seen, state = follow(
        [
            answer((K, 0.9, LEFT), (K + 1, 0.8, RIGHT)),
            answer((1, 0.9, RIGHT)),  # id 1 is lost
            answer((0, 0.99, RIGHT), (1, 0.6, RIGHT)),  # and comes back on id 2's object
        ]
    )
    assert [ids(p) for p in seen] == [[1, 2], [2], [2]]
    assert state.miss.tolist()[:2] == [2, 0]


def test_overflow_evicts_the_weakest_lost_track_and_counts_it() -> None:
    boxes = [LEFT, RIGHT, TOP, FOOT]
    full = answer(*[(K + i, 0.9, box) for i, box in enumerate(boxes)])
    two_lost = answer((0, 0.9, LEFT), (1, 0.2, RIGHT), (2, 0.1, TOP), (3, 0.9, FOOT), (K, 0.8, RIGHT))
    seen, state = follow([full, two_lost])
    assert ids(seen[0]) == [1, 2, 3, 4]
    assert sorted(ids(seen[1])) == [1, 4, 5]
    assert state.ids.tolist() == [1, 2, 5, 4]  # id 3 (score .1) gave way, id 2 (score .2) is still looked for
    assert (state.evicted, state.refused) == (1, 0)


def test_a_newborn_without_a_slot_is_refused_and_counted() -> None:
    centres = [0.1, 0.3, 0.5, 0.7, 0.9]
    crowd = answer(*[(K + i, 0.95 - 0.05 * i, (x, 0.5, 0.1, 0.2)) for i, x in enumerate(centres)])
    [perception], state = follow([crowd])
    assert len(perception.tracks) == K
    assert perception.tracks.detections.scores.min() == pytest.approx(
        0.8
    )  # the weakest of the five is left out
    assert (state.evicted, state.refused) == (0, 1)


def test_ids_are_never_given_twice() -> None:
    rng = np.random.default_rng(3)
    state, known, shown = TASK.initial_state(), set[int](), 0
    for seq in range(200):
        one = answer()
        one["pred_logits"] = rng.normal(-1, 2, (1, K + Q, 2)).astype(np.float32)
        one["pred_boxes"] = rng.uniform(0.05, 0.95, (1, K + Q, 4)).astype(np.float32)
        before = set(state.ids[state.valid].tolist())
        [(perception, state)] = TASK.postprocess(one, [frame(seq=seq)], [state])
        now = ids(perception)
        assert len(set(now)) == len(now)
        assert not (set(now) - before) & known  # an id that is not carried over was never seen
        known |= set(now)
        shown += len(now)
        assert len(set(state.ids[state.valid].tolist())) == state.valid.sum()
    assert shown > 200 and state.evicted > 0


def batch(answers: list[Answer]) -> Answer:
    return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


def random_answers(count: int, seed: int) -> list[Answer]:
    rng = np.random.default_rng(seed)
    return [
        {
            "pred_logits": rng.normal(-1, 2, (1, K + Q, 2)).astype(np.float32),
            "pred_boxes": rng.uniform(0.05, 0.95, (1, K + Q, 4)).astype(np.float32),
            "mask_embed": rng.normal(size=(1, K + Q, M)).astype(np.float32),
            "mask_features": rng.normal(size=(1, M, *MASK_HW)).astype(np.float32),
            "next_hs": rng.normal(size=(1, K + Q, D)).astype(np.float32),
        }
        for _ in range(count)
    ]


def equal(a: Perception, b: Perception) -> bool:
    x, y = a.tracks, b.tracks
    return (
        np.array_equal(x.track_ids, y.track_ids)
        and np.array_equal(x.ages, y.ages)
        and np.array_equal(x.detections.boxes_xyxy, y.detections.boxes_xyxy)
        and np.array_equal(x.detections.scores, y.detections.scores)
        and np.array_equal(x.detections.labels, y.detections.labels)
        and x.detections.masks == y.detections.masks
    )


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_a_batch_is_its_frames_one_by_one_in_any_order(order: list[int]) -> None:
    states = [TASK.initial_state()] * 3
    for seq in range(8):
        answers = random_answers(3, seed=seq)
        frames = [frame(f"s{i}", seq) for i in range(3)]
        alone = [TASK.postprocess(a, [f], [s])[0] for a, f, s in zip(answers, frames, states, strict=True)]
        together = TASK.postprocess(
            batch([answers[i] for i in order]), [frames[i] for i in order], [states[i] for i in order]
        )
        for place, i in enumerate(order):
            assert equal(together[place][0], alone[i][0]) and same(together[place][1], alone[i][1])
        states = [state for _, state in alone]
    assert all(s.valid.any() for s in states)


def test_one_streams_reset_leaves_the_others_alone() -> None:
    answers = batch(random_answers(2, seed=1))
    frames = [frame("a"), frame("b")]
    states = [s for _, s in TASK.postprocess(answers, frames, [TASK.initial_state()] * 2)]
    later = batch(random_answers(2, seed=2))
    kept = TASK.postprocess(later, frames, states)
    reset = TASK.postprocess(later, frames, [TASK.initial_state(), states[1]])
    assert equal(reset[1][0], kept[1][0]) and same(reset[1][1], kept[1][1])
    assert not same(reset[0][1], kept[0][1])
    np.testing.assert_array_equal(
        TASK.preprocess(frames, [TASK.initial_state(), states[1]])["track_hs"][1],
        TASK.preprocess(frames, states)["track_hs"][1],
    )


def test_states_are_values_that_no_step_changes() -> None:
    _, state = follow([answer((K, 0.9, LEFT))])
    before = {f.name: np.copy(getattr(state, f.name)) for f in fields(TrackState)}
    follow(random_answers(3, seed=5), state)
    assert all(np.array_equal(before[name], getattr(state, name)) for name in before)
    with pytest.raises(ValueError, match="read-only"):
        state.hs[0, 0] = 1


def test_preprocess_packs_pictures_and_tracks() -> None:
    _, state = follow([answer((K, 0.9, LEFT))])
    inputs = TASK.preprocess([frame(seq=3), frame(seq=4)], [state, TASK.initial_state()])
    assert {n: (a.shape, a.dtype.str) for n, a in inputs.items()} == {
        "images": ((2, *HW, 3), "|u1"),
        "track_hs": ((2, K, D), "<f4"),
        "track_boxes": ((2, K, 4), "<f4"),
        "track_valid": ((2, K), "<f4"),
    }
    assert inputs["track_valid"].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert inputs["images"][:, 0, 0, 0].tolist() == [3, 4]


def test_a_mask_is_the_dot_product_inside_the_box_on_the_mask_grid() -> None:
    rng = np.random.default_rng(7)
    one = answer((K, 0.9, (0.5, 0.5, 0.4, 0.5)), (K + 1, 0.8, (1.0, 1.0, 0.3, 0.3)))
    one["mask_embed"] = rng.normal(size=one["mask_embed"].shape).astype(np.float32)
    one["mask_features"] = rng.normal(size=one["mask_features"].shape).astype(np.float32)
    [perception], _ = follow([one])
    masks = perception.tracks.detections.masks
    assert masks is not None and len(masks) == 2
    logits = np.einsum("qm,mhw->qhw", one["mask_embed"][0, K : K + 2], one["mask_features"][0])
    for mask, full, (ys, xs) in zip(
        masks,
        logits > 0,
        [(slice(4, 12), slice(9, 23)), (slice(13, 16), slice(27, 32))],
        strict=True,
    ):
        expected = np.zeros(MASK_HW, bool)
        expected[ys, xs] = full[ys, xs]
        assert mask.size_hw == MASK_HW and expected.any()
        np.testing.assert_array_equal(mask_from_rle(mask), expected)


def test_an_answer_of_nan_or_outside_the_picture_is_no_object() -> None:
    one = answer((K, 0.9, (np.nan, 0.5, 0.1, 0.1)), (K + 1, 0.9, (1.5, 0.5, 0.2, 0.2)), (K + 2, 0.9, LEFT))
    one["pred_logits"][0, K + 3] = np.nan
    [perception], state = follow([one])
    assert ids(perception) == [1]
    assert np.isfinite(state.boxes_cxcywh).all()


def test_the_label_of_a_track_outlives_one_doubtful_frame() -> None:
    other = answer((0, 0.8, LEFT), label=1)
    seen, _ = follow([answer((K, 0.9, LEFT)), other, other, other])
    names = [p.label_names[p.tracks.detections.labels[0]] for p in seen]
    assert names == ["person", "person", "person", "car"]


def test_spare_slots_change_nothing_that_is_seen() -> None:
    roomy = TrackTask(labels=LABELS, input_hw=HW, slots=K + 3, dim=D, rules=RULES)
    state, wide_state = TASK.initial_state(), roomy.initial_state()
    for seq, one in enumerate(random_answers(6, seed=11)):
        one["pred_logits"][0, K + 2 :] = -9  # never more newborns than slots
        wide = {
            name: rows
            if name == "mask_features"
            else np.insert(rows, [K, K, K], 1e3, axis=1)  # rows of empty slots may hold anything
            for name, rows in one.items()
        }
        [(seen, state)] = TASK.postprocess(one, [frame(seq=seq)], [state])
        [(wide_seen, wide_state)] = roomy.postprocess(wide, [frame(seq=seq)], [wide_state])
        if state.evicted or state.refused:
            break
        assert equal(seen, wide_seen)
        np.testing.assert_array_equal(state.ids[state.valid], wide_state.ids[wide_state.valid])
    assert seq >= 2


def spec(meta: dict[str, Any]) -> EngineSpec:
    u1, f4 = np.dtype(np.uint8), np.dtype(np.float32)
    inputs = (TensorSpec("images", (-1, *HW, 3), u1), TensorSpec("track_hs", (-1, K, D), f4))
    return EngineSpec("tiny", "torch", "f32", "cpu", "0", inputs, (), 8, meta)


def test_shapes_labels_and_rules_come_from_the_engines_spec() -> None:
    task = TrackTask.from_spec(spec({"labels": list(LABELS), "track": {"birth": 0.7, "patience": 3}}))
    assert (task.input_hw, task.slots, task.dim, task.labels) == (HW, K, D, LABELS)
    assert task.rules == TrackRules(birth=0.7, patience=3)


@pytest.mark.parametrize(
    ("meta", "says"), [({"labels": ["a"], "track": {"brith": 1}}, "brith"), ({}, "labels")]
)
def test_a_bad_spec_gets_one_line(meta: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        TrackTask.from_spec(spec(meta))
    assert "\n" not in str(caught.value)


def test_a_picture_of_the_wrong_size_is_refused() -> None:
    wrong = Frame(frame().ref, np.zeros((8, 8, 3), np.uint8), SOURCE_HW, 0)
    with pytest.raises(EngineError, match=r"\(8, 8, 3\) is not \(32, 64, 3\)"):
        TASK.preprocess([wrong], [TASK.initial_state()])
