"""What is known of a world: its configuration, its vocabularies and the truth about one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.errors import SightlineError

LABELS = ("person", "car", "bus", "bicycle", "dog")
ACTIONS = (
    "walk_left", "walk_right", "approach", "recede", "run_left", "run_right", "stand", "wave",
    "sit_down", "sit", "stand_up", "fall", "lie", "get_up",
)  # fmt: skip
# Each is the other's mirror in time: no single frame can tell them apart.
ORDER_PAIRS = (("sit_down", "stand_up"), ("fall", "get_up"))
EVENTS = ("fall", "intrusion", "wrong_way", "left_bag")
SEMANTIC = (
    "sky", "building", "road", "marking", "pavement", "grass", "vegetation", "furniture",
    "person", "car", "bus", "bicycle", "dog",
)  # fmt: skip
KEYPOINTS = (
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
WEATHERS = ("clear", "overcast", "rain", "fog", "snow")
SEED_THEMES = ("brick", "pastel", "concrete", "sandstone", "timber")  # what a seed alone may draw
THEMES = (*SEED_THEMES, "panel")
TEST_THEMES = ("glass", "stucco")  # never drawn: they are kept for streets that no training has seen
VIEWS = ("street", "high", "low")

PERSON, CAR, BUS, BICYCLE, DOG = range(5)
NO_ACTION = -1
SKY, BUILDING, ROAD, MARKING, PAVEMENT, GRASS, VEGETATION, FURNITURE = range(8)
SEMANTIC_OF_LABEL = 8  # semantic class of label 0; the others follow in the order of LABELS
MIN_SIDE, MAX_SIDE = 32, 4096
CROWD_FROM = 12  # so many people make a crowd
MAX_PEOPLE, MAX_VEHICLES, MAX_DOGS = 60, 30, 30


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """One street. Sizes in pixels, `hour` of the day 0..24, `noise` the sensor's sigma in grey levels (0 = none).

    `people` counts pedestrians, `vehicles` cars, buses and bicycles (moving or parked), `dogs` dogs. None = drawn from
    the seed. From CROWD_FROM people on, some walk in groups, meet, wait behind a kiosk and use the houses' doors.
    `theme` is one of THEMES or TEST_THEMES; `view` one of VIEWS, None = as the seed has it. `lookalikes` 0..1 is the
    share of people in one uniform; `events` 0..1 is how much happens besides falls (EVENTS): 0 nothing, 1 something
    new about every four seconds.

    The camera's faults, all off by default: `shake` px of sway in a picture 144 rows high (None = as the seed has it,
    0 = none), `zoom` 0..1 how much nearer it slowly comes and goes, `blur` sigma in px at 144 rows, `exposure` 0..1
    how far its gain drifts (1: half to double), `compression` JPEG quality 2..95 (0 = none).
    Raises SightlineError for a value that has no meaning.
    """

    seed: int
    height: int = 144
    width: int = 256
    fps: float = 12.5
    people: int | None = None
    vehicles: int | None = None
    dogs: int | None = None
    weather: str = "clear"
    hour: float | None = None
    noise: float | None = None
    theme: str | None = None
    view: str | None = None
    shake: float | None = None
    zoom: float = 0.0
    blur: float = 0.0
    exposure: float = 0.0
    compression: int = 0
    lookalikes: float = 0.0
    events: float = 0.0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("seed", self.seed, 0, 2**63 - 1),
            ("height", self.height, MIN_SIDE, MAX_SIDE),
            ("width", self.width, MIN_SIDE, MAX_SIDE),
            ("fps", self.fps, 0.1, 240),
            ("people", self.people, 0, MAX_PEOPLE),
            ("vehicles", self.vehicles, 0, MAX_VEHICLES),
            ("dogs", self.dogs, 0, MAX_DOGS),
            ("hour", self.hour, 0, 24),
            ("noise", self.noise, 0, 60),
            ("shake", self.shake, 0, 12),
            ("zoom", self.zoom, 0, 1),
            ("blur", self.blur, 0, 6),
            ("exposure", self.exposure, 0, 1),
            ("lookalikes", self.lookalikes, 0, 1),
            ("events", self.events, 0, 1),
            ("compression", self.compression or 2, 2, 95),
        ):
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise SightlineError(
                    f"{name} = {value} is out of range", where="world", mend=f"use {low} to {high}"
                )
        for name, word, known in (
            ("weather", self.weather, WEATHERS),
            ("theme", self.theme or SEED_THEMES[0], (*THEMES, *TEST_THEMES)),
            ("view", self.view or VIEWS[0], VIEWS),
        ):
            if word not in known:
                raise SightlineError(
                    f"unknown {name} {word!r}", where="world", mend=f"use one of {', '.join(known)}"
                )


@dataclass(frozen=True, slots=True)
class WorldEvent:
    """Something that goes on in a frame: `kind` is one of EVENTS, `start_frame` the frame in which it began.

    `id`: of the person who fell, trespasses or left the bag, or of the car; `box_xyxy` px of that object or of the bag.
    """

    kind: str
    start_frame: int
    id: int | None
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth about one frame of N objects, nearest last; arrays are read-only.

    boxes_xyxy f32 (N,4) px, extent of the visible pixels (right and bottom exclusive); full_boxes_xyxy f32 (N,4) px of
    the whole object, unclipped; labels i64 (N,) into LABELS; ids i64 (N,), never reused in a world; visibility f32
    (N,): visible share of the object's pixels, 0..1; actions i64 (N,) into ACTIONS (as seen from the
    camera), -1 none; keypoints f32 (N,K,3) px x, y and v (0 out of the picture or no person, 1 hidden, 2 visible);
    instances i16 (H,W): -1 or row; semantic u8 (H,W) into SEMANTIC; caption: one sentence; events: those that go on in
    this frame within the picture; forbidden_xy f32 (P,2) px: the polygon on the ground that nobody may enter, P = 0 if
    there is none; gates_xy f32 (G,2,2) px: a stretch across each lane, its start and end: the middle of the lower edge
    of a car's box goes over it from its left to its right (seen along it), and back where the car drives the wrong way.
    """

    frame: int
    time_s: float
    boxes_xyxy: NDArray[np.float32]
    full_boxes_xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    visibility: NDArray[np.float32]
    actions: NDArray[np.int64]
    keypoints: NDArray[np.float32]
    instances: NDArray[np.int16]
    semantic: NDArray[np.uint8]
    caption: str
    events: tuple[WorldEvent, ...]
    forbidden_xy: NDArray[np.float32]
    gates_xy: NDArray[np.float32]
