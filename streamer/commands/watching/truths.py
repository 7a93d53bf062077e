"""The truth of the drawn street as results, so that results of the usual size can be sent where no engine runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, pairwise

import numpy as np

from streamer.commands.watching.camera import FPS, HW
from streamer.masks import rle_from_mask
from streamer.types import Action, Detections, Perception, Tracks
from streamer.world import ACTIONS, KEYPOINTS, LABELS, SEMANTIC, Truth, World, WorldConfig

GRID = (72, 128)  # of masks and of the map of classes, as the shipped models say them
PICTURES = 25


def truths(seed: int = 7) -> Iterator[Perception]:
    """What a faultless model would say of the street, one picture after the other, over and over."""
    world = World(WorldConfig(seed=seed, height=HW[0], width=HW[1], fps=FPS))
    seen = [world.step()[1] for _ in range(PICTURES + 1)]
    return cycle([said(now, before) for before, now in pairwise(seen)])


def said(truth: Truth, before: Truth) -> Perception:
    """One picture's truth; coordinates lie between two pictures, as a model's have all their digits."""
    step = HW[0] // GRID[0]
    rows = truth.instances[::step, ::step]
    ages = np.isin(truth.ids, before.ids).astype(np.int64) + 1
    masks = tuple(rle_from_mask(rows == row) for row in range(len(truth.ids)))
    found = Detections(
        truth.boxes_xyxy + np.float32(1 / 7), truth.visibility * np.float32(0.987654), truth.labels, masks
    )
    points = truth.keypoints * np.array([1.000123, 1.000321, 1 / 2.1], np.float32)
    actions = [
        Action(ACTIONS[action], float(score), int(track), truth.frame, truth.frame)
        for action, score, track in zip(truth.actions, found.scores, truth.ids, strict=True)
        if action >= 0
    ]
    return Perception(
        Tracks(found, truth.ids, ages),
        LABELS,
        truth.semantic[::step, ::step],
        points,
        SEMANTIC,
        tuple(actions),
        KEYPOINTS,
    )
