"""What a busy street has besides: a kiosk to wait behind, doors to go through, and ground that nobody may enter.

Their shapes, and those of a bag that somebody left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamer.world.camera import Camera
from streamer.world.draw import CONVEX, Rgb, Shape, Tint, fixed, lit
from streamer.world.layout import Block, Layout, Prop
from streamer.world.props import AWNINGS, box_shapes
from streamer.world.truth import BUILDING, CROWD_FROM, FURNITURE, WorldConfig

STAGED = ("kiosk", "door", "cone", "bag")
KIOSK_HALF_M = (0.9, 0.42)  # along and across the street
ZONE_DEEP_M = 1.3
BAGS: tuple[Rgb, ...] = ((176, 48, 44), (38, 60, 120), (52, 52, 56), (206, 150, 50), (60, 110, 70))


def furnish(config: WorldConfig, layout: Layout) -> Layout:
    """The layout with what a crowd or events need; a quiet street stays as it is."""
    if config.events <= 0 and (config.people or 0) < CROWD_FROM:
        return layout
    rng = np.random.default_rng([config.seed, 9])
    low, high = layout.span(layout.facade_z - 1.0)
    left_first = rng.random() < 0.5
    # One half of the street gets the kiosk, the other the forbidden ground; doors stand where they are in no way.
    spans = [(low + (high - low) * a, low + (high - low) * b) for a, b in ((0.12, 0.44), (0.56, 0.88))]
    (k0, k1), (f0, f1) = spans if left_first else spans[::-1]
    blocks, props = [], list(layout.props)
    kiosk_x, kiosk_z = float(rng.uniform(k0 * 0.6 + k1 * 0.4, k0 * 0.4 + k1 * 0.6)), layout.road_m + 0.8
    half_x, half_z = KIOSK_HALF_M
    props = [p for p in props if abs(p.x - kiosk_x) > half_x + 0.8 or abs(p.z - kiosk_z) > 0.9]
    props.append(Prop("kiosk", kiosk_x, kiosk_z, 2.3, int(rng.integers(99))))
    blocks.append(
        Block(kiosk_x - half_x - 0.1, kiosk_x + half_x + 0.1, kiosk_z - half_z, kiosk_z + half_z,
              kiosk_z + half_z + 0.45, False)
    )  # fmt: skip
    if config.events > 0:
        wide = min(float(rng.uniform(3.2, 5.0)), f1 - f0)
        x0 = float(rng.uniform(f0, max(f1 - wide, f0 + 1e-6)))
        z1 = layout.facade_z - 0.5
        zone = Block(x0, x0 + wide, z1 - ZONE_DEEP_M, z1, z1 - ZONE_DEEP_M - 0.35, True)
        blocks.append(zone)
        props = [p for p in props if not (zone.x0 - 1.2 < p.x < zone.x1 + 1.2 and p.z > zone.z0 - 0.5)]
        count = max(2, round(wide / 1.2))
        props += [Prop("cone", x0 + wide * i / count, zone.z0, 0.55, 0) for i in range(count + 1)]
        props += [Prop("cone", x, z1, 0.55, 0) for x in (x0, x0 + wide)]
    doors = []
    for _ in range(int(rng.integers(1, 3))):
        x = float(rng.uniform(low * 0.9 + high * 0.1, low * 0.1 + high * 0.9))
        near = [b for b in blocks if b.forbidden and b.x0 - 1.0 < x < b.x1 + 1.0]
        if not near and all(abs(x - other) > 3 for other in doors):
            doors.append(x)
            props = [p for p in props if abs(p.x - x) > 1.6 or p.z < layout.facade_z - 1.5]
            props.append(Prop("door", x, layout.facade_z - 0.02, 2.2, int(rng.integers(99))))
    return replace(layout, props=tuple(props), blocks=tuple(blocks), doors_x=tuple(doors), busy=True)


def staged_shapes(camera: Camera, prop: Prop, light: Tint, rgb: Rgb | None = None) -> tuple[list[Shape], int]:
    """The shapes of one of STAGED and its semantic class; `rgb` is a bag's colour."""
    x, z, v = prop.x, prop.z, prop.variant

    def box(x0: float, x1: float, y0: float, y1: float, deep: float, paint: Rgb) -> list[Shape]:
        return box_shapes(camera, (x + x0, y0, z - deep), (x + x1, y1, z + deep), paint, light)

    if prop.kind == "kiosk":
        half_x, half_z = KIOSK_HALF_M
        out = box(-half_x, half_x, 0, 2.3, half_z, ((70, 98, 84), (120, 66, 58), (66, 78, 110))[v % 3])
        out += box(-half_x + 0.2, half_x - 0.2, 1.0, 1.8, half_z + 0.01, (210, 206, 190))
        for i in range(3):
            at = -half_x + 0.3 + 0.45 * i
            out += box(at, at + 0.32, 1.15, 1.65, half_z + 0.02, AWNINGS[(v + i) % 4])
        return out + box(-half_x - 0.15, half_x + 0.15, 2.3, 2.45, half_z + 0.15, (52, 58, 60)), FURNITURE
    if prop.kind == "door":
        out = box(-0.72, 0.72, 0, 2.35, 0.02, (214, 206, 190))
        return out + box(-0.58, 0.58, 0, 2.2, 0.03, (34, 30, 32)), BUILDING
    if prop.kind == "cone":
        out = box(-0.15, 0.15, 0, 0.05, 0.15, (60, 58, 58)) + box(-0.1, 0.1, 0.05, 0.22, 0.1, (232, 98, 30))
        out += box(-0.075, 0.075, 0.22, 0.38, 0.075, (238, 236, 230))
        return out + box(-0.05, 0.05, 0.38, 0.58, 0.05, (232, 98, 30)), FURNITURE
    out = box(-0.24, 0.24, 0, 0.34, 0.14, rgb or BAGS[v % len(BAGS)])
    return out + box(-0.09, 0.09, 0.34, 0.44, 0.02, (30, 28, 30)), FURNITURE


def zone_shapes(camera: Camera, zone: Block, light: Tint) -> list[Shape]:
    """The marks on forbidden ground: yellow with red bars across, in a white frame."""
    out: list[Shape] = []

    def flat(corners: list[tuple[float, float]], rgb: Rgb) -> None:
        px, _ = camera.project(np.array([(x, 0.0, z) for x, z in corners]))
        out.append(Shape(CONVEX, fixed(px), lit(rgb, light), 0))

    def quad(x0: float, x1: float, z0: float, z1: float, rgb: Rgb) -> None:
        flat([(x0, z0), (x1, z0), (x1, z1), (x0, z1)], rgb)

    quad(zone.x0, zone.x1, zone.z0, zone.z1, (230, 226, 214))
    quad(zone.x0 + 0.14, zone.x1 - 0.14, zone.z0 + 0.14, zone.z1 - 0.14, (222, 184, 56))
    slant, bar = 0.7, 0.34
    x = zone.x0 + 0.2
    while x + bar + slant < zone.x1 - 0.14:
        near, far = zone.z0 + 0.14, zone.z1 - 0.14
        flat([(x, near), (x + bar, near), (x + bar + slant, far), (x + slant, far)], (184, 52, 44))
        x += 0.95
    return out
