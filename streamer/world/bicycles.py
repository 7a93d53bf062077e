"""Bicycles as shapes; their riders are people."""

from __future__ import annotations

import math

from streamer.world.camera import Camera
from streamer.world.draw import LOOP, Rgb, Shape, Tint, line, lit
from streamer.world.mesh import Mesh, bar


def bicycle_shapes(
    camera: Camera, paint: Rgb, x: float, z: float, direction: int, rolled_m: float, pedal: float, light: Tint
) -> list[Shape]:
    """Shapes of a bicycle whose bottom bracket stands over (x, z)."""
    mesh = Mesh(camera, x, z, direction)
    radius = 0.34
    circle = [(radius * math.cos(t * math.pi / 8), radius * math.sin(t * math.pi / 8)) for t in range(16)]
    turn = rolled_m / radius
    wheels = []
    for at in (-0.52, 0.55):
        rim = mesh.add([(at + px, radius + py) for px, py in circle], 0.0)
        spokes = [
            mesh.add(
                [
                    (at + s * radius * math.cos(turn + t), radius - s * radius * math.sin(turn + t))
                    for s in (1, -1)
                ],
                0.0,
            )
            for t in (0.0, math.pi / 2)
        ]
        wheels.append((rim, spokes))
    seat, bracket, steer, rear, front, grip = (
        (-0.2, 0.86),
        (0.02, 0.32),
        (0.42, 0.84),
        (-0.52, radius),
        (0.55, radius),
        (0.36, 1.02),
    )
    tubes = [
        mesh.add(list(pair), 0.0)
        for pair in (
            (rear, bracket),
            (rear, seat),
            (seat, bracket),
            (bracket, steer),
            (seat, steer),
            (front, steer),
            (steer, grip),
        )
    ]
    saddle = mesh.add([(-0.34, 0.93), (-0.1, 0.93)], 0.0)
    grips = mesh.add([grip, (0.36, 1.02)], -0.22)
    grips_far = mesh.add([(0.36, 1.02)], 0.22)
    cranks = mesh.add(
        [(0.02 + s * 0.17 * math.cos(pedal), 0.32 + s * 0.17 * math.sin(pedal)) for s in (1, -1)], -0.06
    )
    pts, dots, depth = mesh.done()
    k = camera.focal_px / depth
    thin, thick = max(1, round(0.03 * k)), max(1, round(0.048 * k))
    dark, frame, metal = lit((28, 28, 30), light), lit(paint, light), lit((150, 150, 154), light)
    shapes: list[Shape] = []
    for rim, spokes in wheels:
        shapes += [bar(dots[s], metal, 1) for s in spokes]
        shapes.append(Shape(LOOP, pts[rim], dark, thick))
    shapes += [bar(dots[t], frame, thick) for t in tubes]
    shapes.append(bar(dots[saddle], dark, max(1, round(0.09 * k))))
    shapes.append(line(dots[grips][1], dots[grips_far][0], dark, thin))
    shapes.append(bar(dots[cranks], dark, thin))
    return shapes
