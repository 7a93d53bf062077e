"""The further heads of the track task on answers made by hand: the map, key points, clips of tracks, actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.tasks.clips_of_tracks import ClipTiming, stream_ns
from engines.tasks.keypoints import REACH, SIGMA, keypoints_in_boxes
from engines.tasks.track import TrackRules, TrackState, TrackTask
from engines.tasks.track_actions import ActionJudge, ActionRules
from engines.tasks.track_heads import Heads
from streamer.errors import EngineError
from streamer.ports import EngineSpec, StagedTask, TensorSpec
from streamer.types import Frame, FrameRef, Perception

K, Q, D, F, T, HW, KEY_HW = 3, 4, 8, 6, 4, (32, 64), (16, 32)
LABELS, ACTIONS, POINTS, GROUND = (
    ("person", "car"),
    ("walk", "fall", "lie"),
    ("head", "foot"),
    ("road", "sky"),
)
STRIDE_S, HZ, GRID = 0.16, 12.5, (8, 6)
HEADS = Heads(
    GROUND, POINTS, GRID, F, ClipTiming(STRIDE_S, HZ), ActionJudge(ACTIONS, T, ActionRules(min_frames=2))
)
RULES = TrackRules(birth=0.5, keep=0.4, patience=3, duplicate_iou=0.6, collapse_iou=0.9)
TASK = TrackTask(labels=LABELS, input_hw=HW, slots=K, dim=D, rules=RULES, heads=HEADS)
LEFT, RIGHT = (0.2, 0.5, 0.2, 0.4), (0.7, 0.5, 0.2, 0.4)
WALK, FALL, LIE = range(3)
Answer = dict[str, NDArray[Any]]


def frame(at_s: float, stream: str = "s") -> Frame:
    ref = FrameRef(stream, 1, 0, round(at_s * 1000), Fraction(1, 1000), 0, 10**18 + round(at_s * 1e9))
    return Frame(ref, np.zeros((*HW, 3), np.uint8), (320, 640), 0)


def answer(
    *rows: tuple[int, tuple[float, float, float, float]],
    acts: Sequence[int] = (WALK,) * K,
    scene: Sequence[float] = (-5.0,) * 3,
    label: int = 0,
    mark: float = 1.0,
) -> Answer:
    """One frame's answer in which `rows` are objects, slot k does acts[k]; every feature is `mark` + its row."""
    n = K + Q
    logits = np.full((1, n, 2), -12.0, np.float32)
    boxes = np.tile(np.array([0.5, 0.5, 0.1, 0.1], np.float32), (1, n, 1))
    for row, box in rows:
        logits[0, row, label], boxes[0, row] = 3.0, box
    doing = np.zeros((1, K, 3), np.float32)
    doing[0, np.arange(K), list(acts)] = 4.0
    marks = mark + np.arange(n, dtype=np.float32)
    return {
        "pred_logits": logits,
        "pred_boxes": boxes,
        "mask_embed": np.ones((1, n, 3), np.float32),
        "mask_features": np.ones((1, 3, *KEY_HW), np.float32),
        "next_hs": np.zeros((1, n, D), np.float32),
        "semantic": np.arange(KEY_HW[0] * KEY_HW[1], dtype=np.uint8).reshape(1, *KEY_HW) % 2,
        "key_features": np.zeros((1, 2, *KEY_HW), np.float32),
        "key_embed": np.zeros((1, n, 4), np.float32),
        "key_logits": np.zeros((1, n, 2), np.float32),
        "key_offset": np.zeros((1, n, 2, 2), np.float32),
        "object_feature": np.repeat(marks[None, :, None], F, axis=2),
        "clip_feature": np.full((1, F), -mark, np.float32),
        "action_logits": doing,
        "scene_logits": np.array([scene], np.float32),
    }


def follow(
    times_s: Sequence[float], answers: Sequence[Answer], state: TrackState | None = None
) -> tuple[list[Perception], TrackState]:
    state = state or TASK.initial_state()
    seen = []
    for at_s, one in zip(times_s, answers, strict=True):
        [(perception, state)] = TASK.postprocess(one, [frame(at_s)], [state])
        seen.append(perception)
    return seen, state


