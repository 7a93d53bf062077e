"""The laws of the act task: clips by time stamps, gaps, warm-up, how long an action lasts, and batches."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.tasks.act import WRAP, ActRules, ActState, ActTask
from streamer.errors import EngineError
from streamer.ports import EngineSpec, StagedTask, TensorSpec
from streamer.types import Action, Fit, Frame, FrameRef, Perception

T, D, HW = 5, 3, (8, 8)
LABELS = ("walk", "run", "dance")
RULES = ActRules(top=2, min_score=0.2, min_frames=3, gap_s=1.0)
TASK = ActTask(labels=LABELS, input_hw=HW, frames=T, dim=D, stride_s=0.32, position_hz=25.0, rules=RULES)
WALL_NS = 1_700_000_000 * 10**9
Answer = dict[str, NDArray[Any]]


def frame(t_s: float, stream: str = "s") -> Frame:
    pts = round(t_s * 90_000)
    ref = FrameRef(stream, 1, 0, pts, Fraction(1, 90_000), 0, WALL_NS + round(t_s * 1e9))
    return Frame(ref, np.full((*HW, 3), 7, np.uint8), (100, 200), 0)


def answer(*scores: float, feature: float = 0.0) -> Answer:
    """One frame's answer: these probabilities, and a feature that says which frame it was."""
    logits = np.log(np.array([scores or (0.5, 0.3, 0.2)], np.float32))
    return {"logits": logits, "next_feature": np.full((1, D), feature, np.float32)}


def follow(
    times: list[float], answers: list[Answer] | None = None, state: ActState | None = None
) -> tuple[list[Perception], ActState]:
    """One stream's frames at these times (seconds), each with its answer, or all with the same."""
    state, seen = state or TASK.initial_state(), []
    for i, t_s in enumerate(times):
        one = answers[i] if answers else answer(feature=float(i))
        [(perception, state)] = TASK.postprocess(one, [frame(t_s)], [state])
        seen.append(perception)
    return seen, state


def names(perception: Perception) -> list[str]:
    return [action.name for action in perception.actions]


def same(a: ActState, b: ActState) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(ActState))


def test_an_action_is_named_once_enough_frames_are_known() -> None:
    seen, state = follow([0.0, 0.32, 0.64])
    assert [names(p) for p in seen] == [[], [], ["walk", "run"]]
    assert seen[2].actions[0] == Action(
        "walk", pytest.approx(0.5), None, WALL_NS + 640_000_000, WALL_NS + 640_000_000
    )  # type: ignore[arg-type]
    assert len(seen[2].tracks) == 0 and seen[2].label_names == ()
    assert state.known == 3
    assert state.ring[:, 0].tolist() == [0, 0, 1, 2] and state.ticks.tolist() == [0, 0, 8, 16]


@pytest.mark.parametrize("hz", [10.0, 25.0, 30.0, 60.0])
def test_clips_are_made_by_time_and_not_by_counting_frames(hz: float) -> None:
    times = [k / hz for k in range(round(3 * hz))]
    _, state = follow(times)
    entered = [times[round(k)] for k in state.ring[:, 0]]
    steps = np.diff(entered)
    assert steps.min() >= 0.32 - 1e-3 and steps.max() < 0.32 + 1 / hz
    assert state.ticks.tolist() == [round(t * 25) for t in entered]


def test_between_the_strides_the_last_answer_stands_and_lasts_longer() -> None:
    seen, before = follow([0.0, 0.32, 0.64])
    [between], after = follow([0.8], [answer(0.01, 0.01, 0.98)], before)
    assert names(between) == ["walk", "run"] and after is before
    assert between.actions[0].start_wall_ns == seen[2].actions[0].start_wall_ns
    assert between.actions[0].end_wall_ns == WALL_NS + 800_000_000


def test_an_action_keeps_its_start_while_it_is_named_and_gets_a_new_one_after() -> None:
    walk, dance = answer(0.6, 0.3, 0.1), answer(0.1, 0.1, 0.8)
    seen, _ = follow([0.0, 0.32, 0.64, 0.96, 1.28, 1.6], [walk, walk, walk, walk, dance, walk])
    starts = [{a.name: (a.start_wall_ns - WALL_NS) / 1e9 for a in p.actions} for p in seen]
    assert starts == [{}, {}, {"walk": 0.64, "run": 0.64}, {"walk": 0.64, "run": 0.64}, {"dance": 1.28},
                      {"walk": 1.6, "run": 1.6}]  # fmt: skip
    assert all(a.end_wall_ns == WALL_NS + 960_000_000 for a in seen[3].actions)


