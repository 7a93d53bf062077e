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
Tint = tuple[float, float, float]  # a light's factor on red, green and blue
Veil = tuple[
    float, float, float, float
]  # what air leaves of a colour (a factor), then the red, green, blue it adds
Point = tuple[int, int]
I32 = NDArray[np.int32]
CONVEX, LINE, LOOP, DISC = range(4)


class Shape(NamedTuple):
    """Points in 1/16 canvas pixels: an i32 (N,2) array for polygons, two points for LINE, one for DISC.

    `size`: thickness of lines in pixels, radius of discs in 1/16 pixel.
    """

    op: int
    points: I32 | tuple[Point, ...]
    rgb: Rgb
    size: int


def fixed(points_px: F64) -> I32:
    """Canvas pixels to 1/16 pixel, kept within what the rasteriser can hold."""
    return np.clip(np.rint(points_px * (1 << SHIFT)), -400_000, 400_000).astype(np.int32)


def points_of(points: I32) -> list[Point]:
    """The rows as plain pairs: lines and discs are drawn from these, which costs less than slicing arrays."""
    return [(x, y) for x, y in points.tolist()]


def convex(points: list[Point], rgb: Rgb) -> Shape:
    """A filled convex polygon."""
    return Shape(CONVEX, np.array(points, np.int32), rgb, 0)


def line(a: Point, b: Point, rgb: Rgb, thickness_px: int) -> Shape:
    """A line with round ends."""
    return Shape(LINE, (a, b), rgb, thickness_px)


def disc(centre: Point, radius: int, rgb: Rgb) -> Shape:
    """A filled circle; radius in 1/16 pixel."""
    return Shape(DISC, (centre,), rgb, radius)


def paint(canvas: NDArray[np.uint8], shapes: list[Shape], tag: int, veil: Veil | None = None) -> None:
    """Draw the shapes in order with this tag, through a veil of air if there is one."""
    if veil is not None:
        keep, red, green, blue = veil
        shapes = [
            Shape(op, points, (round(r * keep + red), round(g * keep + green), round(b * keep + blue)), size)
            for op, points, (r, g, b), size in shapes
        ]
    for op, points, rgb, size in shapes:
        colour = (*rgb, tag)
        if op == LINE:
            cv2.line(canvas, points[0], points[1], colour, size, cv2.LINE_8, SHIFT)
        elif op == CONVEX:
            cv2.fillConvexPoly(canvas, points, colour, cv2.LINE_8, SHIFT)
        elif op == DISC:
            cv2.circle(canvas, points[0], size, colour, -1, cv2.LINE_8, SHIFT)
        else:
            cv2.polylines(canvas, [points], True, colour, size, cv2.LINE_8, SHIFT)


def bounds(shapes: list[Shape]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in canvas pixels around all shapes with their thickness."""
    polygons: list[I32] = []
    left, top, right, bottom = 1 << 30, 1 << 30, -(1 << 30), -(1 << 30)
    for op, points, _, size in shapes:
        if isinstance(points, np.ndarray):
            grow = (size << SHIFT) // 2 + 8 if op == LOOP else 0
            polygons.append(np.concatenate([points - grow, points + grow]) if grow else points)
            continue
        grow = size if op == DISC else (size << SHIFT) // 2 + 8
        for x, y in points:
            if x - grow < left:
                left = x - grow
            if x + grow > right:
                right = x + grow
            if y - grow < top:
                top = y - grow
            if y + grow > bottom:
                bottom = y + grow
    if polygons:
        corners = np.concatenate(polygons)
        (x0, y0), (x1, y1) = corners.min(0).tolist(), corners.max(0).tolist()
        left, top, right, bottom = min(left, x0), min(top, y0), max(right, x1), max(bottom, y1)
    unit = 1 << SHIFT
    return left / unit, top / unit, right / unit, bottom / unit


def outline(mask: NDArray[np.uint8], shapes: list[Shape], origin_xy: tuple[int, int]) -> None:
    """Draw the shapes into a mask (h,w) as 255; its corner is canvas pixel `origin_xy`."""
    dx, dy = origin_xy[0] << SHIFT, origin_xy[1] << SHIFT
    offset = np.array([dx, dy], np.int32)
    for op, points, _, size in shapes:
        if isinstance(points, np.ndarray):
            if op == CONVEX:
                cv2.fillConvexPoly(mask, points - offset, 255, cv2.LINE_8, SHIFT)
            else:
                cv2.polylines(mask, [points - offset], True, 255, size, cv2.LINE_8, SHIFT)
        elif op == LINE:
            (ax, ay), (bx, by) = points
            cv2.line(mask, (ax - dx, ay - dy), (bx - dx, by - dy), 255, size, cv2.LINE_8, SHIFT)
        else:
            ((x, y),) = points
            cv2.circle(mask, (x - dx, y - dy), size, 255, -1, cv2.LINE_8, SHIFT)


def lit(rgb: Rgb, light: Tint, gain: float = 1.0) -> Rgb:
    """A colour under a light, as drawn."""
    r = int(rgb[0] * light[0] * gain + 0.5)
    g = int(rgb[1] * light[1] * gain + 0.5)
    b = int(rgb[2] * light[2] * gain + 0.5)
    return r if r < 255 else 255, g if g < 255 else 255, b if b < 255 else 255
