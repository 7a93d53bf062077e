"""The generator of streets: pictures, and the truth about them. Same seed, same pixels."""

from streamer.world.splits import SPLITS, split_config
from streamer.world.street import World
from streamer.world.truth import (
    ACTIONS,
    EVENTS,
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
    WorldEvent,
)

__all__ = [
    "ACTIONS",
    "EVENTS",
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
    "WorldEvent",
    "split_config",
]
