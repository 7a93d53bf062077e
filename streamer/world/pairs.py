"""Pairs of a spoilt picture and the clean one of the same moment: to restore pictures, or to tell how bad one is.

The clean camera stands, sways and zooms with the other one, so both share one truth; but its air is clear, and it
neither blurs, drifts, compresses nor makes noise.
"""

from __future__ import annotations

from dataclasses import replace

from streamer.world.truth import WEATHERS, WorldConfig


def clean_config(config: WorldConfig) -> WorldConfig:
    """The same street and moments through clear air and a perfect camera."""
    return replace(config, weather=WEATHERS[0], noise=0.0, blur=0.0, exposure=0.0, compression=0)
