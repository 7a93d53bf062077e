"""The query-track task: decisions as its authors' tracker makes them, and the laws of a batch of streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.tasks.query_tracks import QueryTrackRules, QueryTrackState, QueryTrackTask, survivors
from streamer.errors import EngineError
from streamer.ports import EngineSpec, TensorSpec
from streamer.types import Fit, Frame, FrameRef, Perception

GOLDEN = Path(__file__).parent.parent / "golden" / "query_tracks.npz"
HW, SOURCE_HW = (64, 96), (240, 320)
K, Q, D, S = 5, 4, 2, 3
LEFT, RIGHT, TOP = (0.2, 0.5, 0.2, 0.4), (0.7, 0.5, 0.2, 0.4), (0.45, 0.1, 0.1, 0.2)
Answer = dict[str, NDArray[Any]]
Row = tuple[int, float, tuple[float, float, float, float]]  # row, score, box cxcywh in 0..1


def task(patience: int = 5, slots: int = K, **more: Any) -> QueryTrackTask:
    rules = QueryTrackRules(patience=patience)
    more = {"memory_shape": (S, D), **more}
    return QueryTrackTask(labels=("person",), input_hw=HW, slots=slots, dim=D, rules=rules, **more)


def frame(stream: str = "s", seq: int = 0, source_hw: tuple[int, int] = SOURCE_HW) -> Frame:
    ref = FrameRef(stream, 1, seq, seq, Fraction(1, 25), 0, 0)
    return Frame(ref, np.full((*HW, 3), seq % 256, np.uint8), source_hw, 0)


def answer(*rows: Row, label: int = 0, mark: float = 0.0) -> Answer:
    """One frame's answer in which only `rows` are objects; a row's next query is its own number."""
    logits = np.full((1, K + Q, 3), -9.0, np.float32)
    boxes = np.tile(np.array([0.5, 0.5, 0.1, 0.1], np.float32), (1, K + Q, 1))
    for row, score, box in rows:
        logits[0, row, label] = np.log(score / (1 - score))
        boxes[0, row] = box
    hs = np.repeat(np.arange(K + Q, dtype=np.float32)[None, :, None], D, axis=2)
    memory = np.full((1, S, D), mark, np.float32)
    return {"pred_logits": logits, "pred_boxes": boxes, "next_hs": hs, "next_memory": memory}


def follow(
    answers: Sequence[Answer], by: QueryTrackTask, state: QueryTrackState | None = None
) -> tuple[list[Perception], QueryTrackState]:
    """Run one stream through these answers."""
    state = state or by.initial_state()
    seen = []
    for seq, one in enumerate(answers):
        [(perception, state)] = by.postprocess(one, [frame(seq=seq)], [state])
        seen.append(perception)
    return seen, state


def ids(perception: Perception) -> list[int]:
    return perception.tracks.track_ids.tolist()


def same(a: QueryTrackState, b: QueryTrackState) -> bool:
    return all(
        np.array_equal(x, y) if isinstance(x := getattr(a, f.name), np.ndarray) else x == y
        for f in dataclasses.fields(QueryTrackState)
        for y in [getattr(b, f.name)]
    )


@pytest.mark.parametrize(
    ("case", "patience", "overflow"), [("plain", 0, True), ("reid", 5, True), ("cut", 5, False)]
)
def test_it_decides_as_its_authors_tracker_does(case: str, patience: int, overflow: bool) -> None:
    """Theirs ran on the same scripted network (tests/golden/make_query_tracks.py). Ids may have gaps in theirs."""
    golden = dict(np.load(GOLDEN))
    said_boxes, said_logits = (golden[n].astype(np.float32) for n in ("boxes", "logits"))
    theirs = golden[f"{case}_told"]
    number_of = {track: i + 1 for i, track in enumerate(sorted(set(theirs[:, 1].tolist())))}
    frames, numbers = said_boxes.shape[:2]
    queries, slots = numbers // frames, 40
    by = task(patience, slots, memory_shape=(0, 0), overflow_boxes=overflow)
    state = by.initial_state()
    for t in range(frames):
        old = state.hs[:, 0].round().astype(int)
        asked = golden[f"{case}_asked"]
        assert sorted(old[state.valid].tolist()) == asked[asked[:, 0] == t, 1].tolist()
        rows = np.concatenate([old, t * queries + np.arange(queries)])
        hs = np.repeat(rows[:, None].astype(np.float32), D, axis=1)
        said = {"pred_logits": said_logits[t, rows], "pred_boxes": said_boxes[t, rows], "next_hs": hs}
        [(perception, state)] = by.postprocess({n: a[None] for n, a in said.items()}, [frame(seq=t)], [state])
        order = np.argsort(perception.tracks.track_ids)
        expected = theirs[theirs[:, 0] == t]
        assert (
            ids(perception)
            and (perception.tracks.track_ids[order] == [number_of[i] for i in expected[:, 1]]).all()
        )
        np.testing.assert_allclose(perception.tracks.detections.scores[order], expected[:, 2], atol=1e-6)
        h, w = SOURCE_HW
        inside = np.clip(expected[:, 3:], 0, [w, h, w, h])
        np.testing.assert_allclose(perception.tracks.detections.boxes_xyxy[order], inside, atol=1e-3)
    assert state.evicted == state.refused == 0


def test_nothing_seen_is_an_empty_answer_and_a_state_that_remembers_the_picture_alone() -> None:
    [perception], state = follow([answer(mark=3.0)], task())
    assert len(perception.tracks) == 0
    assert (state.memory == 3.0).all() and state.memory_hw == (64, 85)
    assert same(
        dataclasses.replace(state, memory=task().initial_state().memory, memory_hw=None),
        task().initial_state(),
    )


@pytest.mark.parametrize(("patience", "gap", "back"), [(0, 1, []), (5, 1, [1]), (5, 5, [1]), (5, 6, [])])
def test_a_lost_track_stays_a_query_for_its_patience(patience: int, gap: int, back: list[int]) -> None:
    gone = [answer((0, 0.3, RIGHT))] * gap
    seen, state = follow([answer((K + 1, 0.9, LEFT)), *gone, answer((0, 0.5, TOP))], task(patience))
    assert [ids(p) for p in seen] == [[1], *[[]] * gap, back]
    if back:
        np.testing.assert_allclose(state.boxes_cxcywh[0], TOP, rtol=1e-6)


def test_while_lost_it_keeps_the_query_and_the_box_it_was_last_seen_with() -> None:
    _, state = follow([answer((K + 1, 0.9, LEFT)), answer((0, 0.3, RIGHT))], task())
    assert (state.valid[0], state.active[0], state.lost[0], state.ages[0]) == (True, False, 1, 1)
    assert state.hs[0].tolist() == [K + 1.0] * D
    np.testing.assert_allclose(state.boxes_cxcywh[0], LEFT, rtol=1e-6)


def test_a_likelier_class_without_a_label_is_no_object() -> None:
    [perception], _ = follow([answer((K, 0.9, LEFT), label=1)], task())
    assert len(perception.tracks) == 0


@pytest.mark.parametrize(("row", "score"), [(K, 0.39), (0, 0.99), (K, float("nan"))])
def test_what_is_no_object(row: int, score: float) -> None:
    """Too unsure, a row of an empty slot, and no number at all."""
    [perception], state = follow([answer((row, score, LEFT))], task())
    assert len(perception.tracks) == 0 and not state.valid.any()


def test_softmax_leaves_nothing_out() -> None:
    one = answer()
    one["pred_logits"][0, K] = [2.0, 0.0, 2.5]  # person .36, other .05, nothing .59
    assert not ids(follow([one], task(scores="softmax"))[0][0])
    one["pred_logits"][0, K] = [2.5, 0.0, 2.0]
    assert ids(follow([one], task(scores="softmax"))[0][0]) == [1]


def test_more_newborns_than_slots_are_counted_and_lost_tracks_make_room() -> None:
    spots = [(0.1 + 0.25 * i, 0.5, 0.1, 0.2) for i in range(Q)]
    first = answer(*((K + i, 0.9, spot) for i, spot in enumerate(spots)))
    again = answer(*((K + i, 0.6 + 0.1 * i, (x, 0.9, w, 0.1)) for i, (x, _, w, _) in enumerate(spots)))
    seen, state = follow([first, again], task())
    assert ids(seen[0]) == [1, 2, 3, 4]
    assert len(ids(seen[1])) == Q and (state.evicted, state.refused) == (3, 0)
    both = answer(
        *((i, 0.9, spot) for i, spot in enumerate(spots)),
        *((K + i, 0.9, (x, 0.1, w, 0.1)) for i, (x, _, w, _) in enumerate(spots)),
    )
    seen, state = follow([first, both], task())
    assert len(ids(seen[1])) == K and (state.evicted, state.refused) == (0, Q - 1)


def test_the_surer_of_equals_survives_and_the_standing_always() -> None:
    """Boxes 0, 1 and 2 lie side by side, each .905 on the next; what is struck out strikes nobody out."""
    corners = np.array([[0, 0, 1, 1], [0.05, 0, 1.05, 1], [0.1, 0, 1.1, 1], [2, 2, 3, 3]], np.float32)
    every = np.arange(4)
    middle, left = np.array([0.5, 0.9, 0.7, 0.1], np.float32), np.array([0.9, 0.8, 0.7, 0.1], np.float32)
    assert survivors(every, corners, middle, 0.9).tolist() == [1, 3]
    assert survivors(every, corners, left, 0.9).tolist() == [0, 2, 3]
    assert survivors(every, corners, left, 0.95).tolist() == [0, 1, 2, 3]
    assert survivors(every[1:], corners, middle, 0.9, standing=every[:1]).tolist() == [2, 3]
    assert survivors(every[:0], corners, middle, 0.9).tolist() == []


def streams() -> tuple[list[Answer], list[Frame], list[QueryTrackState]]:
    """Three streams at different points of their lives, and what the network says of each one's next frame."""
    by = task()
    states = [
        by.initial_state(),
        follow([answer((K, 0.9, LEFT), mark=1.0)], by)[1],
        follow(
            [answer((K, 0.9, LEFT), (K + 3, 0.8, RIGHT), mark=2.0), answer((1, 0.7, RIGHT), mark=2.5)], by
        )[1],
    ]
    said = [
        answer((K + 2, 0.7, TOP), mark=3.0),
        answer((0, 0.6, LEFT), (K, 0.9, RIGHT), mark=4.0),
        answer((0, 0.45, LEFT), (1, 0.2, RIGHT), mark=5.0),
    ]
    return said, [frame(f"s{i}", 2) for i in range(3)], states