def test_only_likely_actions_are_named_the_likeliest_first() -> None:
    seen, _ = follow([0.0, 0.32, 0.64], [answer()] * 2 + [answer(0.15, 0.1, 0.75)])
    assert names(seen[2]) == ["dance"]
    assert [a.score for a in seen[2].actions] == [pytest.approx(0.75)]


@pytest.mark.parametrize("later_s", [0.64 + 1.2, 0.3])
def test_a_gap_or_time_running_back_ends_the_clip(later_s: float) -> None:
    _, before = follow([0.0, 0.32, 0.64])
    assert before.known == 3 and before.judged
    looked = [{"feature": np.zeros(D, np.float32), "position": TASK.look_inputs([frame(later_s)])["tick"][0]}]
    inputs = TASK.follow_inputs(looked, [frame(later_s)], [before])
    assert inputs["ring_valid"].sum() == 0 and inputs["position"].tolist() == [0]  # judged alone
    [perception], after = follow([later_s], [answer(feature=9.0)], before)
    assert names(perception) == [] and after.known == 1 and after.judged == ()
    assert after.ring[-1].tolist() == [9.0] * D


def test_a_pause_shorter_than_the_gap_goes_on_with_its_true_places() -> None:
    _, state = follow([0.0, 0.32, 1.2])
    assert state.known == 3 and state.ticks.tolist()[1:] == [0, 8, 30]


def test_the_graph_is_given_the_ring_right_aligned_and_positions_from_its_oldest() -> None:
    _, state = follow([10.0, 10.32], [answer(feature=1.0), answer(feature=2.0)])
    inputs = TASK.preprocess([frame(10.64)], [state])
    assert {k: v.dtype.name for k, v in inputs.items()} == {
        "images": "uint8", "tick": "int64", "ring": "float32", "ring_positions": "int64", "ring_valid": "float32"
    }  # fmt: skip
    assert inputs["ring_valid"].tolist() == [[0, 0, 1, 1]]
    assert inputs["ring_positions"].tolist() == [[0, 0, 0, 8]] and inputs["tick"].tolist() == [16]
    assert inputs["ring"][0, :, 0].tolist() == [0, 0, 1, 2]


def test_time_stamps_may_be_huge_and_pass_the_wrap() -> None:
    start_s = WRAP / 25 - 0.4  # ticks run over on the way
    times = [start_s + 0.32 * k for k in range(3)]
    _, state = follow(times)
    assert state.known == 3
    inputs = TASK.preprocess([frame(start_s + 0.96)], [state])
    assert inputs["ring_positions"].tolist() == [[0, 0, 8, 16]] and inputs["tick"].tolist() == [24]


def test_staged_and_whole_inputs_say_the_same() -> None:
    assert isinstance(TASK, StagedTask)
    states = [follow([0.32 * k for k in range(n)])[1] for n in (0, 1, 4)]
    frames = [frame(0.32 * n, f"s{n}") for n in (0, 1, 4)]
    whole = TASK.preprocess(frames, states)
    look = TASK.look_inputs(frames)
    looked = [{"feature": np.full(D, i, np.float32), "position": tick} for i, tick in enumerate(look["tick"])]
    staged = TASK.follow_inputs(looked, frames, states)
    assert np.array_equal(look["images"], whole["images"])
    assert np.array_equal(staged.pop("position"), whole["tick"])
    assert staged.pop("feature")[:, 0].tolist() == [0, 1, 2]
    assert all(np.array_equal(staged[name], whole[name]) for name in staged) and len(staged) == 3


def batch(answers: list[Answer]) -> Answer:
    return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


def random_streams(seed: int) -> tuple[list[Frame], list[ActState], list[Answer]]:
    """Five streams in different places of their lives, one of them after a gap."""
    rng = np.random.default_rng(seed)
    frames, states, answers = [], [], []
    for n in range(5):
        states.append(follow([0.32 * k for k in range(n)])[1])
        frames.append(frame(0.32 * n + (5.0 if n == 3 else 0.0), f"s{n}"))
        answers.append(answer(*rng.dirichlet(np.ones(3)).tolist(), feature=float(rng.normal())))
    return frames, states, answers


