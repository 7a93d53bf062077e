"""People: what they wear, and the clothed body as shapes.

The joints of a pose are turned by the heading, projected, and drawn as capsules from the far side of the body to the
near side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamer.world.camera import F64, Camera
from streamer.world.draw import SHIFT, Point, Rgb, Shape, Tint, convex, disc, fixed, line, lit, points_of
from streamer.world.poses import (
    BACK,
    CROWN,
    FACE,
    HEAD,
    L_ANKLE,
    L_ELBOW,
    L_HIP,
    L_KNEE,
    L_SHOULDER,
    L_TOE,
    L_WRIST,
    NECK,
    R_HIP,
    R_KNEE,
    R_SHOULDER,
)

SKINS: tuple[Rgb, ...] = (
    (244, 208, 178),
    (226, 180, 143),
    (198, 146, 106),
    (150, 102, 70),
    (104, 70, 50),
    (78, 52, 40),
)
HAIRS: tuple[Rgb, ...] = (
    (28, 22, 20),
    (62, 42, 28),
    (110, 74, 40),
    (190, 150, 90),
    (150, 62, 34),
    (176, 174, 172),
)
CLOTHES: tuple[Rgb, ...] = (
    (190, 44, 48), (224, 122, 40), (236, 194, 62), (72, 150, 84), (40, 110, 150), (52, 72, 148), (120, 70, 140),
    (232, 232, 226), (150, 152, 156), (58, 60, 66), (120, 86, 62), (222, 150, 164), (96, 176, 190), (40, 44, 56),
)  # fmt: skip
TROUSERS: tuple[Rgb, ...] = (
    (44, 52, 78), (66, 82, 116), (48, 46, 48), (104, 94, 80), (150, 134, 106), (84, 88, 92), (120, 52, 52),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PersonLook:
    """What a person looks like; `height` in metres, `build` scales limb widths."""

    height: float
    build: float
    skin: Rgb
    hair: Rgb
    top: Rgb
    bottom: Rgb
    shoes: Rgb
    long_hair: bool
    skirt: bool
    bag: Rgb | None
    hat: Rgb | None
    short_sleeves: bool


def draw_look(rng: np.random.Generator) -> PersonLook:
    """A person by chance; about one in eight is a child."""

    def pick(options: tuple[Rgb, ...]) -> Rgb:
        base = options[int(rng.integers(len(options)))]
        r, g, b = (int(np.clip(c + rng.integers(-14, 15), 0, 255)) for c in base)
        return r, g, b

    child = rng.random() < 0.12
    return PersonLook(
        height=float(rng.uniform(1.1, 1.4) if child else rng.uniform(1.55, 1.93)),
        build=float(rng.uniform(0.9, 1.3)),
        skin=pick(SKINS),
        hair=pick(HAIRS),
        top=pick(CLOTHES),
        bottom=pick(TROUSERS),
        shoes=pick(((30, 28, 30), (90, 60, 40), (220, 220, 220))),
        long_hair=bool(rng.random() < 0.4),
        skirt=bool(rng.random() < 0.2),
        bag=pick(CLOTHES) if rng.random() < 0.3 else None,
        hat=pick(CLOTHES) if rng.random() < 0.18 else None,
        short_sleeves=bool(rng.random() < 0.45),
    )


def person_shapes(
    camera: Camera, look: PersonLook, joints: F64, x: float, z: float, heading: float, light: Tint
) -> tuple[list[Shape], F64]:
    """Shapes of a person standing at (x, z) looking along `heading`, and the joints on the canvas (19,2) px."""
    scale = look.height / 1.75
    ch, sh = math.cos(heading) * scale, math.sin(heading) * scale
    forward, up, left = joints[:, 0], joints[:, 1], joints[:, 2]
    world = np.column_stack((x + forward * ch - left * sh, up * scale, z + forward * sh + left * ch))
    px, depths = camera.project(world)
    pts, depth = points_of(fixed(px)), depths.tolist()
    k = camera.focal_px / float(depth[NECK]) * scale
    child = 1.25 if look.height < 1.45 else 1.0

    def thick(radius_m: float) -> int:
        return max(1, round(2 * radius_m * k * look.build))

    def limb(a: int, b: int, radius_m: float, rgb: Rgb) -> Shape:
        return line(pts[a], pts[b], rgb, thick(radius_m))

    def ball(at: int, radius_m: float, rgb: Rgb) -> Shape:
        return disc(pts[at], max(1 << (SHIFT - 1), round(radius_m * k * child * (1 << SHIFT))), rgb)

    left_is_near = depth[L_SHOULDER] < depth[R_SHOULDER]
    far_side, near_side = (1, 0) if left_is_near else (0, 1)
    top, bottom = lit(look.top, light), lit(look.bottom, light)
    skin, hair = lit(look.skin, light), lit(look.hair, light)

    def arm(side: int, gain: float) -> list[Shape]:
        sleeve = lit(look.top, light, gain)
        lower = lit(look.skin, light, gain) if look.short_sleeves else sleeve
        return [
            limb(L_ELBOW + side, L_WRIST + side, 0.034, lower),
            limb(L_SHOULDER + side, L_ELBOW + side, 0.045, sleeve),
            disc(pts[L_WRIST + side], max(6, round(0.045 * k * (1 << SHIFT))), skin),
        ]

    shapes = arm(far_side, 0.72)
    for side, gain in ((far_side, 0.72), (near_side, 1.0)):
        leg = lit(look.skin if look.skirt else look.bottom, light, gain)
        shapes += [
            limb(L_ANKLE + side, L_TOE + side, 0.045, lit(look.shoes, light, gain)),
            limb(L_KNEE + side, L_ANKLE + side, 0.052, leg),
            limb(L_HIP + side, L_KNEE + side, 0.072, leg),
        ]
    if look.skirt:
        hem, spread = _middle(pts[L_KNEE], pts[R_KNEE]), round(0.19 * k * (1 << SHIFT))
        corners = [pts[L_HIP], pts[R_HIP], (hem[0] - spread, hem[1]), (hem[0] + spread, hem[1])]
        shapes.append(convex(_turning(corners), bottom))
    faces_away = depth[FACE] > depth[HEAD] + 0.01
    bag = [ball(BACK, 0.17, lit(look.bag, light))] if look.bag is not None else []
    if not faces_away:
        shapes += bag
    shapes += [
        limb(L_HIP, R_HIP, 0.085, bottom),
        line(pts[NECK], _middle(pts[L_HIP], pts[R_HIP]), top, thick(0.115)),
        convex(_turning([pts[L_SHOULDER], pts[R_SHOULDER], pts[R_HIP], pts[L_HIP]]), top),
        limb(L_SHOULDER, R_SHOULDER, 0.06, top),
        limb(NECK, HEAD, 0.05, skin),
    ]
    if faces_away:
        shapes += bag
    if look.long_hair:
        shapes.append(limb(CROWN, NECK, 0.1, hair))
    shapes += [ball(CROWN, 0.118, hair), ball(HEAD, 0.105, hair if faces_away else skin)]
    if not faces_away:
        shapes.append(ball(FACE, 0.085, skin))
    if look.hat is not None:
        shapes.append(ball(CROWN, 0.122, lit(look.hat, light)))
        if not faces_away:
            shapes.append(ball(FACE, 0.075, skin))
    shapes += arm(near_side, 1.08)
    return shapes, px


def _middle(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) // 2, (a[1] + b[1]) // 2


def _turning(corners: list[Point]) -> list[Point]:
    """The corners in turning order, so that a twisted quad still fills."""
    cx, cy = sum(x for x, _ in corners) / len(corners), sum(y for _, y in corners) / len(corners)
    return sorted(corners, key=lambda p: math.atan2(p[1] - cy, p[0] - cx))
