"""TrackFormers as engines: they build, pass the gate at batches never traced, and follow streams in two stages."""

from __future__ import annotations

import importlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.build.samples import sample
from engines.models.trackformer import TrackFormer, TrackFormerConfig, save_trackformer
from engines.tasks.query_tracks import QueryTrackRules, QueryTrackTask
from engines.zoo import open_engine, task_for
from streamer.ports import StagedEngine, StagedTask
from streamer.types import Frame, FrameRef
from streamer.world import World, WorldConfig


def opened(weights: Path, backend: str, cache: Path) -> StagedEngine:
    engine = open_engine(
        str(weights), backend=backend, precision="f32", max_batch_size=3, threads=2, cache_dir=cache
    )
    assert isinstance(engine, StagedEngine)
    return engine


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
@pytest.mark.parametrize("family", ["trackformer", "trackformer-detr"])
def test_both_variants_follow_two_streams_as_their_modules_do(
    family: str, backend: str, tmp_path: Path
) -> None:
    """Three frames: the engine in stages with the task, against the torch module whole with the same task."""
    weights = sample(family, tmp_path, full=False)
    engine = opened(weights, backend, tmp_path / "cache")
    task = task_for(engine.spec)
    assert isinstance(task, QueryTrackTask) and isinstance(task, StagedTask)
    task.rules = QueryTrackRules(0.0, 0.0, 0.0, 0, 1.0, 1.0)  # random weights are sure of nothing
    task.labels = tuple(f"class {i}" for i in range(20))
    module = importlib.import_module(f"engines.models.{family.replace('-', '_')}")
    judge = getattr(module, f"load_{family.replace('-', '_')}")(weights)
    names = getattr(judge, "input_names", module.INPUT_NAMES)
    worlds = [World(WorldConfig(seed=i, height=70, width=97)) for i in range(2)]
    states = expected_states = [task.initial_state()] * 2
    for seq in range(3):
        frames = [picture(f"s{i}", seq, world) for i, world in enumerate(worlds)]
        looked = engine.look.infer(task.look_inputs(frames))
        rows = [{name: array[i] for name, array in looked.items()} for i in range(2)]
        outputs = engine.follow.infer(task.follow_inputs(rows, frames, states))
        given = task.preprocess(frames, expected_states)
        with torch.no_grad():
            said = judge(*(torch.from_numpy(given[n]) for n in names))
        expected = dict(
            zip(getattr(judge, "output_names", module.OUTPUT_NAMES), (t.numpy() for t in said), strict=True)
        )
        for name, answer in expected.items():
            np.testing.assert_allclose(outputs[name], answer, atol=2e-4)
        answers = task.postprocess(outputs, frames, states)
        states = [state for _, state in answers]
        expected_answers = task.postprocess(expected, frames, expected_states)
        expected_states = [state for _, state in expected_answers]
        for (ours, _), (theirs, _) in zip(answers, expected_answers, strict=True):
            assert ours.tracks.track_ids.tolist() == theirs.tracks.track_ids.tolist() and len(ours.tracks) > 0
    assert all(state.valid.sum() >= 5 for state in states)
    engine.close()


def picture(stream: str, seq: int, world: World) -> Frame:
    ref = FrameRef(stream, 1, seq, seq, Fraction(1, 25), 0, 0)
    return Frame(ref, world.step()[0], (140, 194), 0)


def test_reading_by_gather_and_one_frame_alone_build_too(tmp_path: Path) -> None:
    """The gate has compared both stages at batches 1 and 3."""
    small: dict[str, Any] = dict(
        height=64, width=64, backbone_layers=(1, 1, 1, 1), backbone_width=4, hidden_dim=64, feed_dim=32, heads=4,
        encoder_layers=1, decoder_layers=1, object_queries=5, track_slots=4, frames=1, sampler="gather",
    )  # fmt: skip
    save_trackformer(TrackFormer(TrackFormerConfig(**small)).eval(), tmp_path / "one.safetensors")
    engine = opened(tmp_path / "one.safetensors", "openvino", tmp_path / "cache")
    assert {t.name for t in engine.look.spec.outputs} == {"memory", "extent_hw"}
    assert {t.name for t in engine.spec.inputs} == {
        "images",
        "content_hw",
        "track_hs",
        "track_boxes",
        "track_valid",
    }
    assert task_for(engine.spec).initial_state().memory.size == 0
    engine.close()
