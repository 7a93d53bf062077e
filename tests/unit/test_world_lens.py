"""The camera's faults: truth and picture stay one under shake and zoom, and what is off changes nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from streamer.world import World, WorldConfig
from streamer.world.lens import GRAIN, Lens, Window
from tests.unit.test_world import ARRAYS, check

SIZE = {"height": 96, "width": 160}
FAULTS = {"shake": 4.0, "zoom": 0.7, "blur": 0.8, "exposure": 0.4, "compression": 35}


def frames(count: int, **settings: Any) -> list[tuple[np.ndarray[Any, Any], Any]]:
    world = World(WorldConfig(**{"seed": 3, "noise": 0.0, **SIZE, **settings}))
    out = []
    for _ in range(count):
        out.append(world.step())
        world.skip(6)
    return out


@pytest.mark.parametrize("scale", [2.0, 1.0, 1.37, round(1.9 * GRAIN) / GRAIN])
def test_a_window_shows_colours_and_tags_of_the_same_places(scale: float) -> None:
    """On a canvas whose colour is its tag, every picture pixel without an edge in it has the colour of its tag."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 2, (12, 16)).astype(np.uint8) * 200
    canvas = np.repeat(np.repeat(blocks, 12, 0), 12, 1)[:, :, None].repeat(4, 2).copy()
    window = Window(9.0, 7.0) if scale == 2 else Window(9.25, 7.75, scale)
    picture, tags = window.picture(canvas, 60, 80), window.tags(canvas, 0, 60, 0, 80)
    assert picture.shape == (60, 80, 3) and tags.shape == (60, 80)
    pure = (picture[:, :, 0] == 0) | (picture[:, :, 0] == 200)
    assert pure.mean() > 0.6
    assert np.array_equal(picture[pure][:, 0], tags[pure])
    part = window.tags(canvas, 11, 30, 20, 44)
    assert np.array_equal(part, tags[11:30, 20:44])


def test_zoom_begins_where_no_zoom_ends() -> None:
    rng = np.random.default_rng(6)
    canvas = rng.integers(0, 255, (140, 200, 4)).astype(np.uint8)
    plain = Window(8.0, 8.0)
    near = Window(8.0, 8.0, 2 - 1 / GRAIN)
    assert plain.plain and not near.plain
    assert np.abs(plain.picture(canvas, 60, 80).astype(int) - near.picture(canvas, 60, 80)).max() <= 10
    assert np.abs(plain.middles(8.0, 0, 80) - near.middles(8.0, 0, 80)).max() <= 1


@pytest.mark.parametrize("faults", [{"shake": 8.0}, {"zoom": 1.0}, {"shake": 5.0, "zoom": 0.5}])
def test_the_truth_moves_with_the_picture(faults: dict[str, float]) -> None:
    """Where people changed the picture of the empty street, there lie their masks, boxes and key points."""
    settings = {"vehicles": 0, "dogs": 0, "hour": 12.5, "height": 144, "width": 256, **faults}
    for (bare, _), (picture, truth) in zip(
        frames(5, people=0, **settings), frames(5, people=6, **settings), strict=True
    ):
        check(picture, truth, 144, 256)
        changed = np.abs(picture.astype(int) - bare).max(2) > 16
        people = truth.instances >= 0
        assert people.sum() > 150
        assert (changed & people).sum() > 0.85 * people.sum()
        assert (changed & ~people).sum() < 0.7 * people.sum()
        for row in range(len(truth.ids)):
            seen = truth.keypoints[row][truth.keypoints[row][:, 2] == 2]
            hits = [
                changed[max(0, int(y) - 1) : int(y) + 2, max(0, int(x) - 1) : int(x) + 2].any()
                for x, y, _ in seen
            ]
            assert len(hits) < 4 or np.mean(hits) > 0.8


