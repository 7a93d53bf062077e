"""Fog, snow, headlights and views, and the pairs of a spoilt and a clean picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer.world import SEMANTIC, World, WorldConfig
from tests.unit.test_world import ARRAYS, check

SIZE = {"height": 96, "width": 160}
BUILDING, ROAD, PAVEMENT = (SEMANTIC.index(name) for name in ("building", "road", "pavement"))


def world(**settings: Any) -> World:
    return World(WorldConfig(**{"seed": 3, "noise": 0.0, "shake": 0.0, "hour": 12.5, **SIZE, **settings}))


@pytest.mark.parametrize("seed", [3, 11])
def test_fog_pales_the_far_more_than_the_near(seed: int) -> None:
    clear, truth = world(seed=seed, people=0, vehicles=0, weather="overcast").step()
    street = world(seed=seed, people=0, vehicles=0, weather="fog")
    foggy, _ = street.step()
    rows = np.arange(SIZE["height"])[:, None] * np.ones(SIZE["width"], int)
    near = rows > 85
    far = truth.semantic == BUILDING
    left = [
        np.abs(foggy[where] - street._fog.rgb).mean() / np.abs(clear[where] - street._fog.rgb).mean()
        for where in (near, far)
    ]
    assert left[1] < 0.75 * left[0]
    assert left[1] < 0.6


def test_fog_hides_a_person_the_more_the_farther_away() -> None:
    """What is left of a person's distance from the fog's own colour: the less the farther it is."""
    a, b = (world(people=11, vehicles=0, weather=w) for w in ("overcast", "fog"))
    air = b._fog.rgb
    found: list[tuple[float, float]] = []  # row of the feet, share left
    for _ in range(6):
        (clear, truth), (foggy, _) = a.step(), b.step()
        for row in range(len(truth.ids)):
            mask = truth.instances == row
            if mask.sum() < 40 or truth.visibility[row] < 0.9:
                continue
            share = np.abs(foggy[mask] - air).mean() / np.abs(clear[mask] - air).mean()
            found.append((float(truth.full_boxes_xyxy[row][3]), float(share)))
        a.skip(15)
        b.skip(15)
    feet, left = zip(*found, strict=True)
    assert len(found) > 15 and max(left) < 0.9
    assert max(left) > 1.25 * min(left)
    assert np.corrcoef(feet, left)[0, 1] > 0.95


def test_snow_whitens_the_ground_and_falls() -> None:
    clear, truth = world(people=0, vehicles=0).step()
    street = world(people=0, vehicles=0, weather="snow")
    (first, snowy), (second, _) = street.step(), street.step()
    on = truth.semantic == PAVEMENT
    assert first[on].mean() > clear[on].mean() + 20
    spread = (p[on].astype(int).max(1) - p[on].min(1) for p in (first, clear))
    assert next(spread).mean() < next(spread).mean()
    changed = np.abs(first.astype(int) - second).max(2) > 20
    assert 0.002 < changed.mean() < 0.3
    assert np.array_equal(snowy.semantic, truth.semantic)


@pytest.mark.parametrize("weather", ["fog", "snow", "rain", "overcast"])
def test_weather_leaves_the_truth_alone(weather: str) -> None:
    clear, other = world(people=8), world(people=8, weather=weather)
    for _ in range(3):
        (_, ta), (picture, tb) = clear.step(), other.step()
        assert all(np.array_equal(getattr(ta, n), getattr(tb, n)) for n in ARRAYS)
        check(picture, tb, SIZE["height"], SIZE["width"])
        assert weather in tb.caption


def test_headlights_light_the_road_before_cars_and_change_no_truth() -> None:
    lit, dark = (world(seed=5, people=3, vehicles=8, hour=22.5) for _ in range(2))
    assert dark._headlights is not None
    dark._headlights = None
    road = glow = 0
    for _ in range(4):
        (a, ta), (b, tb) = lit.step(), dark.step()
        assert all(np.array_equal(getattr(ta, n), getattr(tb, n)) for n in ARRAYS)
        more = a.astype(int).sum(2) - b.astype(int).sum(2)
        assert more.min() >= -6
        road += int((more[ta.semantic == ROAD] > 30).sum())
        glow += int((more[ta.instances >= 0] > 30).sum())
        lit.skip(6)
        dark.skip(6)
    assert road > 300 and glow > 40
    assert world(hour=13.0)._headlights is None


def test_views_look_from_where_they_say() -> None:
    eyes: dict[str, list[float]] = {}
    for seed in range(6):
        for view in ("low", "street", "high"):
            street = world(seed=seed, view=view)
            eyes.setdefault(view, []).append(street.layout.camera.y)
            picture, truth = street.step()
            check(picture, truth, SIZE["height"], SIZE["width"])
            words = {"low": "seen from low down", "high": "seen from high up"}
            assert all((words[v] in truth.caption) == (v == view) for v in words)
    assert max(eyes["low"]) < 2 < min(eyes["street"]) < max(eyes["street"]) < 7 < min(eyes["high"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hour": 23.0, "weather": "fog"}, ("by night under lamps", "fog")),
        ({"hour": 12.0, "weather": "snow", "view": "high"}, ("by day,", "snow", "from high up")),
        ({"hour": 6.0, "weather": "rain"}, ("by dawn under lamps", "rain")),
        ({"hour": 18.0, "theme": "stucco"}, ("stucco", "by dusk,", "clear sky")),
    ],
)
def test_the_caption_names_weather_light_and_view(settings: dict[str, Any], words: tuple[str, ...]) -> None:
    first, again = (World(WorldConfig(seed=3, height=48, width=80, **settings)) for _ in range(2))
    caption = first.step()[1].caption
    assert caption == again.step()[1].caption
    assert all(word in caption for word in words) and caption.endswith(".")


@pytest.mark.parametrize("hour", [13.0, 23.0])
@pytest.mark.parametrize("weather", ["overcast", "snow"])
def test_the_houses_are_the_same_in_every_weather(weather: str, hour: float) -> None:
    (a, truth), (b, _) = (
        world(seed=11, people=0, vehicles=0, hour=hour, weather=w).step() for w in ("clear", weather)
    )
    houses = truth.semantic == BUILDING
    assert np.corrcoef(a[houses].mean(1), b[houses].mean(1))[0, 1] > 0.85


# ------------------------------------------------------------------------------------------------------ pairs


def test_a_pair_is_equal_when_nothing_spoils_it() -> None:
    street = world()
    for _ in range(2):
        spoilt, clean, truth = street.step_pair()
        assert np.array_equal(spoilt, clean) and not np.shares_memory(spoilt, clean)
    assert truth.frame == 1


def test_a_pair_shows_one_moment_spoilt_and_clean() -> None:
    settings = {
        "weather": "fog", "noise": 4.0, "blur": 0.8, "exposure": 0.3, "compression": 30, "shake": 3.0, "zoom": 0.4,
        "events": 1.0,
    }  # fmt: skip
    pairs, alone = world(**settings), world(**settings)
    clean_alone = world(shake=3.0, zoom=0.4, events=1.0)
    for count in (0, 3, 80):
        for street in (pairs, alone, clean_alone):
            street.skip(count)
        spoilt, clean, truth = pairs.step_pair()
        (a, ta), (b, tb) = alone.step(), clean_alone.step()
        assert np.array_equal(spoilt, a) and np.array_equal(clean, b)
        assert all(np.array_equal(getattr(truth, n), getattr(ta, n)) for n in ARRAYS)
        assert all(np.array_equal(getattr(truth, n), getattr(tb, n)) for n in ARRAYS)
        assert truth.caption == ta.caption and "fog" in truth.caption
        assert np.abs(spoilt.astype(int) - clean).mean() > 8
