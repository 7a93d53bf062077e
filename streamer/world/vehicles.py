"""Cars and buses as shapes.

A vehicle body is a convex profile (along, up) pulled out to its width; of its faces only those turned to the camera are
drawn, so a body needs no sorting. Vehicles run along the street: `direction` is +1 or -1 on the x axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamer.world.camera import Camera
from streamer.world.draw import CONVEX, Point, Rgb, Shape, Tint, convex, line, lit
from streamer.world.mesh import Mesh, Points, bar

PAINTS: tuple[Rgb, ...] = (
    (176, 34, 38), (30, 62, 120), (226, 226, 224), (44, 46, 52), (140, 146, 152), (196, 160, 60), (40, 96, 72),
    (92, 130, 160), (120, 40, 70), (206, 110, 50), (180, 186, 170),
)  # fmt: skip
BUS_PAINTS: tuple[Rgb, ...] = (
    (196, 40, 40),
    (228, 178, 44),
    (44, 110, 168),
    (70, 146, 90),
    (220, 220, 214),
    (230, 120, 40),
)


@dataclass(frozen=True, slots=True)
class VehicleLook:
    """A car or a bus: size in metres; `shape` is sedan, hatch, van or bus."""

    shape: str
    length: float
    width: float
    height: float
    paint: Rgb
    stripe: Rgb


def draw_car(rng: np.random.Generator) -> VehicleLook:
    """A car by chance."""
    shape = ("sedan", "hatch", "van")[int(rng.choice(3, p=(0.4, 0.38, 0.22)))]
    length, height = {"sedan": (4.5, 1.42), "hatch": (3.9, 1.5), "van": (4.8, 1.95)}[shape]
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    grow = float(rng.uniform(0.94, 1.08))
    return VehicleLook(
        shape, length * grow, 1.75, height * float(rng.uniform(0.96, 1.05)), paint, (24, 24, 26)
    )


def draw_bus(rng: np.random.Generator) -> VehicleLook:
    """A bus by chance."""
    i, j = (int(v) for v in rng.choice(len(BUS_PAINTS), 2, replace=False))
    return VehicleLook(
        "bus", float(rng.uniform(8.5, 10.5)), 2.4, float(rng.uniform(2.8, 3.1)), BUS_PAINTS[i], BUS_PAINTS[j]
    )


def _profiles(look: VehicleLook) -> tuple[Points, Points | None, Points]:
    """Lower body, cabin (or None) and side glass, counter-clockwise with the nose at +x."""
    a, h = look.length / 2, look.height
    if look.shape == "bus":
        body = [
            (-a, 0.32),
            (a - 0.1, 0.32),
            (a, 0.6),
            (a - 0.12, h - 0.1),
            (a - 0.4, h),
            (-a + 0.15, h),
            (-a, h - 0.15),
        ]
        return body, None, [(-a + 0.3, 1.25), (a - 0.25, 1.25), (a - 0.35, h - 0.42), (-a + 0.3, h - 0.42)]
    belt = 0.86 if look.shape != "van" else 1.0
    body = [
        (-a + 0.06, 0.26),
        (a - 0.12, 0.24),
        (a, 0.42),
        (a - 0.1, belt - 0.14),
        (a * 0.45, belt),
        (-a + 0.1, belt),
        (-a, 0.6),
    ]
    if look.shape == "sedan":
        cabin = [(-a * 0.72, belt - 0.03), (a * 0.46, belt - 0.03), (a * 0.12, h), (-a * 0.42, h)]
    elif look.shape == "hatch":
        cabin = [(-a * 0.96, belt - 0.03), (a * 0.5, belt - 0.03), (a * 0.12, h), (-a * 0.8, h)]
    else:
        cabin = [(-a * 0.98, belt - 0.03), (a * 0.66, belt - 0.03), (a * 0.38, h), (-a * 0.95, h)]
    cx = sum(p[0] for p in cabin) / 4
    glass = [(cx + (px - cx) * 0.88, belt + 0.03 if i < 2 else h - 0.1) for i, (px, _) in enumerate(cabin)]
    return body, cabin, glass


def _turned_to_us(quad: list[Point]) -> bool:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quad
    return (x2 - x0) * (y3 - y1) - (x3 - x1) * (y2 - y0) > 0


def vehicle_shapes(
    camera: Camera,
    look: VehicleLook,
    x: float,
    z: float,
    direction: int,
    rolled_m: float,
    light: Tint,
    night: bool,
) -> list[Shape]:
    """Shapes of a car or bus whose middle stands at (x, z); `rolled_m` turns the wheels."""
    body, cabin, glass = _profiles(look)
    half, inner = look.width / 2, look.width / 2 - (0.13 if cabin else 0.0)
    mesh = Mesh(camera, x, z, direction)
    near_body, far_body = mesh.add(body, -half), mesh.add(body, half)
    near_cabin = far_cabin = slice(0, 0)
    if cabin:
        near_cabin, far_cabin = mesh.add(cabin, -inner), mesh.add(cabin, inner)
    pane = mesh.add(glass, -inner)
    a = look.length / 2
    radius = 0.44 if look.shape == "bus" else 0.33
    turn = rolled_m / radius
    circle = [(radius * math.cos(t * math.pi / 6), radius * math.sin(t * math.pi / 6)) for t in range(12)]
    wheels = []
    for at in (-a * 0.62, a * 0.64):
        tyre = mesh.add([(at + px, radius + py) for px, py in circle], -half - 0.01)
        hub = mesh.add([(at + 0.58 * px, radius + 0.58 * py) for px, py in circle[::2]], -half - 0.02)
        spoke = mesh.add(
            [
                (at + s * 0.55 * radius * math.cos(turn), radius - s * 0.55 * radius * math.sin(turn))
                for s in (1, -1)
            ],
            -half - 0.03,
        )
        wheels.append((tyre, hub, spoke))
    lamp_up = 0.62 if look.shape != "bus" else 0.75
    nose_z = [(a + 0.01, lamp_up), (a + 0.01, lamp_up + 0.16)]
    front = [(mesh.add(nose_z, s * half * 0.95), mesh.add(nose_z, s * half * 0.6)) for s in (-1, 1)]
    tail_z = [(-a - 0.01, lamp_up), (-a - 0.01, lamp_up + 0.16)]
    rear = [(mesh.add(tail_z, s * half * 0.95), mesh.add(tail_z, s * half * 0.65)) for s in (-1, 1)]
    side_front = mesh.add(
        [(a - 0.34, lamp_up), (a - 0.04, lamp_up), (a - 0.06, lamp_up + 0.14), (a - 0.3, lamp_up + 0.12)],
        -half - 0.01,
    )
    side_rear = mesh.add(
        [
            (-a + 0.03, lamp_up),
            (-a + 0.26, lamp_up),
            (-a + 0.26, lamp_up + 0.15),
            (-a + 0.06, lamp_up + 0.15),
        ],
        -half - 0.01,
    )
    sill = mesh.add([(-a * 0.9, 0.36), (a * 0.9, 0.36)], -half - 0.01)
    door = mesh.add([(0.06 * a, 0.4), (0.06 * a, 0.84)], -half - 0.01)
    stripe = mesh.add([(-a, 0.8), (a - 0.02, 0.8), (a - 0.02, 1.05), (-a, 1.05)], -half - 0.005)
    pillars = [
        mesh.add([(px, 1.25), (px, look.height - 0.42)], -half - 0.01)
        for px in np.linspace(-a + 1.3, a - 1.4, 6).tolist()
    ]
    shield = mesh.add([(a + 0.0, 1.2), (a - 0.1, look.height - 0.3)], -half * 0.9)
    shield_far = mesh.add([(a + 0.0, 1.2), (a - 0.1, look.height - 0.3)], half * 0.9)
    pts, dots, depth = mesh.done()

    paint = lit(look.paint, light)
    window = (206, 186, 130) if night and look.shape == "bus" else lit((58, 74, 88), light)
    shapes: list[Shape] = []

    def strips(near: slice, far: slice, glazed: bool) -> None:
        n, f = dots[near], dots[far]
        if direction < 0:
            n, f = n[::-1], f[::-1]
        count = len(n)
        for i in range(count):
            j = (i + 1) % count
            quad = [n[i], n[j], f[j], f[i]]
            if not _turned_to_us(quad):
                continue
            # A face lying flat looks at the sky; an upright one (windscreens, nose, tail) is darker or glass.
            slope = abs(n[i][0] - n[j][0]) > abs(n[i][1] - n[j][1])
            if glazed and i in (1, 3):
                rgb = lit((84, 104, 120), light)
            else:
                rgb = lit(look.paint, light, 1.16 if slope else 0.86)
            shapes.append(convex(quad, rgb))

    strips(near_body, far_body, False)
    shapes.append(Shape(CONVEX, pts[near_body], paint, 0))
    if cabin:
        strips(near_cabin, far_cabin, True)
        shapes.append(Shape(CONVEX, pts[near_cabin], lit(look.paint, light, 0.94), 0))
    shapes.append(Shape(CONVEX, pts[pane], window, 0))
    thin = max(1, round(0.06 * camera.focal_px / depth))
    if look.shape == "bus":
        shapes.append(Shape(CONVEX, pts[stripe], lit(look.stripe, light), 0))
        post = lit(look.paint, light, 0.8)
        shapes += [bar(dots[p], post, thin) for p in pillars]
        front_glass = [*dots[shield], *reversed(dots[shield_far])]
        if _turned_to_us(front_glass) == (direction > 0) and abs(front_glass[0][0] - front_glass[3][0]) > 24:
            shapes.append(convex(front_glass, lit((70, 88, 100), light)))
    else:
        p0, p1, p2, p3 = dots[pane]
        shapes.append(line(_middle(p0, p1), _middle(p2, p3), lit(look.paint, light, 0.8), thin))
        shapes.append(bar(dots[door], lit(look.paint, light, 0.66), max(1, thin // 2)))
    shapes.append(bar(dots[sill], lit(look.paint, light, 0.55), thin))
    rubber, metal, dark = lit((30, 30, 32), light), lit((150, 152, 156), light), lit((70, 72, 76), light)
    for tyre, hub, spoke in wheels:
        shapes.append(Shape(CONVEX, pts[tyre], rubber, 0))
        shapes.append(Shape(CONVEX, pts[hub], metal, 0))
        shapes.append(bar(dots[spoke], dark, thin))
    head = (255, 246, 206) if night else lit((236, 236, 226), light)
    tail = (255, 56, 44) if night else lit((170, 34, 34), light)
    shapes.append(Shape(CONVEX, pts[side_front], head, 0))
    shapes.append(Shape(CONVEX, pts[side_rear], tail, 0))
    # Nose and tail are seen when the camera stands before or behind the vehicle's end.
    sees_nose = (camera.x - (x + direction * a)) * direction > 0
    sees_tail = (camera.x - (x - direction * a)) * direction < 0
    for pairs, rgb, seen in ((front, head, sees_nose), (rear, tail, sees_tail)):
        if seen:
            for outer, inside in pairs:
                shapes.append(convex([*dots[outer], *reversed(dots[inside])], rgb))
    return shapes


def _middle(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) // 2, (a[1] + b[1]) // 2
