"""Shapes and how they reach the canvas.

The canvas is uint8 (h, w, 4): red, green, blue and a tag. The tag is the semantic class of static things, or
FIRST_OBJECT plus the object's number. One call draws colour and tag, so the truth is the picture's own.
Coordinates are rounded to 1/16 pixel before anything is drawn: the last bit of a sine cannot change a pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.camera import F64

SHIFT = 4
FIRST_OBJECT = 32
MAX_OBJECTS = 255 - FIRST_OBJECT
Rgb = tuple[int, int, int]
CONVEX, POLY, LINE, LOOP, DISC = range(5)


class Shape(NamedTuple):
    """`points` i32 (N,2) in 1/16 canvas pixels; `size`: thickness of lines in pixels, radius of discs in 1/16 pixel."""

    op: int
    points: NDArray[np.int32]
    rgb: Rgb
    size: int


def fixed(points_px: F64) -> NDArray[np.int32]:
    """Canvas pixels to 1/16 pixel, kept within what the rasteriser can hold."""
    return np.clip(np.rint(points_px * (1 << SHIFT)), -400_000, 400_000).astype(np.int32)


def paint(canvas: NDArray[np.uint8], shapes: list[Shape], tag: int) -> None:
    """Draw the shapes in order with this tag."""
    for op, points, (r, g, b), size in shapes:
        colour = (r, g, b, tag)
        if op == CONVEX:
            cv2.fillConvexPoly(canvas, points, colour, cv2.LINE_8, SHIFT)
        elif op == LINE:
            a, c = points.tolist()
            cv2.line(canvas, a, c, colour, size, cv2.LINE_8, SHIFT)
        elif op == DISC:
            cv2.circle(canvas, points[0].tolist(), size, colour, -1, cv2.LINE_8, SHIFT)
        elif op == POLY:
            cv2.fillPoly(canvas, [points], colour, cv2.LINE_8, SHIFT)
        else:
            cv2.polylines(canvas, [points], True, colour, size, cv2.LINE_8, SHIFT)


def bounds(shapes: list[Shape]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in canvas pixels around all shapes with their thickness."""
    lows, highs = [], []
    for op, points, _, size in shapes:
        grow = size if op == DISC else (size << SHIFT) // 2 + 8 if op in (LINE, LOOP) else 0
        lows.append(points.min(0) - grow)
        highs.append(points.max(0) + grow)
    low, high = np.min(lows, axis=0) / (1 << SHIFT), np.max(highs, axis=0) / (1 << SHIFT)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def moved(shapes: list[Shape], dx_px: int, dy_px: int) -> list[Shape]:
    """The same shapes, shifted by whole canvas pixels."""
    offset = np.array([dx_px << SHIFT, dy_px << SHIFT], np.int32)
    return [s._replace(points=s.points + offset) for s in shapes]


def lit(rgb: Rgb, light: F64, gain: float = 1.0) -> Rgb:
    """A colour under a light (3,), as drawn."""
    r, g, b = (min(255, max(0, int(c * k * gain + 0.5))) for c, k in zip(rgb, light.tolist(), strict=True))
    return r, g, b
