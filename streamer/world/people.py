"""People: a skeleton with a gait, and the clothes on it.

Joints are computed in the body's own frame (forward, up, left; metres) with plain sines of the gait's phase, turned
by the heading, projected, and drawn as capsules from the far side of the body to the near side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamer.world.camera import F64, Camera
from streamer.world.draw import SHIFT, Point, Rgb, Shape, Tint, convex, disc, fixed, line, lit, points_of
from streamer.world.truth import RUN, WALK, WAVE

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


# Indices of joints in a pose: the KEYPOINTS in their order, then these.
(
    HEAD,
    L_SHOULDER,
    R_SHOULDER,
    L_ELBOW,
    R_ELBOW,
    L_WRIST,
    R_WRIST,
    L_HIP,
    R_HIP,
    L_KNEE,
    R_KNEE,
    L_ANKLE,
    R_ANKLE,
) = range(13)
L_TOE, R_TOE, NECK, CROWN, FACE, BACK = range(13, 19)


def pose(action: int, phase: float, fallen: float, riding: bool) -> F64:
    """Joints (19,3) as forward, up, left in metres for a body 1.75 m tall; `fallen` 0 upright .. 1 lying."""
    sin, cos, tau = math.sin, math.cos, math.tau
    lean, elbow, arm_swing, leg_swing, flex = 0.03, 0.25, 0.0, 0.0, 0.0
    if riding:
        lean, elbow = 0.62, 0.35
    elif action == RUN:
        lean, elbow, arm_swing, leg_swing, flex = 0.16, 1.45, 0.75, 0.72, 1.25
    elif action == WALK:
        lean, elbow, arm_swing, leg_swing, flex = 0.05, 0.35, 0.48, 0.44, 0.75
    else:
        lean, arm_swing = 0.02 + 0.015 * sin(phase * 0.35), 0.04
    joints = [(0.0, 0.0, 0.0)] * 19
    hip_up, hip_fwd = (0.98, -0.22) if riding else (0.92, 0.0)
    shoulder_fwd, shoulder_up = hip_fwd + 0.54 * sin(lean), hip_up + 0.54 * cos(lean)
    lowest = 9.0
    for side, left in ((0, 1), (1, -1)):
        p = phase + (0.0 if left == 1 else tau / 2)
        hip = (hip_fwd, hip_up, 0.10 * left)
        if riding:
            ankle = (0.06 + 0.17 * cos(p), 0.32 + 0.17 * sin(p), 0.11 * left)
            mid_f, mid_u = (hip[0] + ankle[0]) / 2, (hip[1] + ankle[1]) / 2
            gap_f, gap_u = ankle[0] - hip[0], ankle[1] - hip[1]
            span = math.hypot(gap_f, gap_u)
            bend = math.sqrt(max(0.0, 0.47**2 - (span / 2) ** 2))
            knee = (mid_f - gap_u / span * bend, mid_u + gap_f / span * bend, 0.12 * left)
        else:
            thigh = leg_swing * sin(p)
            shin = thigh - flex * max(0.0, cos(p)) - 0.06
            knee = (hip[0] + 0.44 * sin(thigh), hip[1] - 0.44 * cos(thigh), 0.10 * left)
            ankle = (knee[0] + 0.43 * sin(shin), knee[1] - 0.43 * cos(shin), 0.10 * left)
        toe = (ankle[0] + 0.16, ankle[1] - 0.04, ankle[2] + 0.03 * left)
        lowest = min(lowest, ankle[1])
        shoulder = (shoulder_fwd, shoulder_up, 0.19 * left)
        if riding:
            wrist = (0.36, 1.03, 0.22 * left)
            elbow_at = (
                0.5 * (shoulder[0] + wrist[0]) - 0.04,
                0.5 * (shoulder[1] + wrist[1]) - 0.08,
                0.25 * left,
            )
        elif action == WAVE and left == -1:
            swing = 0.55 * sin(phase)
            elbow_at = (shoulder[0] + 0.04, shoulder[1] + 0.10, -0.45)
            wrist = (elbow_at[0] + 0.05, elbow_at[1] + 0.27 * cos(swing), elbow_at[2] + 0.27 * sin(swing))
        else:
            upper = -arm_swing * sin(p)
            lower = upper + elbow
            elbow_at = (shoulder[0] + 0.29 * sin(upper), shoulder[1] - 0.29 * cos(upper), 0.23 * left)
            wrist = (elbow_at[0] + 0.26 * sin(lower), elbow_at[1] - 0.26 * cos(lower), 0.22 * left)
        for at, joint in ((L_SHOULDER, shoulder), (L_ELBOW, elbow_at), (L_WRIST, wrist), (L_HIP, hip)):
            joints[at + side] = joint
        for at, joint in ((L_KNEE, knee), (L_ANKLE, ankle), (L_TOE, toe)):
            joints[at + side] = joint
    head_f, head_u = shoulder_fwd + 0.03 + 0.1 * sin(lean), shoulder_up + 0.21
    joints[NECK] = (shoulder_fwd, shoulder_up + 0.06, 0.0)
    joints[HEAD] = (head_f, head_u, 0.0)
    joints[CROWN] = (head_f - 0.02, head_u + 0.045, 0.0)
    joints[FACE] = (head_f + 0.055, head_u - 0.02, 0.0)
    joints[BACK] = (shoulder_fwd - 0.19, shoulder_up - 0.2, 0.0)
    out = np.array(joints)
    if not riding:
        out[:, 1] -= lowest - 0.07  # the lower foot stands on the ground
    if fallen > 0:
        angle = fallen * math.pi / 2
        forward, up = out[:, 0].copy(), out[:, 1].copy()
        out[:, 0] = forward * cos(angle) + up * sin(angle) - 0.8 * sin(angle)
        out[:, 1] = up * cos(angle) - forward * sin(angle) + 0.16 * sin(angle)
        np.maximum(out[:, 1], 0.05, out=out[:, 1])
    return out


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
