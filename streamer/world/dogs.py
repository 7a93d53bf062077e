"""Dogs: how they run about, and their shapes with four legs that trot and a tail that wags."""

from __future__ import annotations

import math

import numpy as np

from streamer.world.agents import Agent
from streamer.world.camera import Camera
from streamer.world.draw import SHIFT, Rgb, Shape, Tint, disc, fixed, line, lit, points_of

COATS: tuple[Rgb, ...] = (
    (120, 82, 50),
    (48, 40, 36),
    (210, 180, 130),
    (230, 224, 214),
    (150, 110, 80),
    (96, 92, 90),
)


def trot(agent: Agent, rng: np.random.Generator, now: float, dt: float) -> None:
    """Move one dog on by `dt` seconds: beside its owner, or where it likes."""
    owner = agent.owner
    if owner is not None:
        goal_x, goal_z = owner.x + 0.75 * owner.direction, owner.z - 0.45
        agent.direction = owner.direction
        gap = math.hypot(goal_x - agent.x, goal_z - agent.z)
        want = min(3.6, gap * 1.6) if gap > 0.25 else 0.0
        goal = math.atan2(goal_z - agent.z, goal_x - agent.x) if gap > 0.25 else agent.heading
    else:
        if now >= agent.until:
            agent.until = now + float(rng.uniform(1.5, 6))
            agent.cruise = 0.0 if agent.cruise > 0 and rng.random() < 0.4 else float(rng.uniform(0.9, 3.0))
        want = agent.cruise
        goal = math.atan2(float(np.clip(agent.lane_z - agent.z, -0.5, 0.5)), float(agent.direction))
    agent.speed += float(np.clip(want - agent.speed, -5 * dt, 4 * dt))
    agent.heading += float(np.clip(math.remainder(goal - agent.heading, math.tau), -4 * dt, 4 * dt))
    agent.x += math.cos(agent.heading) * agent.speed * dt
    agent.z += math.sin(agent.heading) * agent.speed * dt
    agent.phase += (7.0 + 4.0 * agent.speed if agent.speed > 0.2 else 5.0) * dt


def dog_shapes(
    camera: Camera,
    coat: Rgb,
    size: float,
    x: float,
    z: float,
    heading: float,
    phase: float,
    moving: bool,
    light: Tint,
) -> list[Shape]:
    """Shapes of a dog of `size` (1 = shoulder at 0.5 m) at (x, z): trotting, or standing and wagging."""
    ch, sh = math.cos(heading) * size, math.sin(heading) * size
    swing = 0.42 if moving else 0.04
    local: list[tuple[float, float, float]] = []
    for at, left, p in ((0.26, 1, 0.0), (0.26, -1, math.pi), (-0.28, 1, math.pi), (-0.28, -1, 0.0)):
        theta = swing * math.sin(phase + p)
        lift = 0.06 * max(0.0, math.cos(phase + p)) if moving else 0.0
        local += [(at, 0.42, 0.07 * left), (at + 0.22 * math.sin(theta), 0.2, 0.07 * left)]
        local.append((at + 0.42 * math.sin(theta), 0.03 + lift, 0.07 * left))
    bob = 0.02 * math.sin(2 * phase) if moving else 0.0
    wag = 0.16 * math.sin(phase * (1.0 if moving else 2.2))
    local += [(-0.3, 0.46 + bob, 0.0), (0.3, 0.48 + bob, 0.0)]  # 12 rump, 13 chest
    local += [(0.46, 0.68 + bob, 0.0), (0.64, 0.62 + bob, 0.0)]  # 14 head, 15 muzzle
    local += [(-0.36, 0.52 + bob, 0.0), (-0.58, 0.72 + bob, wag)]  # 16, 17 tail
    local += [(0.40, 0.79 + bob, 0.06), (0.36, 0.64 + bob, 0.09)]  # 18, 19 ear
    pts_m = np.array(local)
    f, u, s = pts_m[:, 0], pts_m[:, 1], pts_m[:, 2]
    px, depth = camera.project(np.column_stack((x + f * ch - s * sh, u * size, z + f * sh + s * ch)))
    pts = points_of(fixed(px))
    k = camera.focal_px / float(depth[12]) * size
    near_left = depth[0] < depth[3]
    main, dark = lit(coat, light), lit(coat, light, 0.7)

    def limb(a: int, b: int, radius_m: float, rgb: Rgb) -> Shape:
        return line(pts[a], pts[b], rgb, max(1, round(2 * radius_m * k)))

    def leg(base: int, rgb: Rgb) -> list[Shape]:
        return [limb(base, base + 1, 0.055, rgb), limb(base + 1, base + 2, 0.04, rgb)]

    near, far = ((0, 6), (3, 9)) if near_left else ((3, 9), (0, 6))
    shapes = [s for base in far for s in leg(base, dark)]
    shapes += [limb(16, 17, 0.03, dark), limb(12, 13, 0.135, main)]
    shapes += [s for base in near for s in leg(base, main)]
    shapes += [limb(13, 14, 0.085, main), limb(14, 15, 0.055, main)]
    shapes.append(disc(pts[14], max(8, round(0.1 * k * (1 << SHIFT))), main))
    shapes.append(limb(18, 19, 0.04, dark))
    shapes.append(disc(pts[15], max(6, round(0.03 * k * (1 << SHIFT))), (24, 20, 20)))
    return shapes
