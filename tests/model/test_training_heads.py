"""What the heads are asked for: unknown truth asks nothing, the right answer costs nothing, clips are cut by time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from engines.models.street import Street
from engines.models.street_family import load_street
from engines.training.acting import GAP_STRIDES, Cutter, teach_actions
from engines.training.adopting import adopt
from engines.training.clips import (
    MIRRORED_ACTIONS,
    MIRRORED_POINTS,
    NOBODY,
    PERSON,
    ClipPlan,
    empty_batch,
    render_batches,
    write_truth,
)
from engines.training.head_losses import action_loss, key_losses, key_places, semantic_losses
from engines.training.matching import UNMATCHED
from engines.training.recipe import PRESETS
from engines.training.recording import Recorded, held_to_objects, record
from engines.training.tracks import EMPTY_SLOT, empty_slots
from streamer.world import ACTIONS, KEYPOINTS, World, WorldConfig

SMOKE = PRESETS["smoke"]
SHIPPED = Path(__file__).parents[2] / "engines" / "weights" / "street-nano.safetensors"
GRID = (16, 12)


def test_a_right_map_costs_little_and_unknown_cells_nothing() -> None:
    truth = torch.randint(0, 4, (2, 6, 8)).to(torch.uint8)
    right = torch.nn.functional.one_hot(truth.long(), 4).permute(0, 3, 1, 2).float() * 40
    good, bad = semantic_losses(right, truth), semantic_losses(right.roll(1, 1), truth)
    assert good["semantic"] < 1e-3 and good["areas"] < 0.02 < 0.8 < bad["areas"] and bad["semantic"] > 5
    half = truth.clone()
    half[:, :3] = 255
    wrong_there = right.clone()
    wrong_there[:, :, :3] = right.roll(1, 1)[:, :, :3]
    assert semantic_losses(wrong_there, half)["semantic"] < 1e-3
    assert semantic_losses(right, torch.full_like(truth, 255))["semantic"] == 0


def test_a_sharp_heat_map_puts_the_key_point_where_it_is() -> None:
    features = torch.zeros(1, 1, 72, 128)
    features[0, 0, 40, 64] = 400.0  # its centre lies at x = 64.5 / 128, y = 40.5 / 72
    boxes = torch.tensor([[[0.5, 0.55, 0.2, 0.4]]])
    places = key_places(features, torch.ones(1, 1, 1), torch.zeros(1, 1, 1, 2), boxes, GRID)
    expected = torch.tensor([(64.5 / 128 - 0.5) / 0.2, (40.5 / 72 - 0.55) / 0.4])
    torch.testing.assert_close(places[0, 0, 0], expected, atol=0.06, rtol=0)
    blind = key_places(features * 0, torch.ones(1, 1, 1), torch.full((1, 1, 1, 2), 0.2), boxes, GRID)
    torch.testing.assert_close(blind[0, 0, 0], torch.full((2,), 0.2), atol=0.02, rtol=0)  # the guess stands


def test_unknown_and_absent_key_points_ask_nothing() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 4, 36, 64)
    rows = (torch.randn(1, 2, 3 * 4), torch.randn(1, 2, 3), torch.zeros(1, 2, 3, 2, requires_grad=True))
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.3, 0.5, 0.1, 0.2]]])
    truth = torch.zeros(1, 2, 3, 3)
    truth[..., 2] = -1
    silent = key_losses(features, rows, boxes, truth, torch.ones(1, 2), GRID)
    assert all(value == 0 for value in silent.values())
    truth[..., :2], truth[..., 2] = boxes[:, :, None, :2], 2.0
    asked = key_losses(features, rows, boxes, truth, torch.tensor([[1.0, 0.0]]), GRID)
    asked["guesses"].backward()  # type: ignore[no-untyped-call]
    assert asked["seen"] > 0 and rows[2].grad is not None and not rows[2].grad[0, 1].any()
    assert action_loss(torch.randn(5, 4), torch.full((5,), -1))["action"] == 0


def test_a_mirrored_street_has_mirrored_limbs_and_ways() -> None:
    assert KEYPOINTS[MIRRORED_POINTS[KEYPOINTS.index("left_knee")]] == "right_knee"
    assert (MIRRORED_POINTS[MIRRORED_POINTS] == np.arange(len(KEYPOINTS))).all()
    assert (MIRRORED_ACTIONS[MIRRORED_ACTIONS] == np.arange(len(ACTIONS))).all()
    plan = ClipPlan(0, 144, 256, lanes=2, frames=1)
    batch = empty_batch(plan)
    world = World(WorldConfig(5, people=8))
    _, truth = world.step()
    write_truth(batch, (0, 0), truth, False)
    write_truth(batch, (0, 1), truth, True)
    as_is, mirrored = batch.keypoints[0, 0], batch.keypoints[0, 1]
    people = batch.labels[0, 0] == PERSON
    assert people.sum() >= 3 and (as_is[people][..., 2] >= 0).all() and (as_is[~people][..., 2] == -1).all()
    np.testing.assert_allclose(
        mirrored[people][..., 0], 1 - as_is[people][:, MIRRORED_POINTS][..., 0], atol=1e-6
    )
    np.testing.assert_array_equal(batch.semantic[0, 0][:, ::-1], batch.semantic[0, 1])
    assert (batch.semantic[0] != NOBODY).all()


def test_batches_carry_what_the_heads_need() -> None:
    batch = next(render_batches(SMOKE.plan(0)))
    frames, lanes = batch.labels.shape[:2]
    assert batch.semantic.shape == (frames, lanes, 32, 48)
    assert batch.keypoints.shape[2:] == (batch.labels.shape[2], len(KEYPOINTS), 3)
    assert batch.actions.shape == batch.labels.shape


def test_clips_are_cut_by_time_and_by_track() -> None:
    config = SMOKE.model
    times = np.array([0, 0.08, 0.16, 0.24, 0.32, 0.40, 0.0, 0.5, 3.0, 3.16], np.float32)
    tracks = np.array([7, 7, 7, 7, 7, 7, 9, 9, 9, 9])
    cutter = Cutter(config, times, tracks)
    rng = np.random.default_rng(1)
    clips = cutter.cut(np.tile(np.array([5, 6, 9]), 40), rng)
    first, alone, gap = clips.rows[0::3], clips.rows[1::3], clips.rows[2::3]
    valid = clips.valid.numpy()
    for rows, there, age in zip(first, valid[0::3], clips.age.numpy()[0::3], strict=True):
        entries = rows[:-1][there > 0]
        assert set(entries) <= {0, 1, 2, 3, 4, 5} and rows[-1] == 5
        if len(entries) > 1:
            assert (np.diff(times[entries]) >= config.clip_stride_s - 0.01).all()
        np.testing.assert_array_equal(
            age[there > 0], np.maximum(np.rint((0.4 - times[entries]) * config.clip_hz), 1)
        )
    assert valid[0::3].sum(1).max() == 3 and valid[0::3].sum(1).min() <= 1  # some are young
    assert not valid[1::3].any() and (alone == 6).all()
    assert GAP_STRIDES * config.clip_stride_s < 2.5
    assert set(gap[:, :-1][valid[2::3] > 0]) <= {8, 9}  # nothing from before the gap


def test_the_temporal_encoder_learns_what_only_time_tells() -> None:
    torch.manual_seed(2)
    model = Street(SMOKE.model)
    dim, clips, length = SMOKE.model.hidden_dim, 40, 12
    times = np.tile(np.arange(length, dtype=np.float32) * 0.08, clips)
    tracks = np.repeat(np.arange(clips), length)
    rising = torch.arange(clips) % 2 == 0  # the same pictures, in one order or in the other
    ramp = torch.linspace(-1, 1, length)
    value = torch.where(rising[:, None], ramp, -ramp).flatten()
    hs = torch.zeros(clips * length, dim)
    hs[:, 0] = value * 4
    recorded = Recorded(
        hs.half(), torch.zeros(clips * length, 3 * dim).half(), torch.full((clips * length, 4), 0.3),
        torch.where(rising, 1, 3).repeat_interleave(length), times, tracks, torch.zeros(20, 2 * dim).half(),
        torch.zeros(20, len(ACTIONS), dtype=torch.bool), np.arange(20, dtype=np.float32), np.zeros(20, np.int64),
    )  # fmt: skip
    seen: list[float] = []
    teach_actions(
        model, recorded, steps=120, batch=32, learning_rate=5e-3, seed=0,
        watch=lambda step, losses: seen.append(losses["right"]),
    )  # fmt: skip
    assert np.mean(seen[-20:]) > 0.75 > 0.65 > np.mean(seen[:5])  # young clips cannot be told


def test_a_larger_model_begins_with_a_smaller_ones_weights() -> None:
    torch.manual_seed(3)
    plain = replace(SMOKE.model, semantic_labels=(), keypoint_names=(), action_labels=(), mask_places=False)
    given, model = Street(plain), Street(replace(SMOKE.model, height=96, width=160, track_slots=12))
    new = adopt(model, given, "given")
    assert torch.equal(model.backbone.stem[0].weight, given.backbone.stem[0].weight)
    assert model.context.place.shape == (1, 6 * 10, SMOKE.model.hidden_dim)
    assert new and all(name.split(".")[0] in ("detail", "mask_places", "mask_detail", "semantic", "keypoints",
                                              "actions") for name in new)  # fmt: skip


def test_a_track_that_strayed_teaches_nothing_and_lets_go() -> None:
    slots = empty_slots(1, 2, 4)
    slots.ids[0] = [7, 8]
    rows = np.array([[0, 1, -1]])  # both tracks answer for their objects, the object row for none
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]]])
    truth = torch.tensor([[[0.5, 0.52, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1]]])
    held, after = held_to_objects(rows, slots, boxes, truth)
    assert held.tolist() == [[0, UNMATCHED, UNMATCHED]]
    assert after.ids.tolist() == [[7, EMPTY_SLOT]] and slots.ids.tolist() == [[7, 8]]


def test_a_recording_holds_people_in_order_of_time_with_what_they_did() -> None:
    model = load_street(SHIPPED)
    recorded = record(
        model, ClipPlan(3, 144, 256, lanes=2, frames=1, stay=1), rounds=1, length=4, bfloat16=False
    )
    assert len(recorded.actions) >= 8 and len(recorded.scenes) == 2 * 4
    assert ((recorded.actions >= 0) & (recorded.actions < len(ACTIONS))).all()
    same = np.diff(recorded.tracks) == 0
    assert same.any() and (np.diff(recorded.tracks) >= 0).all() and (np.diff(recorded.times)[same] > 0).all()
    assert recorded.hs.shape[1] * 3 == recorded.region.shape[1] and torch.isfinite(recorded.boxes).all()