def test_a_batch_is_its_streams_one_by_one_in_any_order() -> None:
    frames, states, answers = random_streams(1)
    together = TASK.postprocess(batch(answers), frames, states)
    inputs = TASK.preprocess(frames, states)
    for order in ([3, 1, 4, 0, 2], [0, 1, 2, 3, 4]):
        shuffled = TASK.postprocess(
            batch([answers[i] for i in order]), [frames[i] for i in order], [states[i] for i in order]
        )
        packed = TASK.preprocess([frames[i] for i in order], [states[i] for i in order])
        for row, i in enumerate(order):
            [(alone, state)] = TASK.postprocess(answers[i], [frames[i]], [states[i]])
            assert alone.actions == together[i][0].actions == shuffled[row][0].actions
            assert same(state, together[i][1]) and same(state, shuffled[row][1])
            single = TASK.preprocess([frames[i]], [states[i]])
            for name, array in single.items():
                assert np.array_equal(array[0], inputs[name][i]) and np.array_equal(
                    array[0], packed[name][row]
                )


def test_one_streams_reset_leaves_the_others_alone() -> None:
    frames, states, answers = random_streams(2)
    before = TASK.postprocess(batch(answers), frames, states)
    states[4] = TASK.initial_state()
    after = TASK.postprocess(batch(answers), frames, states)
    assert not same(before[4][1], after[4][1])
    for i in range(4):
        assert before[i][0].actions == after[i][0].actions and same(before[i][1], after[i][1])


def test_states_are_values() -> None:
    frames, states, answers = random_streams(3)
    kept = [(s.ring.copy(), s.ticks.copy()) for s in states]
    outputs = batch(answers)
    first = TASK.postprocess(outputs, frames, states)
    outputs["next_feature"][:] = 99  # the engine may use its arrays again
    again = TASK.postprocess(batch(answers), frames, states)
    assert all(same(a[1], b[1]) for a, b in zip(first, again, strict=True))
    for state, (ring, ticks) in zip(states, kept, strict=True):
        assert np.array_equal(state.ring, ring) and np.array_equal(state.ticks, ticks)
    with pytest.raises(ValueError):
        first[0][1].ring[0, 0] = 1


def spec(**meta: Any) -> EngineSpec:
    f32, i64 = np.dtype(np.float32), np.dtype(np.int64)
    inputs = (
        TensorSpec("images", (-1, *HW, 3), np.dtype(np.uint8)),
        TensorSpec("tick", (-1,), i64),
        TensorSpec("ring", (-1, 15, D), f32),
        TensorSpec("ring_positions", (-1, 15), i64),
        TensorSpec("ring_valid", (-1, 15), f32),
    )
    outputs = (TensorSpec("logits", (-1, 3), f32), TensorSpec("next_feature", (-1, D), f32))
    config = {"stride_s": 0.32, "position_hz": 25.0, "fit": "crop"}
    whole = {"labels": list(LABELS), "config": config, **meta}
    return EngineSpec("vtn", "onnx", "f32", "cpu", "0" * 64, inputs, outputs, 8, whole)


def test_the_task_is_read_off_the_engine() -> None:
    task = ActTask.from_spec(spec(act={"top": 1, "min_score": 0.5}))
    assert (task.input_hw, task.fit, task.stateful, task.labels) == (HW, Fit.CROP, True, LABELS)
    assert task.rules == ActRules(top=1, min_score=0.5)
    assert (task.min_frames, task.gap_s) == (8, pytest.approx(1.92))
    assert task.initial_state().ring.shape == (15, D)


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"act": {"tops": 1}}, "unknown act rule 'tops'"),
        ({"act": {"min_frames": 17}}, "never has 17"),
        ({"act": {"gap_s": 0.1}}, "every frame comes after a gap"),
        ({"config": {}}, "'stride_s' is missing"),
        ({"config": {"stride_s": 1, "position_hz": 25, "fit": "wrap"}}, "fit 'wrap' is unknown"),
    ],
)
def test_an_engine_that_cannot_serve_is_refused(meta: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        ActTask.from_spec(spec(**meta))


def test_a_picture_of_another_size_is_refused() -> None:
    odd = Frame(frame(0).ref, np.zeros((9, 8, 3), np.uint8), (9, 8), 0)
    with pytest.raises(EngineError, match="is not"):
        TASK.look_inputs([odd])
    with pytest.raises(ValueError):
        TASK.preprocess([frame(0)], [])
