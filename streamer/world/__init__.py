"""The generator of streets: pictures, and the truth about them. Same seed, same pixels."""

from streamer.world.splits import SPLITS, split_config
from streamer.world.street import World
from streamer.world.truth import (
    ACTIONS,
    KEYPOINTS,
    LABELS,
    ORDER_PAIRS,
    SEMANTIC,
    TEST_THEMES,
    THEMES,
    VIEWS,
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
    "SPLITS",
    "TEST_THEMES",
    "THEMES",
    "VIEWS",
    "WEATHERS",
    "Truth",
    "World",
    "WorldConfig",
    "split_config",
]
