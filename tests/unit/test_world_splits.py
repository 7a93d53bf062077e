"""The splits: one street for one index, no seed and no test theme leaks, conditions are as often as they should be."""

from __future__ import annotations

import pytest

from streamer.errors import SightlineError
from streamer.world import SPLITS, TEST_THEMES, THEMES, VIEWS, WEATHERS, World, WorldConfig, split_config
from streamer.world.layout import plan

STREETS = 600


def streets(split: str) -> list[WorldConfig]:
    return [split_config(split, index, 144, 256) for index in range(STREETS)]


def test_a_street_is_its_split_and_index_at_every_size_and_rate() -> None:
    first = split_config("train", 17, 144, 256)
    assert first == split_config("train", 17, 144, 256)
    other = split_config("train", 17, 256, 448, fps=25.0)
    assert (other.height, other.width, other.fps) == (256, 448, 25.0)
    for name in (
        "seed",
        "weather",
        "hour",
        "theme",
        "people",
        "view",
        "shake",
        "zoom",
        "blur",
        "compression",
    ):
        assert getattr(first, name) == getattr(other, name)
    assert split_config("train", 18, 144, 256) != first


def test_seeds_never_leak() -> None:
    seeds = {split: {config.seed for config in streets(split)} for split in SPLITS}
    assert all(len(found) == STREETS for found in seeds.values())
    assert max(seeds["train"]) < 900_000 <= min(seeds["validation"])
    assert max(seeds["validation"]) < 1_000_000 <= min(seeds["heldout"])
    last = split_config("train", 899_999, 144, 256)
    assert last.seed == 899_999


def test_test_themes_stand_in_every_second_heldout_street_and_nowhere_else() -> None:
    for split in ("train", "validation"):
        themes = {config.theme for config in streets(split)}
        assert themes == set(THEMES)
    heldout = [config.theme for config in streets("heldout")]
    assert {*heldout[1::2]} == set(TEST_THEMES) and {*heldout[0::2]} == set(THEMES)
    assert not set(THEMES) & set(TEST_THEMES)


def test_a_seed_alone_never_draws_a_test_theme() -> None:
    drawn = {plan(WorldConfig(seed, 48, 80)).theme for seed in range(60)}
    assert len(drawn) > 3 and not drawn & set(TEST_THEMES)


@pytest.mark.parametrize("split", SPLITS)
def test_conditions_are_as_often_as_they_should_be(split: str) -> None:
    found = streets(split)

    def share(hits: list[bool]) -> float:
        return sum(hits) / len(hits)

    assert 0.38 < share([c.weather == "clear" for c in found]) < 0.54
    assert {c.weather for c in found} == set(WEATHERS)
    assert {c.view for c in found} == {None, *VIEWS}
    crowds = [c.people for c in found if c.people is not None]
    assert 0.11 < len(crowds) / len(found) < 0.23
    assert min(crowds) >= 15 and max(crowds) <= 30
    assert 0.15 < share([(c.hour or 0) > 19.4 for c in found]) < 0.35
    for name in ("shake", "zoom", "blur", "exposure", "compression", "lookalikes", "events"):
        on = [bool(getattr(c, name)) for c in found]
        assert 0.12 < share(on) < 0.5, name


def test_conditions_are_drawn_apart() -> None:
    """Neither theme nor index tells the weather: the two kinds of held-out streets differ in their houses alone."""
    found = streets("heldout")
    new, old = found[1::2], found[0::2]
    for weather in WEATHERS:
        counts = [sum(c.weather == weather for c in half) / len(half) for half in (new, old)]
        assert abs(counts[0] - counts[1]) < 0.12


def test_the_first_streets_draw() -> None:
    for split in SPLITS:
        for index in range(2):
            picture, truth = World(split_config(split, index, 48, 80)).step()
            assert picture.shape == (48, 80, 3) and picture.std() > 5
            assert truth.instances.shape == (48, 80)


@pytest.mark.parametrize(
    ("split", "index", "named"),
    [
        ("test", 0, "test"),
        ("train", 900_000, "900000"),
        ("validation", 100_000, "100000"),
        ("heldout", -1, "-1"),
    ],
)
def test_what_does_not_exist_is_one_line(split: str, index: int, named: str) -> None:
    with pytest.raises(SightlineError, match=named) as caught:
        split_config(split, index, 144, 256)
    assert "use" in str(caught.value) and "\n" not in str(caught.value)
