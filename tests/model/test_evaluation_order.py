"""The control of order: a model that reads order chooses right until the frames are shuffled, a blind one never does.

The model here is a fake graph over rings whose features hold one number, how upright a person is. Nobody else need be
in the picture: the control is told the slots and the actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engines.evaluation.order import OrderControl
from engines.evaluation.split import Clips, run_split
from engines.models.street import Street
from engines.models.street_parts import StreetConfig
from engines.tasks.track import TrackTask
from streamer.world import ACTIONS, KEYPOINTS, SEMANTIC, WorldConfig
from tests.fakes.torch_street import TorchStreet

LABELS = ("stand", "sit_down", "sit", "stand_up")
TICKS, CLIP, SLOTS, FEATURE = 2, 8, 3, 5
STAND_S, MOTION, CYCLES = 12, 20, 24  # frames of rest and of each motion
Tensors = Mapping[str, NDArray[Any]]


def script() -> list[tuple[str, float]]:
    """Action and height of each frame: down and up again, the two motions each other's mirror."""
    said: list[tuple[str, float]] = []
    phases = (np.arange(MOTION) + 0.5) / MOTION
    for _ in range(CYCLES):
        said += [("stand", 1.0)] * STAND_S + [("sit_down", 1 - p) for p in phases.tolist()]
        said += [("sit", 0.0)] * STAND_S + [("stand_up", p) for p in phases.tolist()]
    return said


class RingModel:
    """Puts the pictured height into the features and judges each slot's clip by a rule over its heights in order."""

    def __init__(self, judge: Callable[[NDArray[np.float32]], tuple[float, float]]) -> None:
        self.judge = judge
        self.asked = 0

    def __call__(self, inputs: Tensors) -> Tensors:
        batch = len(inputs["images"])
        height = inputs["images"][:, 0, 0, 0].astype(np.float32) / 255
        feature = np.zeros((batch, SLOTS + 2, FEATURE), np.float32)
        feature[:, :, 0] = height[:, None]
        logits = np.zeros((batch, SLOTS, len(LABELS)), np.float32)
        for b in range(batch):
            for k in range(SLOTS):
                held = inputs["ring_valid"][b, 1 + k] > 0
                clip = np.append(inputs["ring"][b, 1 + k, held, 0], height[b])
                logits[b, k, 1], logits[b, k, 3] = self.judge(clip)
        self.asked += batch
        return {"object_feature": feature, "action_logits": logits}


def run(judge: Callable[[NDArray[np.float32]], tuple[float, float]], streets: int = 2) -> OrderControl:
    model = RingModel(judge)
    control = OrderControl(model, LABELS, ticks_a_step=1.0, most=3)
    ring = np.zeros((streets, 1 + SLOTS, CLIP - 1, FEATURE), np.float32)
    at = np.zeros((streets, 1 + SLOTS, CLIP - 1), np.int64)
    valid = np.zeros((streets, 1 + SLOTS, CLIP - 1), np.float32)
    slot = 1
    for step, (action, height) in enumerate(script()):
        images = np.full((streets, 1, 1, 3), round(height * 255), np.uint8)
        inputs = {
            "images": images, "ring": ring.copy(), "ring_valid": valid.copy(),
            "ring_age": np.where(valid > 0, np.maximum(step - at, 1), 1),
        }  # fmt: skip
        outputs = model(inputs)
        control.see(step, inputs, outputs, [{9: slot}] * streets, [{5: (action, 9)}] * streets)
        if step % TICKS == 0:
            for array, newest in ((ring, outputs["object_feature"][:, slot]), (at, step), (valid, 1)):
                array[:, 1 + slot, :-1] = array[:, 1 + slot, 1:]
                array[:, 1 + slot, -1] = newest
    return control


def by_order(heights: NDArray[np.float32]) -> tuple[float, float]:
    """The slope of the heights over the clip: falling means sitting down."""
    slope = float(np.polyfit(np.arange(len(heights)), heights, 1)[0]) if len(heights) > 1 else 0.0
    return -slope, slope