def test_zoom_makes_a_standing_thing_larger_and_gives_it_back() -> None:
    settings = {"people": 0, "vehicles": 6, "fps": 2.0, "shake": 0.0}
    world, still = (World(WorldConfig(seed=3, noise=0.0, zoom=z, **SIZE, **settings)) for z in (1.0, 0.0))
    ratios = []
    for _ in range(40):
        (_, near), (_, far) = world.step(), still.step()
        common = set(near.ids.tolist()) & set(far.ids.tolist())
        for i in common:
            a, b = (t.full_boxes_xyxy[t.ids.tolist().index(i)] for t in (near, far))
            ratios.append(float((a[2] - a[0]) / (b[2] - b[0])))
    assert max(ratios) > 1.8 and min(ratios) < 1.15 and min(ratios) > 0.95


def test_a_shaking_camera_drifts_within_its_reach() -> None:
    lens = Lens(WorldConfig(seed=4, shake=6.0, **SIZE), 40, 0.0)
    corners = np.array([(w.x, w.y) for w in (lens.window(i / 12.5) for i in range(400))]) - 40
    reach = 6.0 * 96 / 144 * 2
    assert np.abs(corners).max() <= reach * 1.35
    assert corners.std(axis=0).min() > reach * 0.15
    steps = np.abs(np.diff(corners, axis=0)).mean(axis=0)
    assert np.all(steps < corners.std(axis=0))  # a drift: neighbours are nearer than the whole is wide


def test_no_shake_holds_still_even_where_the_seed_shakes() -> None:
    shaking = [seed for seed in range(30) if World(WorldConfig(seed, 48, 80)).layout.shake_px > 0.3][:2]
    for seed in shaking:
        (a, _), (b, _) = frames(2, seed=seed, people=0, vehicles=0, shake=0.0)
        assert np.array_equal(a, b)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_seen_and_a_skipped_frame_changes_nothing_after_it(name: str) -> None:
    faults = {name: FAULTS[name]}
    plain = World(WorldConfig(seed=3, noise=0.0, shake=0.0, **SIZE))
    plain.skip(9)
    config = WorldConfig(seed=3, noise=0.0, **{"shake": 0.0, **SIZE, **faults})
    drawn, skipping = World(config), World(config)
    for _ in range(9):
        drawn.step()
    skipping.skip(9)
    (a, ta), (b, tb) = drawn.step(), skipping.step()
    assert np.array_equal(a, b)
    assert all(np.array_equal(getattr(ta, n), getattr(tb, n)) for n in ARRAYS)
    assert not np.array_equal(a, plain.step()[0])


@pytest.mark.parametrize("name", ["blur", "exposure", "compression"])
def test_what_happens_behind_the_lens_leaves_the_truth_alone(name: str) -> None:
    for (_, ta), (_, tb) in zip(frames(3), frames(3, **{name: FAULTS[name]}), strict=True):
        assert all(np.array_equal(getattr(ta, n), getattr(tb, n)) for n in ARRAYS)


def test_blur_smooths_exposure_drifts_and_coding_leaves_blocks() -> None:
    def sharpness(picture: np.ndarray[Any, Any]) -> float:
        return float(np.abs(np.diff(picture.astype(int), axis=1)).mean())

    plain = [p for p, _ in frames(5, people=0, vehicles=0, shake=0.0)]
    blurred = [p for p, _ in frames(5, people=0, vehicles=0, shake=0.0, blur=1.5)]
    assert sharpness(blurred[0]) < 0.75 * sharpness(plain[0])
    levels = [p.mean() for p, _ in frames(9, people=0, vehicles=0, shake=0.0, exposure=0.4)]
    assert max(levels) > 1.1 * min(levels)
    assert max(np.abs(np.diff(levels))) < 0.5 * (max(levels) - min(levels)) + 8
    coded = [
        np.abs(p.astype(int) - plain[0]).mean()
        for q in (80, 40, 10)
        for p, _ in frames(1, people=0, vehicles=0, shake=0.0, compression=q)
    ]
    assert all(a < b for a, b in itertools.pairwise(coded))
