"""Trees, lamps, benches and other things that hide what is behind them, drawn once and kept as cut-out sprites."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.camera import Camera
from streamer.world.draw import (
    CONVEX,
    SHIFT,
    Rgb,
    Shape,
    Tint,
    bounds,
    disc,
    fixed,
    line,
    lit,
    paint,
    points_of,
)
from streamer.world.layout import Prop
from streamer.world.truth import FURNITURE, VEGETATION

GREENS: tuple[Rgb, ...] = (
    (74, 122, 52),
    (96, 140, 60),
    (58, 104, 62),
    (128, 142, 58),
    (168, 122, 50),
    (86, 118, 78),
)
FLOWERS: tuple[Rgb, ...] = ((214, 70, 84), (236, 190, 70), (200, 110, 190), (240, 236, 230))
AWNINGS: tuple[Rgb, ...] = ((196, 60, 52), (52, 110, 120), (222, 170, 66), (84, 120, 76))


@dataclass(frozen=True, slots=True)
class Sprite:
    """A cut-out at `x0`, `y0` of the canvas: `pixels` uint8 (h,w,4), `mask` uint8 (h,w); `z` in metres."""

    z: float
    x0: int
    y0: int
    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    def stamp(self, canvas: NDArray[np.uint8]) -> None:
        h, w = self.mask.shape
        cv2.copyTo(self.pixels, self.mask, canvas[self.y0 : self.y0 + h, self.x0 : self.x0 + w])


def box_shapes(
    camera: Camera, low: tuple[float, float, float], high: tuple[float, float, float], rgb: Rgb, light: Tint
) -> list[Shape]:
    """The sides of an upright box that face the camera."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    corners = np.array([(x, y, z) for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)])
    pts = fixed(camera.project(corners)[0])
    out: list[Shape] = []
    if camera.x < x0:
        out.append(Shape(CONVEX, pts[[0, 1, 3, 2]], lit(rgb, light, 0.78), 0))
    elif camera.x > x1:
        out.append(Shape(CONVEX, pts[[4, 5, 7, 6]], lit(rgb, light, 0.78), 0))
    if camera.y > y1:
        out.append(Shape(CONVEX, pts[[2, 3, 7, 6]], lit(rgb, light, 1.15), 0))
    out.append(Shape(CONVEX, pts[[0, 2, 6, 4]], lit(rgb, light), 0))
    return out


def make_sprite(
    camera: Camera, prop: Prop, light: Tint, lamps_on: bool, made: tuple[list[Shape], int] | None = None
) -> Sprite | None:
    """The prop as a sprite, or None where it lies out of the picture; `made`: its shapes and class, if known."""
    if camera.depth_of(prop.x, 0.5, prop.z) < 1.2:
        return None
    h, w = camera.canvas_hw
    canvas = np.zeros((h, w, 4), np.uint8)
    rng = np.random.default_rng([prop.variant, 77])
    if made is not None:
        shapes, tag = made
        paint(canvas, shapes, tag)
    elif prop.kind in ("tree", "conifer", "planter"):
        shapes = (_tree if prop.kind != "planter" else _planter)(camera, prop, light, rng)
        # The wood and the box are furniture's colour but the plant's class: one thing, one class.
        paint(canvas, shapes, VEGETATION)
    else:
        shapes = _furniture(camera, prop, light, lamps_on)
        paint(canvas, shapes, FURNITURE)
    left, top, right, bottom = bounds(shapes)
    x0, y0, x1, y1 = (
        max(int(left) - 2, 0),
        max(int(top) - 2, 0),
        min(int(right) + 3, w),
        min(int(bottom) + 3, h),
    )
    if x0 >= x1 or y0 >= y1:
        return None
    x, y, wide, high = cv2.boundingRect(np.ascontiguousarray(canvas[y0:y1, x0:x1, 3]))
    if wide == 0:
        return None
    x0, y0, x1, y1 = x0 + x, y0 + y, x0 + x + wide, y0 + y + high
    pixels = np.ascontiguousarray(canvas[y0:y1, x0:x1])
    return Sprite(prop.z, x0, y0, pixels, np.ascontiguousarray((pixels[:, :, 3] > 0).astype(np.uint8) * 255))