def by_what_is_there(heights: NDArray[np.float32]) -> tuple[float, float]:
    """The mean height, in which order does not count: seen from its start, sitting down has more of standing."""
    return float(heights.mean()) - 0.5, 0.5 - float(heights.mean())


def test_a_model_that_reads_order_is_right_in_order_and_at_chance_when_shuffled() -> None:
    told = run(by_order).clip.told()
    assert told["ordered"] == 1.0
    assert sum(told["asked"].values()) > 100 and set(told["asked"]) == {"sit_down", "stand_up"}
    assert abs(told["shuffled"] - 0.5) < 0.1


def test_a_model_that_reads_no_order_is_at_chance_on_whole_clips_but_not_on_any_frame() -> None:
    control = run(by_what_is_there)
    assert abs(control.clip.told()["ordered"] - 0.5) < 0.15
    assert control.clip.told()["ordered"] == pytest.approx(control.clip.told()["shuffled"])
    # why `ring` is no clean control: without any order it looks much better than chance
    assert control.ring.told()["ordered"] > 0.55 and control.ring.told()["shuffled"] > 0.55


def test_the_same_run_gives_the_same_numbers() -> None:
    assert run(by_order, streets=1).clip.told() == run(by_order, streets=1).clip.told()


def test_a_motion_whose_person_goes_out_of_sight_is_not_asked() -> None:
    control = OrderControl(RingModel(by_order), LABELS, ticks_a_step=1.0)
    inputs = {
        "images": np.zeros((1, 1, 1, 3), np.uint8),
        "ring": np.zeros((1, 1 + SLOTS, CLIP - 1, FEATURE), np.float32),
        "ring_age": np.arange(CLIP - 1, 0, -1)[None, None].repeat(1 + SLOTS, 1),
        "ring_valid": np.ones((1, 1 + SLOTS, CLIP - 1), np.float32),
    }
    outputs = RingModel(by_order)(inputs)
    doing = ["stand"] + ["sit_down"] * 20
    for step, action in enumerate(doing):
        control.see(step, inputs, outputs, [{9: 0}], [{5: (action, 9)}])
    control.see(len(doing), inputs, outputs, [{9: 0}], [{}])
    control.see(len(doing) + 1, inputs, outputs, [{9: 0}], [{5: ("sit", 9)}])
    assert not control.clip.asked and control.ring.asked == {"sit_down": 20}


def test_without_clips_there_is_nothing_to_control() -> None:
    control = OrderControl(RingModel(by_order), (), ticks_a_step=1.0)
    control.see(0, {"images": np.zeros((1, 1, 1, 3), np.uint8)}, {}, [{}], [{}])
    assert not control.works and control.clip.told()["shuffled"] is None


def test_a_street_model_with_all_heads_is_run_and_asked() -> None:
    """Random weights: the numbers mean nothing, but every head is heard and every track's clip can be shuffled."""
    torch.manual_seed(5)
    config = StreetConfig(
        height=96,
        width=160,
        layers=1,
        semantic_labels=SEMANTIC,
        keypoint_names=KEYPOINTS,
        action_labels=ACTIONS,
    )
    engine = TorchStreet(
        Street(config), track={"birth": 0.0, "keep": 0.0, "duplicate_iou": 0.9, "collapse_iou": 0.95}
    )
    asked: list[int] = []

    def infer(inputs: Tensors) -> Tensors:
        asked.append(len(inputs["images"]))
        answer = dict(engine.infer(inputs))
        answer["pred_logits"] = answer["pred_logits"] + np.float32([9, 0, 0, 0, 0])  # all are persons
        return answer

    clips = Clips.from_config(engine.spec.meta["config"])
    assert clips.labels == ACTIONS and clips.frames == 8
    worlds = [WorldConfig(1_000_000 + i, 96, 160, people=8) for i in range(2)]
    run = run_split(infer, TrackTask.from_spec(engine.spec), worlds, frames=18, clips=clips)
    last = run.frames[-1].payload
    assert last.keypoints is not None and last.keypoints.shape == (len(last.tracks), len(KEYPOINTS), 3)
    assert set(run.confusions) == {0, 1} and run.order_asked
    assert any(action.track_id is not None for action in last.actions)
    assert sum(1 for n in asked if n == 2) >= 18
