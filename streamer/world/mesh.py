"""Points of one thing that runs along the street, gathered for a single projection."""

from __future__ import annotations

import numpy as np

from streamer.world.camera import Camera
from streamer.world.draw import I32, Point, Rgb, Shape, fixed, line, points_of

Points = list[tuple[float, float]]  # along the street from the middle, and up; metres


class Mesh:
    """Collects world points of a thing at (x, z) facing `direction`, then hands out their places on the canvas."""

    def __init__(self, camera: Camera, x: float, z: float, direction: int) -> None:
        self.camera, self.x, self.z, self.direction = camera, x, z, direction
        self.rows: list[tuple[float, float, float]] = []

    def add(self, points: Points, z_offset: float) -> slice:
        start = len(self.rows)
        x, direction, z = self.x, self.direction, self.z + z_offset
        self.rows += [(x + direction * px, py, z) for px, py in points]
        return slice(start, len(self.rows))

    def done(self) -> tuple[I32, list[Point], float]:
        """All points in 1/16 pixel, as an array and as pairs, and the depth of the first in metres."""
        px, depth = self.camera.project(np.array(self.rows))
        pts = fixed(px)
        return pts, points_of(pts), float(depth[0])


def bar(ends: list[Point], rgb: Rgb, thickness_px: int) -> Shape:
    return line(ends[0], ends[1], rgb, thickness_px)
