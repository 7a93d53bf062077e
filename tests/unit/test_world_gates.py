"""A gate stands across each lane: cars go over it from its left to its right, those on the wrong way come back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from streamer.geometry import beside_line, feet_unit
from streamer.world import World, WorldConfig
from streamer.world.events import on_edge
from streamer.world.truth import CAR, KEYPOINTS, PERSON, WorldEvent

HW = (108, 192)


def test_who_drives_the_wrong_way_and_nobody_else_goes_back_over_a_gate() -> None:
    """By the true boxes of cars that are seen whole, in streets that are seen from many sides."""
    crossings: Counter[tuple[bool, bool]] = Counter()
    for seed in (1, 2, 3, 5):
        world = World(WorldConfig(seed, *HW, people=1, dogs=0, vehicles=4, shake=0.0, hour=12, events=1.0))
        before: dict[tuple[int, int], tuple[float, bool]] = {}
        for _ in range(150):
            world.skip(1)
            _, truth = world.step()
            against = {e.id for e in truth.events if e.kind == "wrong_way"}
            feet = feet_unit(truth.boxes_xyxy, HW) * (HW[1], HW[0])
            for gate, (start, end) in enumerate(truth.gates_xy.astype(np.float64)):
                off, along = (v.tolist() for v in beside_line(feet, start, end))
                for row in np.flatnonzero((truth.labels == CAR) & (truth.visibility > 0.9)).tolist():
                    key = int(truth.ids[row]), gate
                    last, through = before.get(key, (off[row], False))
                    if off[row] * last < 0 and through and 0 <= along[row] <= 1:
                        crossings[key[0] in against, off[row] > 0] += 1
                    before[key] = off[row], 0 <= along[row] <= 1
    assert crossings[False, True] >= 3 and crossings[True, False] >= 3, crossings
    assert crossings[False, False] == crossings[True, True] == 0, crossings


def test_a_square_has_no_lanes_and_gates_go_with_the_camera() -> None:
    square = next(w for w in (World(WorldConfig(s, 48, 80)) for s in range(40)) if w.layout.plaza)
    assert square.step()[1].gates_xy.shape == (0, 2, 2)
    still, swaying = (World(WorldConfig(4, *HW, vehicles=2, shake=shake)) for shake in (0.0, 3.0))
    places = [[world.step()[1].gates_xy for _ in range(6)] for world in (still, swaying)]
    assert all(np.array_equal(gates, places[0][0]) for gates in places[0])
    assert not np.array_equal(places[1][0], places[1][5])
    shape = places[1][0] - places[1][0][:1, :1]
    assert all(np.allclose(gates - gates[:1, :1], shape, atol=0.1) for gates in places[1])


def test_who_is_on_the_edge_is_just_outside_the_forbidden_ground() -> None:
    world = World(WorldConfig(2, *HW, people=0, vehicles=0, dogs=0, shake=0.0, hour=12, events=1.0))
    truth = world.step()[1]
    (x0, y0), (x1, _) = truth.forbidden_xy[:2].tolist()
    middle = truth.forbidden_xy.mean(axis=0).tolist()
    edge = ((x0 + x1) / 2, y0 + (truth.forbidden_xy[1, 1] - y0) / 2)
    places = [middle, edge, (edge[0], edge[1] + 1.0), (edge[0], edge[1] + 9.0), edge]
    points = np.zeros((5, len(KEYPOINTS), 3), np.float32)
    points[..., :2] = np.array(places, np.float32)[:, None]
    there = replace(
        truth,
        ids=np.arange(5),
        labels=np.array([PERSON] * 4 + [CAR]),
        keypoints=points,
        events=(WorldEvent("intrusion", 0, 0, (0, 0, 1, 1)),),
    )
    assert on_edge(there) == (1, 2)
    assert on_edge(replace(there, forbidden_xy=np.zeros((0, 2), np.float32))) == ()
