"""Where things stand: the street's cross-section, the camera over it, lamps, trees and benches. Drawn once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from streamer.world.camera import MARGIN, SUPERSAMPLE, Camera
from streamer.world.lens import margin_for
from streamer.world.truth import SEED_THEMES, WorldConfig

REACH_M = 58.0  # nothing is simulated farther along the street than this


@dataclass(frozen=True, slots=True)
class Prop:
    """A thing that stands still and hides what is behind it; `size` in metres, `variant` picks its colours."""

    kind: str
    x: float
    z: float
    size: float
    variant: int


@dataclass(frozen=True, slots=True)
class Block:
    """Ground in metres that people go round, on the side of `free_z`; `forbidden` ground can be trespassed."""

    x0: float
    x1: float
    z0: float
    z1: float
    free_z: float
    forbidden: bool

    def holds(self, x: float, z: float) -> bool:
        return self.x0 <= x <= self.x1 and self.z0 <= z <= self.z1


@dataclass(frozen=True, slots=True)
class Layout:
    """The street in metres: the road lies at 0 <= z < road_m, pavements on both sides, facades at `facade_z`."""

    camera: Camera
    theme: str
    hour: float
    plaza: bool
    near_pavement_m: float
    road_m: float
    far_pavement_m: float
    crossing_x: float | None
    props: tuple[Prop, ...]
    shake_px: float
    blocks: tuple[Block, ...] = ()
    doors_x: tuple[float, ...] = ()
    busy: bool = False

    @property
    def forbidden(self) -> Block | None:
        return next((b for b in self.blocks if b.forbidden), None)

    @property
    def facade_z(self) -> float:
        return self.road_m + self.far_pavement_m

    def span(self, z: float, margin_m: float = 0.0) -> tuple[float, float]:
        """The x range in metres where things at `z` may be seen, no farther than REACH_M."""
        low, high = self.camera.span_at(z, 1.06)
        return max(low, -REACH_M) - margin_m, min(high, REACH_M) + margin_m


def plan(config: WorldConfig) -> Layout:
    """The layout of this seed."""
    rng = np.random.default_rng([config.seed, 1])
    theme = SEED_THEMES[int(rng.integers(len(SEED_THEMES)))]
    hour = float(rng.choice(4, p=(0.16, 0.46, 0.18, 0.20)))
    low, high = ((6.0, 7.6), (8.5, 16.5), (17.2, 19.3), (20.2, 23.6))[int(hour)]
    hour = float(rng.uniform(low, high))
    plaza = bool(rng.random() < 0.16) and not config.vehicles
    near, far = float(rng.uniform(2.4, 4.2)), float(rng.uniform(2.6, 4.6))
    road = float(rng.uniform(5.5, 7.0)) if plaza else float(rng.uniform(6.4, 8.4))

    fov = math.radians(float(rng.uniform(46, 66)))
    yaw = math.radians(float(rng.uniform(-36, 36)))
    eye = float(rng.uniform(2.3, 6.2))
    h, w = config.height * SUPERSAMPLE, config.width * SUPERSAMPLE
    focal = w / 2 / math.tan(fov / 2)
    # A tall picture would see little of the street: its focal length follows the smaller side.
    focal = min(focal, 2.1 * h) if h * 16 <= w * 9 else focal
    horizon = float(rng.uniform(0.2, 0.36))  # its place from the top of the picture, as a share of the height
    if config.view is not None:
        eye, horizon = _view(config)
    pitch = math.atan((0.5 - horizon) * h / focal)
    bottom = eye / math.tan(pitch + math.atan(h / 2 / focal))
    z = -near + float(rng.uniform(-0.6, 1.6)) - bottom * math.cos(yaw)
    z = min(z, -near - 2.2)
    margin = margin_for(config.shake, config.height)
    camera = Camera(0.0, eye, z, yaw, pitch, focal, config.height, config.width, margin)
    shake = float(rng.choice((0.0, 0.0, 0.6, 1.4))) * config.height / 144
    crossing = float(rng.uniform(-4, 4)) if not plaza and rng.random() < 0.45 else None
    if crossing is not None:
        crossing += math.tan(yaw) * (road / 2 - z)
    layout = Layout(
        camera=camera,
        theme=config.theme or theme,
        hour=hour if config.hour is None else config.hour,
        plaza=plaza,
        near_pavement_m=near,
        road_m=road,
        far_pavement_m=far,
        crossing_x=crossing,
        props=(),
        shake_px=min(shake, (MARGIN - 1) / 2),
    )
    return replace(layout, props=tuple(_props(rng, layout)))


def _view(config: WorldConfig) -> tuple[float, float]:
    """Height of the eye in metres and the horizon's place for the view that was asked for.

    "high" looks down from a mast or a third floor, "low" stands at a walker's chest, "street" is any lower mast.
    """
    rng = np.random.default_rng([config.seed, 7])
    (eye_low, eye_high), (top, bottom) = {
        "street": ((2.3, 6.2), (0.2, 0.36)),
        "high": ((7.5, 11.0), (-0.35, 0.02)),
        "low": ((1.0, 1.6), (0.4, 0.5)),
    }[config.view or "street"]
    return float(rng.uniform(eye_low, eye_high)), float(rng.uniform(top, bottom))


def _props(rng: np.random.Generator, layout: Layout) -> list[Prop]:
    out: list[Prop] = []
    near_line, far_line = -0.55, layout.road_m + 0.55
    lamp_step = float(rng.uniform(11, 16))
    low, high = layout.span(far_line, 3)
    for x in np.arange(low + float(rng.uniform(0, 6)), high, lamp_step):
        out.append(Prop("lamp", float(x), far_line, float(rng.uniform(4.4, 5.4)), 0))
    tree_step = float(rng.uniform(6, 13))
    tree_kind = ("tree", "tree", "conifer")[int(rng.integers(3))]
    if rng.random() < 0.75:
        for x in np.arange(low + float(rng.uniform(2, 8)), high, tree_step):
            out.append(
                Prop(tree_kind, float(x), far_line + 0.1, float(rng.uniform(3.6, 6.4)), int(rng.integers(99)))
            )
    low, high = layout.span(near_line, 2)
    for x in np.arange(low + float(rng.uniform(0, 5)), high, float(rng.uniform(4.5, 9))):
        kind = ("tree", "lamp", "bin", "planter", "bollards", "column", "sign")[
            int(rng.choice(7, p=(0.22, 0.16, 0.14, 0.16, 0.14, 0.08, 0.10)))
        ]
        size = float(rng.uniform(3.8, 6.0)) if kind in ("tree", "lamp") else 1.0
        out.append(Prop(kind, float(x), near_line, size, int(rng.integers(99))))
    low, high = layout.span(layout.facade_z - 0.7)
    for x in np.arange(low + float(rng.uniform(0, 6)), high, float(rng.uniform(6, 12))):
        kind = ("bench", "planter", "bin", "cafe")[int(rng.integers(4))]
        out.append(Prop(kind, float(x), layout.facade_z - 0.7, 1.0, int(rng.integers(99))))
    if layout.plaza:
        for _ in range(int(rng.integers(2, 5))):
            z = float(rng.uniform(1, layout.road_m - 1))
            a, b = layout.span(z)
            kind = ("tree", "bench", "planter", "column", "lamp")[int(rng.integers(5))]
            out.append(
                Prop(
                    kind,
                    float(rng.uniform(a, b)),
                    z,
                    4.6 if kind in ("tree", "lamp") else 1.0,
                    int(rng.integers(99)),
                )
            )
    return out