def stacked(said: Sequence[Answer]) -> Answer:
    return {name: np.concatenate([one[name] for one in said]) for name in said[0]}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_batch_is_each_stream_alone_in_any_order(order: tuple[int, ...]) -> None:
    by = task()
    said, frames, states = streams()
    alone = [by.postprocess(said[i], [frames[i]], [states[i]])[0] for i in range(3)]
    batch = by.postprocess(
        stacked([said[i] for i in order]), [frames[i] for i in order], [states[i] for i in order]
    )
    for i, (perception, state) in zip(order, batch, strict=True):
        assert same(state, alone[i][1])
        assert ids(perception) == ids(alone[i][0])
        np.testing.assert_array_equal(
            perception.tracks.detections.boxes_xyxy, alone[i][0].tracks.detections.boxes_xyxy
        )
    packed = by.preprocess([frames[i] for i in order], [states[i] for i in order])
    for at, i in enumerate(order):
        for name, one in by.preprocess([frames[i]], [states[i]]).items():
            np.testing.assert_array_equal(packed[name][at : at + 1], one)


def test_one_streams_reset_leaves_the_others_alone() -> None:
    by = task()
    said, frames, states = streams()
    before = by.postprocess(stacked(said), frames, states)
    after = by.postprocess(stacked(said), frames, [states[0], by.initial_state(), states[2]])
    assert same(before[0][1], after[0][1]) and same(before[2][1], after[2][1])
    assert ids(after[1][0]) == [1]


