"""Heads chosen at build time: what an engine takes and gives follows from them, and what is refused is one line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.backends.torch import load_module
from engines.build.recipe import Recipe
from engines.build.samples import sample
from engines.models.street_family import Street, StreetConfig, save_street
from engines.tasks.track import TrackRules, TrackTask
from engines.zoo import describe, open_engine, recipe_for, task_for
from streamer.errors import EngineError
from streamer.ports import StagedEngine
from streamer.types import Frame, FrameRef, Perception
from streamer.world import World, WorldConfig

ALL = ("masks", "keypoints", "semantic", "actions")
HW = (48, 64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample("street", tmp_path_factory.mktemp("weights"), full=False)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of boxes and masks alone."""
    path = tmp_path_factory.mktemp("old") / "old.safetensors"
    small = StreetConfig(
        height=48, width=64, widths=(8, 12, 16, 16), hidden_dim=32, heads=4, layers=1, feed_dim=32, fine_dim=16,
        mask_channels=6, object_queries=6, track_slots=7,
    )  # fmt: skip
    save_street(Street(small), path)
    return path


def recipe(weights: Path, heads: tuple[str, ...] | None) -> Recipe:
    return recipe_for(str(weights), backend="onnx", precision="f32", heads=heads)


def test_asking_for_all_heads_finds_the_engine_of_who_asked_for_none_in_particular(weights: Path) -> None:
    plain = recipe(weights, None)
    assert recipe(weights, ALL).digest() == recipe(weights, ALL[::-1]).digest() == plain.digest()
    fewer = recipe(weights, ("actions", "masks"))
    assert fewer.digest() != plain.digest()
    assert fewer.family.loader.endswith("load_street?without=keypoint_names,semantic_labels")
    assert Recipe.from_json(fewer.to_json()) == fewer
    assert describe(str(weights))["heads"] == list(ALL)


def test_a_head_that_is_not_there_is_one_line(weights: Path, old: Path) -> None:
    assert describe(str(old))["heads"] == ["masks"]
    assert recipe(old, ("masks",)).digest() == recipe(old, None).digest()
    for path, head, says in (
        (weights, "mask", "there is no head 'mask' — the heads here are masks, keypoints, semantic, actions"),
        (old, "actions", "these weights have no head 'actions' — the heads here are masks"),
    ):
        with pytest.raises(EngineError) as caught:
            recipe(path, (head,))
        assert str(caught.value) == f"{path}: {says}"


def test_a_family_without_heads_says_so(tmp_path: Path) -> None:
    other = sample("vit", tmp_path, full=False)
    assert recipe(other, None).family.heads == ()
    with pytest.raises(EngineError, match="the vit family have no heads to choose from — leave heads out"):
        recipe(other, ("masks",))


@pytest.mark.parametrize("heads", [(), ("masks",), ("keypoints",), ("semantic", "actions")])
def test_what_is_left_says_what_it_said_in_the_whole(weights: Path, heads: tuple[str, ...]) -> None:
    from engines.models.street_family import example_inputs

    whole, chosen = recipe(weights, None), recipe(weights, heads)
    models: list[Any] = [load_module(one.family.loader, one.weights) for one in (whole, chosen)]
    given = dict(zip(models[0].input_names, example_inputs(2, models[0].config), strict=True))
    with torch.inference_mode():
        said, part = (
            dict(zip(m.output_names, m(*(given[n] for n in m.input_names)), strict=True)) for m in models
        )
    gone = {
        "masks": {"mask_embed", "mask_features"},
        "keypoints": {"key_features", "key_embed", "key_logits", "key_offset"},
        "semantic": {"semantic"},
        "actions": {"object_feature", "clip_feature", "action_logits", "scene_logits"},
    }
    assert said.keys() - part.keys() == set().union(*(gone[head] for head in ALL if head not in heads))
    assert ("ring" in models[1].input_names) is ("actions" in heads)
    for name, tensor in part.items():
        torch.testing.assert_close(tensor, said[name], atol=1e-6, rtol=0)