def packed(at_s: float, state: TrackState) -> dict[str, NDArray[Any]]:
    return TASK.preprocess([frame(at_s)], [state])


def times(count: int, step_s: float = 0.08, start_s: float = 0.0) -> list[float]:
    return [start_s + step_s * i for i in range(count)]


def of_track(perception: Perception, track_id: int | None = 1) -> list[str]:
    return [a.name for a in perception.actions if a.track_id == track_id]


# ------------------------------------------------------------------------------------------------ key points


def reference(
    features: NDArray[Any],
    kernels: NDArray[Any],
    guesses: NDArray[Any],
    box: NDArray[Any],
    grid: tuple[int, int],
) -> NDArray[Any]:
    """One row's places, cell by cell, as the model's definition says it."""
    channels, h, w = features.shape
    heat = np.zeros((len(kernels), *grid))
    us = [((c + 0.5) / grid[1] - 0.5) * REACH for c in range(grid[1])]
    vs = [((r + 0.5) / grid[0] - 0.5) * REACH for r in range(grid[0])]
    for r, v in enumerate(vs):
        for c, u in enumerate(us):
            x, y = box[:2] + np.array([u, v]) * box[2:]
            px, py = min(max(x * w - 0.5, 0), w - 1), min(max(y * h - 0.5, 0), h - 1)
            x0, y0 = min(int(px), w - 2), min(int(py), h - 2)
            fx, fy = px - x0, py - y0
            sample = (
                features[:, y0, x0] * (1 - fx) * (1 - fy)
                + features[:, y0, x0 + 1] * fx * (1 - fy)
                + features[:, y0 + 1, x0] * (1 - fx) * fy
                + features[:, y0 + 1, x0 + 1] * fx * fy
            )
            off = ((np.array([u, v]) - guesses) ** 2).sum(axis=1)
            heat[:, r, c] = kernels @ sample / np.sqrt(channels) - off / (2 * SIGMA**2)
    share = np.exp(heat - heat.max(axis=(1, 2), keepdims=True))
    share /= share.sum(axis=(1, 2), keepdims=True)
    return np.asarray(box[:2] + np.stack([share.sum(1) @ us, share.sum(2) @ vs], axis=1) * box[2:])


