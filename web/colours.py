"""Colours of identities, classes and regions in pictures that the server draws: those of `web/static/palette.js`.

A track's follows from its id alone: even OKLCH lightness, hues a golden angle apart. A test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

Bgr = tuple[int, int, int]

_GOLDEN_DEG: Final = 137.508
_CHROMA: Final = 0.15
_LIGHTNESS: Final = (0.8, 0.71)
_KINDS: Final = 720
_REGION_HUES_DEG: Final = (200, 75, 330, 140, 265, 30)
# Cityscapes' colours (red, green, blue), which people of the field know by heart.
_GROUND: Final[dict[str, tuple[int, int, int]]] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "pavement": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "tree": (107, 142, 35),
    "terrain": (152, 251, 152),
    "grass": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}


def colour_of(track_id: int) -> Bgr:
    """The colour of an identity: blue, green, red, 0..255."""
    return _identity(track_id % _KINDS)


def ground_of(value: int, names: Sequence[str]) -> Bgr:
    """The colour of a class of a semantic map; one that is not known by name has an identity's."""
    known = _GROUND.get(names[value]) if value < len(names) else None
    return colour_of(value) if known is None else (known[2], known[1], known[0])


@lru_cache(maxsize=len(_REGION_HUES_DEG))
def _region(place: int) -> Bgr:
    return _oklch(0.85, 0.14, _REGION_HUES_DEG[place])


def region_of(place: int) -> Bgr:
    """The colour of a zone or line by its place in the stream's list: zones first, then lines."""
    return _region(place % len(_REGION_HUES_DEG))


@lru_cache(maxsize=_KINDS)
def _identity(place: int) -> Bgr:
    return _oklch(_LIGHTNESS[place % 2], _CHROMA, place * _GOLDEN_DEG)


def _oklch(lightness: float, chroma: float, hue_deg: float) -> Bgr:
    """Ottosson 2020, cut to what a screen can show."""
    hue = math.radians(hue_deg)
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short
    return _byte(blue), _byte(green), _byte(red)


def _byte(linear: float) -> int:
    light = min(1.0, max(0.0, linear))
    shown = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return math.floor(255 * shown + 0.5)
