"""A pinhole camera over the street: world metres in, canvas pixels out.

World axes: x along the street, y up, z across it, away from the camera. The camera stands at negative z and every
ray of its picture has a positive z part; so along any ray farther means greater z, and z alone orders the painter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SUPERSAMPLE = (
    2  # the canvas has this many pixels per picture pixel and side; the mean of each block smooths edges
)
MARGIN = 8  # canvas pixels around the picture, so that a slightly shaking camera never shows an edge
NEAR_M = 0.3

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Camera:
    """Position in metres, angles in radians (yaw right, pitch down), `focal_px` in canvas pixels."""

    x: float
    y: float
    z: float
    yaw: float
    pitch: float
    focal_px: float
    height: int
    width: int
    margin: int = MARGIN
    rotation: F64 = field(
        init=False
    )  # (3,3): rows are the camera's right, down and forward axes in the world

    def __post_init__(self) -> None:
        cy, sy, cp, sp = math.cos(self.yaw), math.sin(self.yaw), math.cos(self.pitch), math.sin(self.pitch)
        turned = np.array([[cy, 0, -sy], [-sy * sp, -cp, -cy * sp], [sy * cp, -sp, cy * cp]])
        object.__setattr__(self, "rotation", turned)

    @property
    def canvas_hw(self) -> tuple[int, int]:
        return self.height * SUPERSAMPLE + 2 * self.margin, self.width * SUPERSAMPLE + 2 * self.margin

    @property
    def centre_xy(self) -> tuple[float, float]:
        h, w = self.canvas_hw
        return (w - 1) / 2, (h - 1) / 2

    def project(self, points_m: F64) -> tuple[F64, F64]:
        """World points (N,3) to canvas pixels (N,2) and their depth in metres (N,)."""
        local = (points_m - (self.x, self.y, self.z)) @ self.rotation.T
        depth = np.maximum(local[:, 2], NEAR_M)
        return local[:, :2] * (self.focal_px / depth)[:, None] + self.centre_xy, depth

    def depth_of(self, x: float, y: float, z: float) -> float:
        """Depth in metres of one world point; negative behind the camera."""
        forward = self.rotation[2]
        return float(forward[0] * (x - self.x) + forward[1] * (y - self.y) + forward[2] * (z - self.z))

    def span_at(self, z: float, widen: float = 1.0) -> tuple[float, float]:
        """The least and greatest x in metres that the picture shows of the line at `z` across the street."""
        half = math.atan(self.canvas_hw[1] / 2 / self.focal_px) * widen
        limit = math.radians(84)
        reach = z - self.z
        low = self.x + math.tan(max(self.yaw - half, -limit)) * reach
        high = self.x + math.tan(min(self.yaw + half, limit)) * reach
        return low, high

    def rays(self) -> F64:
        """World directions (h,w,3) of the canvas pixels."""
        h, w = self.canvas_hw
        cx, cy = self.centre_xy
        us, vs = (np.arange(w) - cx) / self.focal_px, (np.arange(h) - cy) / self.focal_px
        r = self.rotation
        directions: F64 = (us[:, None] * r[0])[None] + (vs[:, None] * r[1])[:, None] + r[2]
        return directions
