"""Training clips of a user's own data: step s of run r is a pure function of (data, r, s), so a run can be resumed.

A lane shows one still picture, under a wandering view, or one stretch of footage for a few steps and then moves on.
Each pass over the data takes every piece once, in an order of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.training.annotated import DataSet, Footage
from engines.training.clips import ClipBatch, empty_batch, lane_parts
from engines.training.views import Shelf, View, colour_table, wandering, write_view

PIECE_S = 4.0  # footage is offered in pieces of about this length
_ORDER, _VISIT, _STEP = 1, 2, 3  # what a stream of random numbers is for


@dataclass(frozen=True, slots=True)
class OwnPlan:
    """How a run's clips are cut from `data`; the other fields as in ClipPlan. `all_lanes` counts the whole team's."""

    data: DataSet = field(repr=False)
    seed: int
    height: int
    width: int
    lanes: int = 8
    all_lanes: int = 8
    first_lane: int = 0
    frames: int = 3
    stay: int = 4
    max_objects: int = 32
    fps_low: float = 5.0
    fps_high: float = 25.0
    forget: float = 0.35
    skip: float = 0.08

    def batches(self, first_step: int = 0) -> Iterator[ClipBatch]:
        """The batches of steps `first_step`, `first_step + 1`, … without end; SightlineError for a bad picture."""
        shelf = Shelf(self.height, self.width)
        pieces = _pieces(self.data)
        told = np.tile(np.array(self.data.told), (self.lanes, 1))  # (B, C)
        for step in range(first_step, 2**62):
            shape = (self.frames, self.lanes, self.height // 2, self.width // 2)
            batch = empty_batch(self)._replace(ignored=np.zeros(shape, np.bool_), told=told)
            for index in range(self.lanes):
                _draw(self, pieces, shelf, batch, index, step)
            yield batch

    def parts(self, count: int) -> list[OwnPlan]:
        """As `ClipPlan.parts`."""
        return [
            replace(self, first_lane=self.first_lane + first, lanes=lanes)
            for first, lanes in lane_parts(self.lanes, count)
        ]


def _pieces(data: DataSet) -> list[tuple[Footage, int, int]]:
    """What a lane can be given: footage, and the first and the end of the frames it may begin with."""
    found = []
    for footage in data.footage:
        length = len(footage.pictures)
        cut = max(1, round(length / (PIECE_S * footage.fps))) if length > 1 else 1
        bounds = np.linspace(0, length, cut + 1).astype(int)
        found += [(footage, int(a), int(b)) for a, b in itertools.pairwise(bounds) if b > a]
    return found


def _draw(
    plan: OwnPlan, pieces: list[tuple[Footage, int, int]], shelf: Shelf, batch: ClipBatch, index: int, step: int
) -> None:  # fmt: skip
    lane = plan.first_lane + index
    visit, at = divmod(step + lane * 3, plan.stay)  # 3: neighbours move on at other steps
    number = visit * plan.all_lanes + lane
    turn, place = divmod(number, len(pieces))
    order = np.random.default_rng((plan.seed, _ORDER, turn)).permutation(len(pieces))
    footage, low, high = pieces[order[place]]
    rng = np.random.default_rng((plan.seed, _VISIT, lane, visit))
    views, colours, frames = _visit(plan, footage, low, high, rng)
    forget = np.random.default_rng((plan.seed, _STEP, lane, step)).random() < plan.forget
    batch.fresh[index] = at == 0 or step == 0 or forget
    for t in range(plan.frames):
        now = at * plan.frames + t
        picture = footage.pictures[frames[now]]
        write_view(batch, (t, index), picture, views[now], shelf, len(footage.pictures) > 1)
        batch.images[t, index] = cv2.LUT(batch.images[t, index], colours)


def _visit(
    plan: OwnPlan, footage: Footage, low: int, high: int, rng: np.random.Generator
) -> tuple[list[View], NDArray[np.uint8], NDArray[np.intp]]:
    """What a lane shows for `stay` steps: views, colours, and which frames of the footage.

    The stride makes a rate between `fps_low` and `fps_high`, now and then a frame is lost; at the footage's end the
    frames go backwards.
    """
    count = plan.stay * plan.frames
    views, colours = wandering(rng, count), colour_table(rng)
    length = len(footage.pictures)
    fps = math.exp(rng.uniform(math.log(plan.fps_low), math.log(plan.fps_high)))
    stride = max(1, round(footage.fps / fps))
    gone = np.cumsum(1 + (rng.random(count) < plan.skip)) - 1
    at = int(rng.integers(low, high)) + stride * gone
    period = max(1, 2 * (length - 1))
    at %= period
    return views, colours, np.minimum(at, period - at) if length > 1 else np.zeros(count, np.intp)