def test_more_slots_change_nothing() -> None:
    def widened(one: Answer, extra: int) -> Answer:
        pad = {n: np.repeat(a[:, :1], extra, axis=1) for n, a in one.items() if n != "next_memory"}
        wide = {n: np.concatenate([one[n][:, :K], pad[n], one[n][:, K:]], axis=1) for n in pad}
        return {**wide, "next_memory": one["next_memory"]}

    lives = [
        answer((K, 0.9, LEFT), (K + 1, 0.8, RIGHT)),
        answer((0, 0.1, LEFT), (1, 0.8, RIGHT)),
        answer((0, 0.9, LEFT)),
    ]
    few, _ = follow(lives, task())
    many, _ = follow([widened(one, 7) for one in lives], task(slots=K + 7))
    assert [ids(p) for p in few] == [ids(p) for p in many] == [[1, 2], [2], [1]]


def test_states_are_values() -> None:
    by = task()
    said, frames, states = streams()
    kept = [dataclasses.replace(s) for s in states]
    by.postprocess(stacked(said), frames, states)
    assert all(same(a, b) for a, b in zip(kept, states, strict=True))
    with pytest.raises(ValueError, match="read-only"):
        states[2].memory[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        states[2].hs[0] = 1.0


def test_a_remembered_picture_counts_only_while_the_source_keeps_its_shape() -> None:
    by = task()
    _, state = follow([answer(mark=6.0)], by)
    other = frame(source_hw=(240, 240))
    packed = by.preprocess([frame(), frame(), other], [by.initial_state(), state, state])
    assert packed["prev_valid"].tolist() == [0.0, 1.0, 0.0]
    assert packed["content_hw"].tolist() == [[64.0, 85.0], [64.0, 85.0], [64.0, 64.0]]
    looked = [{"memory": np.zeros((S, D)), "extent_hw": extent} for extent in packed["content_hw"]]
    staged = by.follow_inputs(looked, [frame(), frame(), other], [by.initial_state(), state, state])
    assert staged["prev_valid"].tolist() == [0.0, 1.0, 0.0]
    assert (staged["prev_memory"][1] == 6.0).all() and staged["memory"].shape == (3, S, D)


def spec(**meta: Any) -> EngineSpec:
    f32 = np.dtype(np.float32)
    inputs = (
        TensorSpec("images", (-1, *HW, 3), np.dtype(np.uint8)),
        TensorSpec("track_hs", (-1, K, D), f32),
        TensorSpec("prev_memory", (-1, S, D), f32),
    )
    config = {"fit": "pad", "scores": "sigmoid", "overflow_boxes": False}
    meta = {"labels": ["person"], "config": config, **meta}
    return EngineSpec("tf", "onnx", "f32", "cpu", "0", inputs, (), 8, meta)


def test_the_task_is_read_off_an_engine() -> None:
    by = QueryTrackTask.from_spec(spec(track={"patience": 5}))
    assert (by.slots, by.input_hw, by.fit, by.rules.patience) == (K, HW, Fit.PAD, 5)
    assert by.initial_state().memory.shape == (S, D)
    with pytest.raises(EngineError, match="unknown rule 'patients'"):
        QueryTrackTask.from_spec(spec(track={"patients": 5}))
    with pytest.raises(EngineError, match="cannot track"):
        QueryTrackTask.from_spec(spec(config={}))


def test_batches_of_unequal_length_and_wrong_pictures_are_refused() -> None:
    by = task()
    with pytest.raises(ValueError, match="2 frames with 1 states"):
        by.preprocess([frame(), frame()], [by.initial_state()])
    with pytest.raises(ValueError, match="0 looks"):
        by.follow_inputs([], [], [])
    with pytest.raises(ValueError, match="1 frames, 1 states, 3 answers"):
        by.postprocess(stacked(streams()[0]), [frame()], [by.initial_state()])
