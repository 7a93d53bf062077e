"""Training clips, rendered as they are needed: step s of run r is a pure function of (r, s), so a run can be resumed.

A batch has B lanes. A lane shows one world for a few steps and then moves to a new one; lanes change at different
steps. So thousands of worlds are seen, each built once, and a track may live longer than one step's few frames.

The worlds are the training streets of `streamer.world.splits`: other seeds, and fewer themes, than what is measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world import ACTIONS, KEYPOINTS, LABELS, Truth, World
from streamer.world.splits import SPLITS, split_config

NOBODY = 255  # in a mask map: no object here
UNKNOWN_MASK = 254  # in a mask map: nothing is known here
EMPTY = -1  # in labels and ids: no object in this place
PERSON = LABELS.index("person")


def _mirrored(names: tuple[str, ...]) -> NDArray[np.int64]:
    """Where each name's mirror image stands: left for right, and the others for themselves."""

    def mirror(name: str) -> str:
        return "_".join({"left": "right", "right": "left"}.get(part, part) for part in name.split("_"))

    return np.array([names.index(mirror(name)) for name in names], np.int64)


MIRRORED_POINTS, MIRRORED_ACTIONS = _mirrored(KEYPOINTS), _mirrored(ACTIONS)


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """How a run's clips are cut. A lane gives `frames` frames a step and keeps its world for `stay` steps."""

    seed: int
    height: int
    width: int
    lanes: int = 8
    first_lane: int = 0  # a member of a team draws lanes first_lane, first_lane + 1, …
    frames: int = 3
    stay: int = 8
    max_objects: int = 32
    fps_low: float = 5.0
    fps_high: float = 25.0
    forget: float = 0.35  # chance that a lane's tracks are cleared although its world goes on
    skip: float = 0.08  # chance that a frame is lost before a frame that is seen
    many_dogs: float = 0.3  # share of worlds with one to five dogs: rare and small, they are learnt last

    def batches(self, first_step: int = 0) -> Iterator[ClipBatch]:
        """As `render_batches`."""
        return render_batches(self, first_step)

    def parts(self, count: int) -> list[ClipPlan]:
        """At most `count` plans whose batches, side by side, are this one's."""
        return [
            replace(self, first_lane=self.first_lane + first, lanes=lanes)
            for first, lanes in lane_parts(self.lanes, count)
        ]


class Plan(Protocol):
    """Where a run's clips come from; pickled into the process that makes them."""

    def batches(self, first_step: int) -> Iterator[ClipBatch]: ...
    def parts(self, count: int) -> Sequence[Plan]: ...


