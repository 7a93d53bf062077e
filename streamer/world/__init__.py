"""The generator of streets: pictures, and the truth about them. Same seed, same pixels."""

from streamer.world.street import World
from streamer.world.truth import (
    ACTIONS,
    KEYPOINTS,
    LABELS,
    ORDER_PAIRS,
    SEMANTIC,
    THEMES,
    WEATHERS,
    Truth,
    WorldConfig,
)

__all__ = [
    "ACTIONS",
    "KEYPOINTS",
    "LABELS",
    "ORDER_PAIRS",
    "SEMANTIC",
    "THEMES",
    "WEATHERS",
    "Truth",
    "World",
    "WorldConfig",
]
