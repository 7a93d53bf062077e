"""The second engine: the served one's rows, with where they looked; and which row a track was."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.attention import AttentionEngine, attention_recipe, can_show, open_attention
from engines.backends.torch import load_module
from engines.build.judging import gate_of
from engines.build.samples import sample
from engines.evaluation.looking import centre_of, share_inside
from engines.models.street_attention import load_street_attention
from engines.models.street_family import example_inputs, load_street
from engines.tasks.asked import MOST_CELLS, pooled_cells, query_of, row_of, slot_of
from engines.tasks.detect import DetectRules
from engines.tasks.track import TrackRules, TrackState, TrackTask
from engines.zoo import open_engine, recipe_for, task_for
from streamer.errors import EngineError
from streamer.ports import Engine, StagedEngine
from streamer.types import Fit, Frame, FrameRef, Perception
from streamer.world import World, WorldConfig

HW = (48, 64)
SOURCE_HW = (480, 640)
STREET_RULES = TrackRules(birth=0.005, keep=0.004)  # random weights are sure of nothing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attention")


@pytest.fixture(scope="module")
def street(folder: Path) -> Path:
    torch.manual_seed(5)
    return sample("street", folder, full=False)


def opened(weights: Path, folder: Path) -> tuple[Engine, AttentionEngine]:
    served = open_engine(str(weights), precision="f32", max_batch_size=1, threads=1, cache_dir=folder)
    return served, open_attention(str(weights), backend="openvino", precision="f32", cache_dir=folder)


@pytest.fixture(scope="module")
def both(street: Path, folder: Path) -> Iterator[tuple[Engine, AttentionEngine]]:
    """The served engine, all heads on, and the one that tells its attention."""
    served, asked = opened(street, folder)
    yield served, asked
    served.close()
    asked.close()


def pictures(count: int, hw: tuple[int, int] = HW) -> list[Frame]:
    world = World(WorldConfig(seed=3, height=hw[0], width=hw[1]))
    refs = [FrameRef("s", 1, i, i, Fraction(2, 25), 0, 10**18 + i * 80_000_000) for i in range(count)]
    return [Frame(ref, world.step()[0], SOURCE_HW, 0) for ref in refs]


def infer(engine: Engine, task: TrackTask, frame: Frame, state: TrackState) -> dict[str, Any]:
    """Through both stages, as it is served."""
    assert isinstance(engine, StagedEngine)
    looks = engine.look.infer(task.look_inputs([frame]))
    wanted = {t.name for t in engine.follow.spec.inputs}
    rows = {name: array[0] for name, array in looks.items() if name in wanted}
    return {**looks, **engine.follow.infer(task.follow_inputs([rows], [frame], [state]))}


def test_the_model_says_the_same_rows_and_its_looks_sum_to_one(street: Path) -> None:
    plain, watched = load_street(street), load_street_attention(street)
    inputs = example_inputs(3, plain.config)
    with torch.inference_mode():
        rows = dict(zip(plain.output_names, plain(*inputs), strict=True))
        said = dict(zip(watched.output_names, watched(*inputs[:4]), strict=True))
    for name in ("pred_logits", "pred_boxes", "next_hs"):
        torch.testing.assert_close(said[name], rows[name], atol=1e-6, rtol=0)
    n = plain.config.track_slots + plain.config.object_queries
    assert said["decoder_attention"].shape == (3, n, 6 * 8) and said["encoder_attention"].shape == (3, 12, 12)
    for name in ("decoder_attention", "encoder_attention"):
        assert said[name].min() >= 0
        torch.testing.assert_close(said[name].sum(-1), torch.ones_like(said[name][..., 0]), atol=1e-5, rtol=0)
    assert said["decoder_attention"].std(dim=-2).max() > 1e-2  # each row looks in its own way


def test_it_is_an_engine_of_its_own_and_its_gate_compares_the_looks(street: Path, folder: Path) -> None:
    recipe = attention_recipe(str(street), backend="openvino", precision="f32")
    served = recipe_for(str(street), precision="f32", max_batch_size=1, threads=1)
    assert recipe.digest() != served.digest() and recipe.stages == "" and served.stages
    module: Any = load_module(recipe.family.loader, recipe.weights)
    inputs = dict(zip(module.input_names, example_inputs(1, module.config), strict=True))
    with torch.inference_mode():
        said = {n: t.numpy() for n, t in zip(module.output_names, module(*inputs.values()), strict=True)}
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    gate = gate_of(recipe.family)
    assert not gate.compare(said, said, arrays, "test", "f32").over(gate.LIMITS["f32"])
    turned = {**said, "decoder_attention": said["decoder_attention"][..., ::-1]}
    over = gate.compare(said, turned, arrays, "test", "f32").over(gate.LIMITS["f32"])
    assert [one.split()[0] for one in over] == ["decoder_attention"]
    halved = {**said, "encoder_attention": said["encoder_attention"] * 0.5}
    over = gate.compare(said, halved, arrays, "test", "f32").over(gate.LIMITS["f32"])
    assert any("attention_sums" in one for one in over)


def test_each_track_is_answered_by_the_very_row_that_gave_it(both: tuple[Engine, AttentionEngine]) -> None:
    served, asked = both
    task = task_for(served.spec)
    assert isinstance(task, TrackTask) and task.heads.judge is not None
    task.rules = STREET_RULES
    state, slots, born = task.initial_state(), 0, 0
    for frame in pictures(6):
        before = state
        outputs = infer(served, task, frame, before)
        [(seen, state)] = task.postprocess(outputs, [frame], [before])
        for track_id, box in zip(
            seen.tracks.track_ids.tolist(), seen.tracks.detections.boxes_xyxy, strict=True
        ):
            answer, row, row_box = asked.asked(frame, before, track_id, box)
            np.testing.assert_allclose(row_box, box, atol=0.05)  # px of 640
            slot = slot_of(before, track_id)
            assert row == slot if slot is not None else row >= task.slots
            # The row's next query is what the track lives on as.
            mine = query_of(state, track_id)
            assert mine is not None
            np.testing.assert_allclose(answer["next_hs"][row], mine, atol=1e-3)
            others = np.delete(answer["next_hs"], row, axis=0)
            assert np.abs(others - mine).max(axis=1).min() > 1e-3  # and nobody else's
            looks = asked.looks(frame, before, track_id, box)
            np.testing.assert_array_equal(looks.query.ravel(), answer["decoder_attention"][row])
            assert looks.query.shape == (6, 8) and looks.picture_hw == (3, 4)
            slots, born = slots + (slot is not None), born + (slot is None)
    assert slots >= 5 and born >= 2


def test_a_track_that_is_not_there_is_refused(both: tuple[Engine, AttentionEngine]) -> None:
    _, asked = both
    frame, state = pictures(1)[0], asked.task.initial_state()
    nowhere = np.array([600, 5, 630, 9], np.float32)
    with pytest.raises(EngineError, match="does not see track 9 where it was told"):
        asked.looks(frame, state, 9, nowhere)


def test_a_row_of_another_track_is_not_taken_for_this_one() -> None:
    task = TrackTask(labels=("person",), input_hw=HW, slots=2, dim=4)
    boxes = np.array([[0.2, 0.5, 0.2, 0.4], [0.7, 0.5, 0.2, 0.4], [0.21, 0.5, 0.2, 0.4]], np.float32)
    frame = pictures(1)[0]
    corners = task.corners_px(boxes, frame)
    state = TrackState.empty(2, 4, 1)
    held = TrackState(
        state.hs, state.boxes_cxcywh, np.array([True, True]), np.array([4, 8]), state.miss, state.age,
        state.votes,
    )  # fmt: skip
    assert row_of(task, boxes, frame, held, 4, corners[0], 0.05)[0] == 0
    assert (
        row_of(task, boxes, frame, held, 9, corners[2], 0.05)[0] == 2
    )  # newborn: no track's row, however near
    assert row_of(task, boxes, frame, state, 4, corners[0], 0.2)[0] == 2
    with pytest.raises(EngineError):  # its own row went elsewhere; another row's box is no answer
        row_of(task, boxes, frame, held, 4, corners[1], 0.05)


def test_a_detector_of_the_detr_family_is_asked_by_its_box(folder: Path) -> None:
    torch.manual_seed(5)
    served, asked = opened(sample("detr", folder, full=False), folder)
    task: Any = task_for(served.spec)
    task.rules = DetectRules(0.0)
    task.associator = None
    frame = pictures(1, served.spec.input_hw)[0]
    assert task.fit is Fit.PAD and can_show(served.spec)
    outputs = served.infer(task.preprocess([frame], [None]))
    seen: Perception = task.postprocess(outputs, [frame], [None])[0][0]
    scores, _ = task.best(outputs["pred_logits"][0])
    order = np.argsort(-scores, kind="stable")
    for row, box in zip(order.tolist()[:4], seen.tracks.detections.boxes_xyxy, strict=False):
        assert asked.asked(frame, asked.task.initial_state(), 1, box)[1] == row
    looks = asked.looks(frame, asked.task.initial_state(), 1, seen.tracks.detections.boxes_xyxy[0])
    assert looks.query.shape == (3, 4) and looks.picture is not None and looks.picture.shape == (12, 12)
    served.close()
    asked.close()


def test_a_family_without_attention_says_so(tmp_path: Path) -> None:
    vit = sample("vit", tmp_path, full=False)
    with pytest.raises(EngineError) as caught:
        attention_recipe(str(vit), backend="onnx", precision="f32")
    assert str(caught.value) == (
        "model random-vit has no attention to show — models of the families street and detr have"
    )


def test_large_grids_are_pooled_and_rows_still_sum_to_one() -> None:
    rng = np.random.default_rng(1)
    attention = rng.random((25 * 34, 25 * 34), np.float32)
    attention /= attention.sum(axis=1, keepdims=True)
    pooled, hw = pooled_cells(attention, (25, 34))
    assert hw == (9, 12) and pooled.shape == (108, 108) and MOST_CELLS >= 108
    np.testing.assert_allclose(pooled.sum(axis=1), 1, atol=1e-5)
    # The first cell stands for 3x3 cells: what they give to the last 1x1, on average.
    first = [r * 34 + c for r in range(3) for c in range(3)]
    np.testing.assert_allclose(pooled[0, -1], attention[first][:, 24 * 34 + 33].mean(), rtol=1e-4)
    small, same = pooled_cells(attention[:12, :12], (3, 4))
    assert same == (3, 4) and small.shape == (12, 12)


def test_the_middle_of_a_look_and_its_share_in_a_box() -> None:
    heat = np.zeros((2, 4), np.float32)
    heat[1, 2], heat[1, 3] = 0.75, 0.25
    assert centre_of(heat, (20, 80)) == (55.0, 15.0)
    assert share_inside(heat, np.array([42, 12, 58, 18], np.float32), (20, 80)) == 0.75
    assert share_inside(heat, np.array([0, 0, 80, 20], np.float32), (20, 80)) == 1.0
    assert share_inside(heat, np.array([0, 0, 10, 10], np.float32), (20, 80)) == 0.0
