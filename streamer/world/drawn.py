"""One object in one frame: what was drawn of it, and what of that is seen. The truth is read from the canvas's tags."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.agents import Agent
from streamer.world.camera import F64
from streamer.world.draw import Shape, bounds, outline
from streamer.world.lens import Window
from streamer.world.truth import WorldConfig

MIN_VISIBLE_PX = 6  # an object showing fewer pixels is not in the truth


class Drawn:
    """`shapes` on the canvas under `tag`; `window` is what the picture shows of it."""

    def __init__(
        self,
        agent: Agent,
        shapes: list[Shape],
        joints: F64 | None,
        tag: int,
        window: Window,
        config: WorldConfig,
    ) -> None:
        self.agent, self.shapes, self.joints, self.tag, self.window = agent, shapes, joints, tag, window
        self.height, self.width = config.height, config.width
        self.span = bounds(shapes)
        x0, y0, x1, y1 = self.span
        ox, oy, s = window.x, window.y, window.scale
        self.full_box = ((x0 - ox + 0.5) / s, (y0 - oy + 0.5) / s, (x1 - ox + 0.5) / s, (y1 - oy + 0.5) / s)
        # Picture pixels that the object can touch, clipped to the picture.
        self.left, self.top = (
            max(0, math.floor(self.full_box[0]) - 1),
            max(0, math.floor(self.full_box[1]) - 1),
        )
        self.right = min(config.width, math.ceil(self.full_box[2]) + 1)
        self.bottom = min(config.height, math.ceil(self.full_box[3]) + 1)
        self.in_picture = self.left < self.right and self.top < self.bottom
        self.whole = 0
        self.box = (0.0, 0.0, 0.0, 0.0)
        self.visibility = 0.0

    @property
    def clipped_box(self) -> tuple[float, float, float, float]:
        """The whole object's extent within the picture, whether seen or hidden."""
        x0, y0, x1, y1 = self.full_box
        return max(x0, 0.0), max(y0, 0.0), min(x1, float(self.width)), min(y1, float(self.height))

    def count_whole(self, canvas: NDArray[np.uint8]) -> None:
        """Count the object's pixels before anything nearer hides them, and those beyond the picture's edge."""
        window = self.window
        x0, y0, x1, y1 = self.full_box
        if x0 >= 0 and y0 >= 0 and x1 <= self.width and y1 <= self.height:
            tags = window.tags(canvas, self.top, self.bottom, self.left, self.right)
            self.whole = int(np.count_nonzero(tags == self.tag))
            return
        # It reaches beyond the picture: draw it alone on the same pixel grid, whole.
        left, top = math.floor(x0) - 1, math.floor(y0) - 1
        wide, high = math.ceil(x1) + 1 - left, math.ceil(y1) + 1 - top
        wide, high = min(wide, 4 * self.width), min(high, 4 * self.height)
        rows, columns = window.middles(window.y, top, top + high), window.middles(window.x, left, left + wide)
        first_row, first_column = int(rows[0]), int(columns[0])
        alone = np.zeros((int(rows[-1]) - first_row + 1, int(columns[-1]) - first_column + 1), np.uint8)
        outline(alone, self.shapes, (first_column, first_row))
        if window.plain:
            s = int(window.scale)
            self.whole = int(np.count_nonzero(alone[::s, ::s]))
        else:
            self.whole = int(np.count_nonzero(alone[(rows - first_row)[:, None], columns - first_column]))

    def see(self, tags: NDArray[np.uint8]) -> bool:
        """Take box and visibility from the finished picture's tags; False if too little is seen."""
        # not cv2.compare: it takes a crop of one single pixel for a scalar, and raises
        mask = (tags[self.top : self.bottom, self.left : self.right] == self.tag).view(np.uint8)
        seen = cv2.countNonZero(mask)
        if seen < MIN_VISIBLE_PX:
            return False
        x, y, wide, high = cv2.boundingRect(mask)
        x0, y0 = self.left + x, self.top + y
        x1, y1 = x0 + wide, y0 + high
        self.box = (float(x0), float(y0), float(x1), float(y1))
        f = self.full_box
        self.full_box = (min(f[0], x0), min(f[1], y0), max(f[2], x1), max(f[3], y1))
        self.visibility = min(1.0, seen / max(self.whole, seen))
        return True

    def mark_joints(self, tags: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Key points (K,3) in picture pixels; seen where the picture shows this very object."""
        if self.joints is None:
            return
        window = self.window
        xy = np.rint((self.joints[: len(out)] - (window.x, window.y) + 0.5) / window.scale * 16) / 16
        out[:, :2] = xy
        for i, (x, y) in enumerate(xy.tolist()):
            if 0 <= x < self.width and 0 <= y < self.height:
                out[i, 2] = 2 if tags[int(y), int(x)] == self.tag else 1
