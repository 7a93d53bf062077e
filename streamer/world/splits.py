"""The streets of training, validation and test, drawn so that what is measured has never been trained on.

A street is (split, index). Its seed lies in the split's own range, its conditions (weather, hour, camera, crowd …) come
from the same dice in every split, and every second held-out street has a facade theme that no other split draws.

Beside the splits stand the event streets: held-out as well, and staged so that people trespass, cars drive the wrong
way and bags are left, before a camera that stands still, as one does for which zones and lines are drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streamer.errors import SightlineError
from streamer.world.truth import TEST_THEMES, THEMES, WEATHERS, WorldConfig

# split: its seeds. The first number of a street's dice is the place here, so a new split goes to the end.
SPLITS: dict[str, range] = {
    "train": range(0, 900_000),
    "validation": range(900_000, 1_000_000),
    "heldout": range(1_000_000, 2_000_000),
}
EVENT_SEEDS = range(2_000_000, 2_100_000)
# Event streets that `sightline eval` runs, and the frame from which on it does, for EVENT_FRAMES frames. Taken of the
# first 160 by the truth alone: somebody trespasses and a car drives the wrong way, near enough to be seen.
EVENT_CLIPS = ((104, 100), (4, 110), (66, 140), (151, 150), (159, 160), (140, 160), (115, 170), (147, 40))
EVENT_FRAMES = 100
CLEAR = 0.46  # share of streets with clear weather; the other weathers share the rest
CROWD_ONE_IN = 6
CROWD = range(15, 31)


def split_config(split: str, index: int, height: int, width: int, fps: float = 12.5) -> WorldConfig:
    """Street `index` of a split, as a picture of `height` x `width` pixels; the same street at every size and rate.

    Raises SightlineError for an unknown split or an index that it does not have.
    """
    if split not in SPLITS:
        raise SightlineError(
            f"there is no split {split!r}", where="world", mend=f"use one of {', '.join(SPLITS)}"
        )
    seeds = SPLITS[split]
    if not 0 <= index < len(seeds):
        raise SightlineError(
            f"split {split} has no street {index}", where="world", mend=f"use 0 to {len(seeds) - 1}"
        )
    rng = np.random.default_rng([list(SPLITS).index(split), index, 71])
    drawn = _conditions(rng)
    if split == "heldout" and index % 2:
        drawn["theme"] = TEST_THEMES[index // 2 % len(TEST_THEMES)]
    return WorldConfig(seed=seeds[index], height=height, width=width, fps=fps, **drawn)


def event_street(index: int, height: int, width: int, fps: float = 12.5) -> WorldConfig:
    """Event street `index`; the same at every size and rate. Raises SightlineError for an index that there is not."""
    if not 0 <= index < len(EVENT_SEEDS):
        raise SightlineError(
            f"there is no event street {index}", where="world", mend=f"use 0 to {len(EVENT_SEEDS) - 1}"
        )
    drawn = _conditions(np.random.default_rng([EVENT_SEEDS.start, index, 71]))
    if index % 2:
        drawn["theme"] = TEST_THEMES[index // 2 % len(TEST_THEMES)]
    # Vehicles make it a street and no square: on a square nobody can drive the wrong way.
    drawn |= {"events": 1.0, "vehicles": 3, "shake": 0.0, "zoom": 0.0}
    return WorldConfig(seed=EVENT_SEEDS[index], height=height, width=width, fps=fps, **drawn)


def _conditions(rng: np.random.Generator) -> dict[str, Any]:
    """One street's conditions. Every die is thrown whatever the others show, so that changing one moves no other."""
    weather = WEATHERS[0] if rng.random() < CLEAR else WEATHERS[1 + int(rng.integers(len(WEATHERS) - 1))]
    night, day = float(rng.uniform(19.5, 24)), float(rng.uniform(6, 19.5))
    hour = night if rng.random() < 0.24 else day
    theme = THEMES[int(rng.integers(len(THEMES)))]
    crowd = int(rng.integers(CROWD.start, CROWD.stop))
    many_dogs = int(rng.integers(1, 6))
    crowded, dogs = rng.integers(CROWD_ONE_IN) == 0, rng.random() < 0.3
    view = (None, "street", "high", "low")[int(rng.choice(4, p=(0.5, 0.14, 0.22, 0.14)))]
    return {
        "weather": weather,
        "hour": hour,
        "theme": theme,
        "people": crowd if crowded else None,
        "dogs": many_dogs if dogs else None,
        "view": view,
        "shake": _sometimes(rng, 0.3, 0.5, 4.0),
        "zoom": _sometimes(rng, 0.22, 0.1, 0.6) or 0.0,
        "blur": _sometimes(rng, 0.25, 0.35, 0.9) or 0.0,
        "exposure": _sometimes(rng, 0.3, 0.1, 0.35) or 0.0,
        "compression": round(_sometimes(rng, 0.35, 22, 75) or 0.0),
        "lookalikes": _sometimes(rng, 0.2, 0.4, 1.0) or 0.0,
        "events": _sometimes(rng, 0.3, 0.3, 1.0) or 0.0,
    }


def _sometimes(rng: np.random.Generator, chance: float, low: float, high: float) -> float | None:
    """A value between `low` and `high` in this share of cases, else None; always two throws."""
    on, value = rng.random() < chance, float(rng.uniform(low, high))
    return value if on else None