def _tree(camera: Camera, prop: Prop, light: Tint, rng: np.random.Generator) -> list[Shape]:
    green = GREENS[prop.variant % len(GREENS)]
    trunk_up = prop.size * (0.42 if prop.kind == "tree" else 0.2)
    px, depth = camera.project(np.array([(prop.x, 0, prop.z), (prop.x + 0.05, trunk_up * 1.2, prop.z)]))
    k = camera.focal_px / float(depth[0])
    foot, fork = points_of(fixed(px))
    shapes = [line(foot, fork, lit((88, 68, 50), light), max(1, round(0.2 * k)))]
    blobs: list[tuple[float, float, float, float]] = []  # x, y, radius, gain
    if prop.kind == "tree":
        crown = prop.size - trunk_up
        for _ in range(110):
            a, r = rng.uniform(0, math.tau), math.sqrt(rng.uniform(0, 1))
            dx, dy = math.cos(a) * r * crown * 0.52, math.sin(a) * r * crown * 0.46
            gain = 0.62 + 0.6 * (dy / crown + 0.5) - 0.2 * dx / crown + rng.uniform(-0.12, 0.12)
            blobs.append((dx, trunk_up + crown * 0.5 + dy, crown * rng.uniform(0.07, 0.17), gain))
    else:
        for level in range(60):
            t = level / 60
            width = (1 - t) * prop.size * 0.24
            gain = 0.62 + 0.4 * t + rng.uniform(-0.12, 0.12)
            blobs.append(
                (rng.uniform(-1, 1) * width, trunk_up + t * (prop.size - trunk_up), 0.1 + width * 0.3, gain)
            )
    blobs.sort(key=lambda b: b[3])
    centres = points_of(
        fixed(camera.project(np.array([(prop.x + bx, by, prop.z) for bx, by, _, _ in blobs]))[0])
    )
    for i, (_, _, radius, gain) in enumerate(blobs):
        shapes.append(disc(centres[i], max(8, round(radius * k * (1 << SHIFT))), lit(green, light, gain)))
    return shapes


def _planter(camera: Camera, prop: Prop, light: Tint, rng: np.random.Generator) -> list[Shape]:
    wood = ((132, 98, 68), (120, 122, 126), (84, 70, 60))[prop.variant % 3]
    shapes = box_shapes(
        camera, (prop.x - 0.7, 0, prop.z - 0.25), (prop.x + 0.7, 0.5, prop.z + 0.25), wood, light
    )
    at = np.column_stack(
        [prop.x + rng.uniform(-0.62, 0.62, 40), rng.uniform(0.5, 1.0, 40), np.full(40, prop.z)]
    )
    px, depth = camera.project(at)
    pts, k = points_of(fixed(px)), camera.focal_px / float(depth[0])
    for i in range(40):
        leaf = GREENS[prop.variant % 3] if i < 30 else FLOWERS[prop.variant % 4]
        radius = rng.uniform(0.1, 0.16) if i < 30 else 0.05
        shapes.append(
            disc(pts[i], max(8, round(radius * k * 16)), lit(leaf, light, 0.8 + 0.3 * rng.random()))
        )
    return shapes


