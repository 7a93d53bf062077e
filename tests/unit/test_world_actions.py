"""Actions of the street's people: each occurs, is named as the camera sees it, and the order pairs mirror in time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamer.world import ACTIONS, ORDER_PAIRS, World, WorldConfig
from streamer.world.poses import FALL_S, SIT_S, Motion, action_of, down_at, pose

PERSON = 0


@pytest.mark.parametrize("pair", ORDER_PAIRS)
@pytest.mark.parametrize("chair", [False, True])
@pytest.mark.parametrize("prone", [False, True])
def test_order_pairs_are_mirrors_in_time(pair: tuple[str, str], chair: bool, prone: bool) -> None:
    first, second = (Motion[name.upper()] for name in pair)
    length = SIT_S if pair[0] == "sit_down" else FALL_S
    poses = []
    for gone in np.linspace(0, length, 12).tolist():
        here, there = down_at(first, gone), down_at(second, length - gone)
        assert here == pytest.approx(there, abs=1e-12)
        a, b = (pose(m, 0.7, down=d, chair=chair, prone=prone) for m, d in ((first, here), (second, there)))
        assert np.allclose(a, b, atol=1e-9)
        poses.append(a)
    assert np.abs(poses[0] - poses[-1]).max() > 0.4  # and it is a motion
    assert poses[0][0, 1] > 1.5 and poses[-1][0, 1] < (1.4 if chair else 0.95)


def test_a_body_neither_jumps_nor_stretches_as_it_sits_or_falls() -> None:
    bones = ((7, 9), (9, 11), (8, 10), (10, 12), (1, 3), (3, 5))
    for motion, length in ((Motion.SIT_DOWN, SIT_S), (Motion.FALL, FALL_S)):
        steps = np.linspace(0, length, 30).tolist()
        bodies = np.array([pose(motion, 0.0, down=down_at(motion, t)) for t in steps])
        assert np.abs(np.diff(bodies, axis=0)).max() < 0.2
        for a, b in bones:
            spans = np.linalg.norm(bodies[:, a] - bodies[:, b], axis=1)
            assert spans.min() > 0.18 and spans.max() < 0.5
        assert bodies[..., 1].min() >= 0.0


def test_the_action_is_what_the_camera_sees() -> None:
    away = (0.0, 1.0)  # a person straight ahead
    names = {
        0.0: "walk_right", math.pi: "walk_left", math.pi / 2: "recede", -math.pi / 2: "approach",
        math.radians(52): "recede", math.radians(48): "walk_right", math.radians(-48): "walk_right",
        math.radians(-132): "walk_left",
    }  # fmt: skip
    for heading, name in names.items():
        assert ACTIONS[action_of(Motion.WALK, heading, *away)] == name, heading
        ran = ACTIONS[action_of(Motion.RUN, heading, *away)]
        assert ran == name.replace("walk", "run")
    # Far to the right of the picture the line of sight itself points to the right.
    assert ACTIONS[action_of(Motion.WALK, 0.0, 1.0, 0.4)] == "recede"
    assert action_of(Motion.RIDE, 0.0, *away) == -1


def test_every_action_occurs_and_names_what_the_picture_shows() -> None:
    seen = np.zeros(len(ACTIONS), int)
    right: dict[str, list[float]] = {name: [] for name in ACTIONS}
    for seed in range(1, 8):
        world = World(WorldConfig(seed=seed, height=72, width=128, people=11, vehicles=2, dogs=0))
        before: dict[int, tuple[int, float]] = {}
        for _ in range(60):
            world.skip(1)
            _, truth = world.step()
            now: dict[int, tuple[int, float]] = {}
            for row in np.flatnonzero(truth.labels == PERSON).tolist():
                action, left_right = int(truth.actions[row]), float(truth.keypoints[row, 7:9, 0].mean())
                if action < 0:
                    continue
                seen[action] += 1
                who = int(truth.ids[row])
                now[who] = action, left_right
                if who in before and before[who][0] == action:
                    right[ACTIONS[action]].append(left_right - before[who][1])
            before = now
    assert seen.min() > 10, dict(zip(ACTIONS, seen.tolist(), strict=True))
    for name in ("walk", "run"):
        assert np.median(right[f"{name}_right"]) > 0.5 and np.median(right[f"{name}_left"]) < -0.5
    assert np.median(np.abs(right["stand"])) < 0.5
    assert np.median(right["run_right"]) > np.median(right["walk_right"])