class BatchShape(Protocol):
    """What the sizes of a ClipBatch follow from."""

    @property
    def frames(self) -> int: ...
    @property
    def lanes(self) -> int: ...
    @property
    def max_objects(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...


class ClipBatch(NamedTuple):
    """One step's data: T frames of B lanes, frame first; G places for objects.

    images u8 (T,B,H,W,3); boxes f32 (T,B,G,4) cxcywh of the visible part in 0..1; labels i64 (T,B,G), ids i64 (T,B,G),
    both EMPTY where there is no object; masks u8 (T,B,H/2,W/2): place 0..G-1 or NOBODY; semantic u8 (T,B,H/2,W/2),
    NOBODY where unknown; keypoints f32 (T,B,G,P,3) x, y in 0..1 and v (0 out of the picture, 1 hidden, 2 seen, below 0
    unknown); actions i64 (T,B,G), EMPTY where unknown; fresh bool (B,): this lane starts without tracks.

    Of a user's data also: ignored bool (T,B,H/2,W/2): here may be objects that are not listed; told bool (B,C): whether
    the lane's data speaks of a label at all. None: nowhere, and all.
    """

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    masks: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    actions: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    ignored: NDArray[np.bool_] | None = None
    told: NDArray[np.bool_] | None = None


class Lane:
    """One row of the batch: a world, how it is coloured and mirrored, and for how long it stays."""

    def __init__(self, plan: ClipPlan, index: int, visit: int) -> None:
        self.plan = plan
        self.time_s = 0.0  # of the frame shown last
        self.rng = np.random.default_rng((plan.seed, index, visit))
        self.flip = bool(self.rng.random() < 0.5)
        self.colours = self._draw_colours()
        fps = float(np.exp(self.rng.uniform(np.log(plan.fps_low), np.log(plan.fps_high))))
        index = int(self.rng.integers(0, len(SPLITS["train"])))
        config = split_config("train", index, plan.height, plan.width, fps)
        if self.rng.random() < plan.many_dogs:
            config = replace(config, dogs=int(self.rng.integers(1, 6)))
        self.world = World(config)

    def _draw_colours(self) -> NDArray[np.uint8]:
        """A look-up table u8 (1, 256, 3): brightness, contrast and tint of this lane's camera."""
        gain = self.rng.uniform(0.8, 1.2) * self.rng.uniform(0.94, 1.06, 3)
        offset = self.rng.uniform(-18, 18)
        levels = np.arange(256, dtype=np.float32)[:, None]
        table = np.clip((levels - 128) * gain + 128 + offset, 0, 255).astype(np.uint8)
        return table[None]

    def draw(self, batch: ClipBatch, index: int, starts: bool) -> None:
        """Writes this lane's next frames into the batch; `starts`: they are its world's first."""
        forget = self.rng.random() < self.plan.forget
        batch.fresh[index] = starts or forget
        for t in range(self.plan.frames):
            self.show(batch, (t, index))

    def show(self, batch: ClipBatch, where: tuple[int, int]) -> None:
        """Writes the next frame at (t, lane)."""
        if self.rng.random() < self.plan.skip:
            self.world.skip(1)
        picture, truth = self.world.step()
        self.time_s = truth.time_s
        picture = cv2.LUT(picture, self.colours)
        batch.images[where] = picture[:, ::-1] if self.flip else picture
        write_truth(batch, where, truth, self.flip)


def write_truth(batch: ClipBatch, where: tuple[int, int], truth: Truth, flip: bool) -> None:
    """Writes one frame's truth at (t, lane); if there are more objects than places, the largest stay."""
    height, width = truth.instances.shape
    area = (truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2]).prod(axis=1)
    rows = np.argsort(-area, kind="stable")[: batch.labels.shape[2]]
    n = len(rows)
    boxes = truth.boxes_xyxy[rows] / np.array([width, height, width, height], np.float32)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    if flip:
        centre[:, 0] = 1 - centre[:, 0]
    batch.boxes[where][:n] = np.concatenate((centre, boxes[:, 2:] - boxes[:, :2]), axis=1)
    batch.labels[where][:n] = truth.labels[rows]
    batch.ids[where][:n] = truth.ids[rows]
    place_of = np.full(len(truth.labels) + 1, NOBODY, np.uint8)  # the last entry stands for instance -1
    place_of[rows] = np.arange(n)
    masks = place_of[truth.instances[::2, ::2]]
    batch.masks[where] = masks[:, ::-1] if flip else masks
    semantic = truth.semantic[::2, ::2]
    batch.semantic[where] = semantic[:, ::-1] if flip else semantic
    points = truth.keypoints[rows] / np.array([width, height, 1], np.float32)
    actions = truth.actions[rows]
    if flip:
        points = points[:, MIRRORED_POINTS]
        points[..., 0] = 1 - points[..., 0]
        actions = np.where(actions >= 0, MIRRORED_ACTIONS[actions], actions)
    points[truth.labels[rows] != PERSON, :, 2] = -1
    batch.keypoints[where][:n] = points
    batch.actions[where][:n] = actions


def empty_batch(plan: BatchShape) -> ClipBatch:
    """A batch with no object in it."""
    t, b, g = plan.frames, plan.lanes, plan.max_objects
    return ClipBatch(
        np.empty((t, b, plan.height, plan.width, 3), np.uint8),
        np.zeros((t, b, g, 4), np.float32),
        np.full((t, b, g), EMPTY, np.int64),
        np.full((t, b, g), EMPTY, np.int64),
        np.full((t, b, plan.height // 2, plan.width // 2), NOBODY, np.uint8),
        np.full((t, b, plan.height // 2, plan.width // 2), NOBODY, np.uint8),
        np.full((t, b, g, len(KEYPOINTS), 3), -1, np.float32),
        np.full((t, b, g), EMPTY, np.int64),
        np.ones(b, np.bool_),
    )


def lane_parts(lanes: int, count: int) -> list[tuple[int, int]]:
    """The first lane and the number of lanes of at most `count` parts, as equal as can be."""
    bounds = np.linspace(0, lanes, max(1, min(count, lanes)) + 1).astype(int).tolist()
    return [(low, high - low) for low, high in itertools.pairwise(bounds)]


def side_by_side(batches: Sequence[ClipBatch]) -> ClipBatch:
    """All batches' lanes in one: the first dimension of `fresh` and `told`, the second of all others."""
    joined = {
        name: None
        if getattr(batches[0], name) is None
        else np.concatenate(
            [getattr(batch, name) for batch in batches], axis=0 if name in ("fresh", "told") else 1
        )
        for name in ClipBatch._fields
    }
    return ClipBatch(**joined)  # type: ignore[arg-type]


def render_batches(plan: ClipPlan, first_step: int = 0) -> Iterator[ClipBatch]:
    """The batches of steps `first_step`, `first_step + 1`, … without end."""
    lanes: dict[int, Lane] = {}
    # A lane in the middle of a visit at first_step has already drawn frames: begin early enough to draw them again.
    for step in range(max(0, first_step - plan.stay + 1), 2**62):
        batch = empty_batch(plan)
        for index in range(plan.lanes):
            lane = plan.first_lane + index
            visit, visit_step = divmod(
                step + lane * 3, plan.stay
            )  # 3: neighbours change worlds at other steps
            starts = visit_step == 0 or step == 0
            if starts:
                lanes[index] = Lane(plan, lane, visit)
            if index in lanes:
                lanes[index].draw(batch, index, starts)
        if step >= first_step:
            yield batch