def pictures(count: int) -> list[Frame]:
    world = World(WorldConfig(seed=3, height=HW[0], width=HW[1]))
    refs = [FrameRef("s", 1, i, i, Fraction(2, 25), 0, 10**18 + i * 80_000_000) for i in range(count)]
    return [Frame(ref, world.step()[0], (480, 640), 0) for ref in refs]


def test_an_engine_of_two_stages_says_all_that_the_reference_says(weights: Path, tmp_path: Path) -> None:
    engine = open_engine(str(weights), precision="f32", max_batch_size=2, threads=1, cache_dir=tmp_path)
    task = task_for(engine.spec)
    assert isinstance(task, TrackTask) and isinstance(engine, StagedEngine)
    task.rules = TrackRules(birth=0.005, keep=0.004)  # random weights are sure of nothing
    assert {t.name for t in engine.look.spec.outputs} & {t.name for t in engine.follow.spec.inputs} == {
        *("tokens", "evidence", "seed_features", "seed_boxes", "scene_feature")
    }
    judge: Any = load_module("engines.models.street_family:load_street", weights)
    state, plain = task.initial_state(), task.initial_state()
    seen: list[Perception] = []
    for frame in pictures(6):
        looks = engine.look.infer(task.look_inputs([frame]))
        wanted = {t.name for t in engine.follow.spec.inputs}
        rows = {name: array[0] for name, array in looks.items() if name in wanted}
        outputs = {**looks, **engine.follow.infer(task.follow_inputs([rows], [frame], [state]))}
        given = task.preprocess([frame], [plain])
        assert list(given) == list(judge.input_names)
        with torch.inference_mode():
            said = dict(
                zip(
                    judge.output_names,
                    (t.numpy() for t in judge(*(torch.from_numpy(a.copy()) for a in given.values()))),
                    strict=True,
                )
            )
        [(perception, state)] = task.postprocess(outputs, [frame], [state])
        [(expected, plain)] = task.postprocess(said, [frame], [plain])
        assert perception.tracks.track_ids.tolist() == expected.tracks.track_ids.tolist()
        assert perception.keypoints is not None and expected.keypoints is not None
        np.testing.assert_allclose(perception.keypoints, expected.keypoints, atol=0.5)  # px of 640
        assert perception.semantic is not None and expected.semantic is not None
        assert (perception.semantic == expected.semantic).mean() > 0.99
        told = [[(a.name, a.track_id, a.start_wall_ns) for a in p.actions] for p in (perception, expected)]
        assert sorted(told[0], key=str) == sorted(told[1], key=str)
        np.testing.assert_allclose(state.clips.ring, plain.clips.ring, atol=1e-3)
        seen.append(perception)
    engine.close()
    assert any(p.actions for p in seen) and len(seen[-1].tracks) > 0 and state.clips.valid[0].sum() == 3


def test_an_engine_without_masks_and_actions_is_smaller_and_serves(weights: Path, tmp_path: Path) -> None:
    engine = open_engine(
        str(weights), backend="onnx", max_batch_size=1, threads=1, heads=("semantic",), cache_dir=tmp_path
    )
    assert [t.name for t in engine.spec.inputs] == ["images", "track_hs", "track_boxes", "track_valid"]
    assert {t.name for t in engine.spec.outputs} == {"pred_logits", "pred_boxes", "next_hs", "semantic"}
    task = task_for(engine.spec)
    [frame] = pictures(1)
    outputs = engine.infer(task.preprocess([frame], [task.initial_state()]))
    [(perception, _)] = task.postprocess(outputs, [frame], [task.initial_state()])
    engine.close()
    assert perception.semantic is not None and len(perception.semantic_names) == 13
    assert perception.keypoints is None and perception.tracks.detections.masks is None