def _furniture(camera: Camera, prop: Prop, light: Tint, lamps_on: bool) -> list[Shape]:
    x, z, v = prop.x, prop.z, prop.variant
    iron: Rgb = (52, 58, 60)

    def rod(a: tuple[float, float], b: tuple[float, float], radius_m: float, rgb: Rgb) -> Shape:
        px, depth = camera.project(np.array([(x + a[0], a[1], z), (x + b[0], b[1], z)]))
        start, end = points_of(fixed(px))
        return line(
            start, end, lit(rgb, light), max(1, round(2 * radius_m * camera.focal_px / float(depth[0])))
        )

    if prop.kind == "lamp":
        top = prop.size
        bulb: Rgb = (255, 240, 196) if lamps_on else lit((222, 222, 214), light)
        px, depth = camera.project(np.array([(x, top, z)]))
        radius = round(0.17 * camera.focal_px / float(depth[0]) * (1 << SHIFT))
        return [
            rod((0, 0), (0, 0.8), 0.09, iron),
            rod((0, 0.6), (0, top), 0.05, iron),
            disc(points_of(fixed(px))[0], max(12, radius), bulb),
            rod((-0.14, top + 0.18), (0.14, top + 0.18), 0.05, iron),
        ]
    if prop.kind == "bench":
        out: list[Shape] = []
        wood = ((150, 104, 62), (128, 84, 52), (70, 96, 84))[v % 3]
        for side in (-0.7, 0.62):
            out += box_shapes(camera, (x + side, 0, z - 0.2), (x + side + 0.08, 0.42, z + 0.2), iron, light)
        out += box_shapes(camera, (x - 0.85, 0.55, z + 0.2), (x + 0.85, 0.88, z + 0.24), wood, light)
        return out + box_shapes(camera, (x - 0.85, 0.4, z - 0.24), (x + 0.85, 0.46, z + 0.22), wood, light)
    if prop.kind == "bin":
        body = ((60, 92, 72), (84, 86, 90), (46, 70, 104))[v % 3]
        out = box_shapes(camera, (x - 0.22, 0.05, z - 0.2), (x + 0.22, 0.85, z + 0.2), body, light)
        return out + box_shapes(camera, (x - 0.25, 0.85, z - 0.23), (x + 0.25, 0.95, z + 0.23), iron, light)
    if prop.kind == "bollards":
        return [
            s
            for i in range(4)
            for s in box_shapes(
                camera, (x + i * 0.9, 0, z - 0.07), (x + i * 0.9 + 0.14, 0.85, z + 0.07), iron, light
            )
        ]
    if prop.kind == "column":
        post = AWNINGS[v % 4]
        out = box_shapes(camera, (x - 0.4, 0, z - 0.35), (x + 0.4, 2.4, z + 0.35), (86, 92, 88), light)
        out += box_shapes(camera, (x - 0.33, 0.7, z - 0.37), (x + 0.33, 2.1, z - 0.36), post, light)
        out += box_shapes(
            camera, (x - 0.22, 1.5, z - 0.38), (x + 0.22, 1.9, z - 0.37), (238, 232, 214), light
        )
        return out + box_shapes(camera, (x - 0.5, 2.4, z - 0.45), (x + 0.5, 2.6, z + 0.45), iron, light)
    if prop.kind == "sign":
        face = ((36, 90, 168), (196, 44, 44), (230, 230, 226))[v % 3]
        px, depth = camera.project(np.array([(x, 2.3, z)]))
        radius = round(0.3 * camera.focal_px / float(depth[0]) * (1 << SHIFT))
        (centre,) = points_of(fixed(px))
        return [
            rod((0, 0), (0, 2.3), 0.035, (140, 142, 146)),
            disc(centre, max(8, radius), lit((236, 236, 232), light)),
            disc(centre, max(6, round(radius * 0.8)), lit(face, light)),
        ]
    # A café table under a parasol.
    shade = AWNINGS[v % 4]
    out = [
        rod((0, 0), (0, 2.3), 0.03, (220, 216, 206)),
        rod((-0.4, 0.74), (0.4, 0.74), 0.03, (236, 232, 224)),
    ]
    for side in (-0.75, 0.75):
        out += box_shapes(
            camera, (x + side - 0.2, 0.4, z - 0.2), (x + side + 0.2, 0.46, z + 0.2), (120, 84, 56), light
        )
        out += box_shapes(
            camera,
            (x + side * 1.25 - 0.03, 0.4, z - 0.2),
            (x + side * 1.25 + 0.03, 0.9, z + 0.2),
            (120, 84, 56),
            light,
        )
    rim = np.array(
        [(x + 1.3 * math.cos(a), 2.05, z + 0.7 * math.sin(a)) for a in np.linspace(0, math.tau, 9)[:-1]]
    )
    pts = fixed(camera.project(np.vstack([rim, [(x, 2.55, z)]]))[0])
    order = sorted(range(8), key=lambda i: -rim[i][2] - rim[(i + 1) % 8][2])
    return out + [
        Shape(
            CONVEX,
            pts[[i, (i + 1) % 8, 8]],
            lit(shade if i % 2 else (236, 230, 218), light, 1.05 if i < 4 else 0.95),
            0,
        )
        for i in order
    ]