def test_key_points_are_what_their_definition_says_also_at_the_border() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(0, 3, (5, 18, 32)).astype(np.float32)
    kernels = rng.normal(0, 2, (4, 3 * 5)).astype(np.float32)
    logits = rng.normal(0, 2, (4, 3)).astype(np.float32)
    guesses = rng.normal(0, 0.3, (4, 3, 2)).astype(np.float32)
    boxes = np.array(
        [[0.5, 0.5, 0.3, 0.6], [0.02, 0.97, 0.2, 0.3], [1.0, 0.0, 0.1, 0.5], [0.31, 0.4, 0.002, 0.002]],
        np.float32,
    )
    found = keypoints_in_boxes(features, kernels, logits, guesses, boxes, (6, 4))
    assert found.shape == (4, 3, 3) and found.dtype == np.float32
    for i in range(4):
        expected = reference(features, kernels[i].reshape(3, 5), guesses[i], boxes[i], (6, 4))
        np.testing.assert_allclose(found[i, :, :2], expected, atol=1e-5)
    np.testing.assert_allclose(found[..., 2], 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_a_peak_in_the_features_is_where_the_point_is_said_in_pixels_of_the_source() -> None:
    one = answer((K, LEFT), (K + 1, RIGHT))
    one["key_features"][0, 0, 6, 4] = 50.0  # x (4 + .5) / 32 of the picture, y (6 + .5) / 16
    one["key_embed"][0, K] = [9.0, 0.0, 0.0, 0.0]  # the head looks for it, the foot for nothing
    one["key_logits"][0, K] = [2.0, -2.0]
    [perception], _ = follow([0.0], [one])
    assert perception.keypoints is not None and perception.keypoint_names == POINTS
    assert perception.keypoints.shape == (2, 2, 3)
    head, foot = perception.keypoints[0]
    assert (
        abs(head[0] - 4.5 / 32 * 640) < 12 and abs(head[1] - 6.5 / 16 * 320) < 12
    )  # half a cell of the grid
    np.testing.assert_allclose(foot[:2], [0.2 * 640, 0.5 * 320], atol=1e-3)
    np.testing.assert_allclose([head[2], foot[2]], [0.8808, 0.1192], atol=1e-3)


def test_only_persons_have_key_points_and_do_things() -> None:
    seen, _ = follow(times(6), [answer((K, LEFT), label=1)] + [answer((0, LEFT), label=1)] * 5)
    assert all(p.keypoints is not None and not p.keypoints.any() and len(p.keypoints) == 1 for p in seen)
    assert all(not p.actions for p in seen)


def test_the_map_of_classes_is_a_copy_with_its_names() -> None:
    one = answer()
    [perception], _ = follow([0.0], [one])
    assert perception.semantic is not None and perception.semantic_names == GROUND
    np.testing.assert_array_equal(perception.semantic, one["semantic"][0])
    assert (
        not np.shares_memory(perception.semantic, one["semantic"]) and not perception.semantic.flags.writeable
    )


# ----------------------------------------------------------------------------------------------------- clips


def test_a_clip_is_made_of_time_stamps_whatever_the_cameras_rate() -> None:
    marks = {}
    for rate in (12.5, 25.0, 50.0):
        count = int(0.64 * rate) + 1
        at = [i / rate for i in range(count)]
        answers = [answer((K if i == 0 else 0, LEFT), mark=1 + 100 * t) for i, t in enumerate(at)]
        _, state = follow(at, answers)
        inputs = packed(0.72, state)
        assert inputs["ring"].shape == (1, 1 + K, T - 1, F) and inputs["ring_age"].dtype == np.int64
        assert inputs["ring_valid"][0].tolist() == [[1] * 3] * 2 + [[0] * 3] * 2
        assert (
            inputs["ring_age"][0].tolist() == [[5, 3, 1]] * 2 + [[1] * 3] * 2
        )  # .32, .48 and .64 s, ticks of .08
        marks[rate] = inputs["ring"][0, :2, :, 0].round(2).tolist()
    assert marks[12.5] == marks[25.0] == marks[50.0]
    assert marks[12.5][1] == [33.0, 49.0, 65.0] and marks[12.5][0] == [-33.0, -49.0, -65.0]


def test_a_young_clip_is_masked_in_front_and_a_newborn_brings_its_own_row() -> None:
    _, state = follow([0.0], [answer((K + 2, LEFT), mark=7.0)])
    inputs = packed(0.08, state)
    assert inputs["ring_valid"][0, :2].tolist() == [[0, 0, 1]] * 2
    assert inputs["ring"][0, 1, -1].tolist() == [7.0 + K + 2] * F


def test_a_lost_track_keeps_its_clip_and_the_gap_shows_in_the_ages() -> None:
    born, seen, lost = answer((K, LEFT)), answer((0, LEFT)), answer()
    _, state = follow(times(6), [born, seen, seen, lost, lost, lost])
    inputs = packed(0.48, state)
    assert inputs["ring_valid"][0, 1].tolist() == [0, 1, 1]
    assert inputs["ring_age"][0, 1, 1:].tolist() == [6, 4]  # of 0 and .16 s
    assert inputs["ring_age"][0, 0].tolist() == [6, 4, 2]  # the stream's own went on
    _, gone = follow([0.48], [lost], state)
    assert not gone.valid[0] and packed(0.56, gone)["ring_valid"][0, 1].sum() == 0


def test_a_slot_taken_by_another_track_starts_with_an_empty_clip() -> None:
    boxes = [(x, 0.5, 0.1, 0.2) for x in (0.1, 0.4, 0.7)]
    full = answer(*[(K + i, b) for i, b in enumerate(boxes)])
    kept = answer(*[(i, b) for i, b in enumerate(boxes)])
    evicting = answer((0, boxes[0]), (1, boxes[1]), (K, (0.7, 0.1, 0.1, 0.1)), mark=50.0)
    _, state = follow(times(4), [full, kept, kept, evicting])
    assert state.evicted == 1 and state.ids.tolist() == [1, 2, 4]
    inputs = packed(0.32, state)
    assert inputs["ring_valid"][0].sum(axis=1).tolist() == [2, 2, 2, 1]
    assert inputs["ring"][0, 3, -1, 0] == 50.0 + K


@pytest.mark.parametrize("later_s", [0.24 + 0.97, 0.05])
def test_a_long_gap_or_time_running_back_ends_all_clips(later_s: float) -> None:
    _, state = follow(times(4), [answer((K, LEFT)), *[answer((0, LEFT))] * 3])
    assert packed(0.32, state)["ring_valid"][0, :2].sum() == 4
    assert packed(later_s, state)["ring_valid"].sum() == 0
    _, after = follow([later_s], [answer((0, LEFT))], state)
    assert packed(later_s + 0.08, after)["ring_valid"][0].sum(axis=1).tolist() == [1, 1, 0, 0]


def test_staged_and_whole_inputs_say_the_same_and_streams_do_not_meet() -> None:
    assert isinstance(TASK, StagedTask)
    states = [follow(times(n), [answer((K, LEFT)), *[answer((0, LEFT))] * (n - 1)])[1] for n in (1, 3, 6)]
    frames = [frame(0.08 * n, f"s{n}") for n in (1, 3, 6)]
    whole = TASK.preprocess(frames, states)
    staged = TASK.follow_inputs([{"tokens": np.zeros(2)}] * 3, frames, states)
    assert set(staged) == set(whole) - {"images"} | {"tokens"}
    assert all(np.array_equal(staged[name], whole[name]) for name in staged if name != "tokens")
    for b, (one, state) in enumerate(zip(frames, states, strict=True)):
        alone = TASK.preprocess([one], [state])
        assert all(np.array_equal(alone[name][0], whole[name][b]) for name in whole)


def test_states_with_clips_are_values_that_no_step_changes() -> None:
    _, state = follow(times(3), [answer((K, LEFT)), *[answer((0, LEFT))] * 2])
    arrays = [getattr(v, f.name) for v in (state.clips, state.acting) for f in dataclasses.fields(v)]
    before = [a.copy() for a in arrays]
    follow(times(4, start_s=0.24), [answer((0, LEFT), acts=(LIE,) * K, scene=(5, 5, 5))] * 4, state)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
    assert not any(a.flags.writeable for a in arrays)


# --------------------------------------------------------------------------------------------------- actions


def test_an_action_is_told_once_the_clip_is_long_enough_and_it_won_twice() -> None:
    seen, _ = follow(times(5), [answer((K, LEFT)), *[answer((0, LEFT), acts=(FALL,) * K)] * 4])
    assert [of_track(p) for p in seen] == [[], [], ["fall"], ["fall"], ["fall"]]  # frame 1 is its first win
    [action] = seen[-1].actions
    assert action.score == pytest.approx(np.exp(4) / (np.exp(4) + 2), rel=1e-5)
    assert action.start_wall_ns == 10**18 + round(0.08e9) and action.end_wall_ns == 10**18 + round(0.32e9)


def test_one_frame_of_another_action_changes_nothing_two_do() -> None:
    def doing(action: int) -> Answer:
        return answer((0, LEFT), acts=(action,) * K)

    acts = [WALK, WALK, WALK, FALL, WALK, FALL, LIE, FALL, FALL, WALK]
    seen, _ = follow(times(len(acts) + 1), [answer((K, LEFT)), *map(doing, acts)])
    told = [of_track(p) for p in seen]
    assert told == [[], [], *[["walk"]] * 7, ["fall"], ["fall"]]
    assert seen[-1].actions[0].start_wall_ns == 10**18 + round(0.64e9)  # when it first won of the two
    assert seen[-1].actions[0].score < 0.1  # its own score of this frame, where another was likelier


def test_a_track_that_was_lost_goes_on_and_its_successor_in_the_slot_does_not() -> None:
    walks, lost = answer((0, LEFT)), answer()
    seen, state = follow(times(7), [answer((K, LEFT)), walks, walks, lost, lost, walks, walks])
    assert [of_track(p) for p in seen][2:] == [["walk"], [], [], ["walk"], ["walk"]]
    assert seen[2].actions[0].start_wall_ns == seen[6].actions[0].start_wall_ns
    _, state = follow(times(5, start_s=0.56), [lost] * 5, state)
    reborn, _ = follow(times(2, start_s=0.96), [answer((K, LEFT)), walks], state)
    assert [p.actions for p in reborn] == [(), ()] and reborn[1].tracks.track_ids.tolist() == [2]


def test_the_scene_does_what_its_scores_say_the_likeliest_first() -> None:
    busy = answer((0, LEFT), scene=(1.0, -1.0, 2.0))
    seen, _ = follow(times(5), [answer((K, LEFT)), busy, busy, answer((0, LEFT), scene=(9, -9, -9)), busy])
    assert [of_track(p, None) for p in seen] == [[], *[["lie", "walk"]] * 2, ["walk"], ["lie", "walk"]]
    lie, walk = (
        next(a for a in seen[4].actions if a.name == n and a.track_id is None) for n in ("lie", "walk")
    )
    assert walk.start_wall_ns == 10**18 + round(0.08e9) and lie.start_wall_ns == 10**18 + round(0.32e9)
    scores = [a.score for a in seen[4].actions]
    assert scores == sorted(scores, reverse=True) and len(scores) == 3


def test_scores_that_are_no_numbers_tell_nothing() -> None:
    bad = answer((0, LEFT), scene=(np.nan,) * 3)
    bad["action_logits"][:] = np.nan
    seen, _ = follow(times(4), [answer((K, LEFT)), bad, bad, bad])
    assert all(p.actions == () for p in seen)


# ------------------------------------------------------------------------------------------------------ specs


def spec(config: dict[str, Any], act: dict[str, Any] | None = None, ring: bool = True) -> EngineSpec:
    u1, f4 = np.dtype(np.uint8), np.dtype(np.float32)
    inputs = [TensorSpec("images", (-1, *HW, 3), u1), TensorSpec("track_hs", (-1, K, D), f4)]
    inputs += [TensorSpec("ring", (-1, 1 + K, T - 1, F), f4)] if ring else []
    meta = {"labels": list(LABELS), "config": config, "act": act or {}}
    return EngineSpec("tiny", "torch", "f32", "cpu", "0", tuple(inputs), (), 8, meta)


CONFIG = {
    "semantic_labels": list(GROUND),
    "keypoint_names": list(POINTS),
    "key_grid_hw": list(GRID),
    "action_labels": list(ACTIONS),
    "clip_stride_s": STRIDE_S,
    "clip_hz": HZ,
}


def test_heads_come_from_the_engines_config_and_rules_from_its_card() -> None:
    assert TrackTask.from_spec(spec(CONFIG, {"min_frames": 2})).heads == HEADS
    plain = TrackTask.from_spec(
        spec({**CONFIG, "semantic_labels": [], "keypoint_names": [], "action_labels": []})
    )
    assert plain.heads == Heads((), (), GRID) and plain.initial_state().clips.ring.size == 0
    old = TrackTask.from_spec(spec({"height": 1}, ring=False))
    assert old.heads == Heads()


@pytest.mark.parametrize(
    ("config", "act", "ring", "says"),
    [
        (CONFIG, {}, False, "ring.* is missing: this engine judges no actions"),
        ({k: v for k, v in CONFIG.items() if k != "clip_hz"}, {}, True, "clip_hz.* is missing"),
        (CONFIG, {"min_frames": 9}, True, "a clip of 4 frames never has 9"),
        (CONFIG, {"gap_s": 0.1}, True, "every frame comes after a gap"),
        (CONFIG, {"gab": 1}, True, "unknown act rule 'gab'"),
    ],
)
def test_an_engine_that_lacks_what_it_promises_is_refused(
    config: dict[str, Any], act: dict[str, Any], ring: bool, says: str
) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        TrackTask.from_spec(spec(config, act, ring))
    assert "\n" not in str(caught.value)


def test_without_masks_there_are_none_and_all_else_is_as_before() -> None:
    one = answer((K, LEFT))
    for name in ("mask_embed", "mask_features"):
        del one[name]
    [perception], _ = follow([0.0], [one])
    assert perception.tracks.detections.masks is None and len(perception.tracks) == 1


def test_the_streams_time_is_exact_for_any_time_base() -> None:
    ref = FrameRef("s", 1, 0, 10**12 + 1, Fraction(1001, 30000), 0, 0)
    assert stream_ns(ref) == (10**12 + 1) * 1001 * 10**9 // 30000
