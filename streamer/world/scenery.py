"""The picture that stands still: sky, facades and ground, drawn once for a world."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.camera import F64
from streamer.world.draw import Rgb
from streamer.world.layout import Layout
from streamer.world.light import Light
from streamer.world.truth import BUILDING, GRASS, MARKING, PAVEMENT, ROAD, SKY, VEGETATION

F32 = NDArray[np.float32]

WALLS: dict[str, tuple[Rgb, ...]] = {
    "brick": ((150, 82, 62), (128, 70, 58), (168, 104, 76), (112, 84, 76), (176, 122, 92)),
    "pastel": ((226, 190, 160), (176, 206, 200), (232, 214, 150), (222, 168, 164), (186, 192, 220)),
    "concrete": ((156, 158, 160), (128, 134, 140), (178, 176, 170), (104, 112, 122), (188, 190, 194)),
    "sandstone": ((206, 180, 136), (188, 160, 118), (218, 198, 160), (172, 150, 116), (200, 172, 140)),
    "timber": ((146, 106, 74), (96, 110, 92), (170, 66, 52), (204, 196, 178), (74, 88, 104)),
}
PAVING: dict[str, Rgb] = {
    "brick": (168, 158, 146),
    "pastel": (186, 180, 168),
    "concrete": (162, 164, 166),
    "sandstone": (190, 178, 154),
    "timber": (166, 156, 140),
}
SHOPS: tuple[Rgb, ...] = (
    (176, 54, 48),
    (44, 96, 108),
    (214, 160, 60),
    (70, 106, 70),
    (90, 70, 110),
    (60, 62, 70),
)


def _cloth(rng: np.random.Generator, size: int = 256) -> F32:
    """Tileable noise (size,size) in about -1..1, several octaves."""
    out = np.zeros((size, size), np.float32)
    for octave, weight in ((8, 0.5), (32, 0.3), (128, 0.25), (256, 0.3)):
        seedling = rng.standard_normal((octave, octave)).astype(np.float32)
        wrapped = np.pad(seedling, 2, mode="wrap")
        grown = cv2.resize(wrapped, None, fx=size / octave, fy=size / octave, interpolation=cv2.INTER_LINEAR)
        edge = 2 * size // octave
        out += weight * grown[edge : edge + size, edge : edge + size]
    return out


def draw_background(layout: Layout, light: Light, weather: str, seed: int) -> NDArray[np.uint8]:
    """Canvas (h,w,4): colour and semantic tag of everything that never moves but the props."""
    rng = np.random.default_rng([seed, 2])
    cloth = _cloth(rng)
    rays = layout.camera.rays()
    colour, tags = _sky(layout, light, weather, cloth, rays, rng)
    _ground(layout, light, weather, cloth, rays, colour, tags)
    _facades(layout, light, cloth, colour, tags, rng)
    canvas = np.empty((*tags.shape, 4), np.uint8)
    canvas[:, :, :3] = np.clip(np.rint(colour), 0, 255).astype(np.uint8)
    canvas[:, :, 3] = tags
    return canvas


def _sky(
    layout: Layout, light: Light, weather: str, cloth: F32, rays: F64, rng: np.random.Generator
) -> tuple[F32, NDArray[np.uint8]]:
    h, w = rays.shape[:2]
    up = rays[:, :, 1] / np.linalg.norm(rays, axis=2)
    t = np.clip(up / 0.5, 0, 1)[..., None] ** 0.7
    colour = (light.horizon * (1 - t) + light.zenith * t).astype(np.float32)
    # Clouds lie on a plane high above: they crowd together towards the horizon.
    rise = np.maximum(up, 0.02)
    u = ((rays[:, :, 0] / rise * 12 + 40) % 256).astype(np.float32)
    v = ((rays[:, :, 2] / rise * 12) % 256).astype(np.float32)
    cover = cv2.remap(cv2.GaussianBlur(cloth, (0, 0), 3), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    amount = {"clear": float(rng.uniform(0.1, 0.9)), "overcast": 0.5, "rain": 0.4}[weather]
    alpha = np.clip(cover * 2.2, 0, 1)[..., None] * amount * np.clip(up * 8, 0, 1)[..., None]
    colour += alpha * (light.horizon * 0.5 + 255 * 0.5 * light.ambient - colour)
    if light.night and weather == "clear":
        for _ in range(max(20, h * w // 4000)):
            y, x = int(rng.integers(h)), int(rng.integers(w))
            colour[y, x] += float(rng.uniform(30, 150))
    tags = np.full((h, w), SKY, np.uint8)
    # Far roofs and tree tops behind the street's own houses.
    skyline = np.repeat(rng.uniform(0.02, 0.11, w // 18 + 2), 18)[:w]
    bumps = 0.05 + 0.02 * np.sin(np.arange(w) / (9 + h / 40)) + 0.012 * np.sin(np.arange(w) / 3.7)
    for line, tag, mix in ((skyline, BUILDING, 0.55), (bumps, VEGETATION, 0.32)):
        inside = (up < line[None, :]) & (up > -0.05)
        tone = np.array((96, 104, 118) if tag == BUILDING else (78, 104, 74)) * light.ambient
        colour[inside] = tone * (1 - mix) + light.horizon * mix
        tags[inside] = tag
    return colour, tags


def _lamp_light(layout: Layout, x: F64, z: F64) -> F64:
    """How brightly the lamps light the ground at (x, z), 0..about 1."""
    total = np.zeros_like(x)
    for prop in layout.props:
        if prop.kind == "lamp":
            total += np.exp(-((x - prop.x) ** 2 + (z - prop.z) ** 2) / 16.0)
    return total


def _ground(
    layout: Layout, light: Light, weather: str, cloth: F32, rays: F64, colour: F32, tags: NDArray[np.uint8]
) -> None:
    camera = layout.camera
    below = rays[:, :, 1] < -0.004
    reach = camera.y / np.maximum(-rays[:, :, 1], 0.004)
    x, z = camera.x + rays[:, :, 0] * reach, camera.z + rays[:, :, 2] * reach
    fade = np.clip(
        1.2 - reach * 2.2 / camera.focal_px * 8, 0, 1
    )  # fine patterns end where a pixel is as wide as they are

    def sample(scale: float) -> F32:
        u, v = ((x * scale) % 256).astype(np.float32), ((z * scale) % 256).astype(np.float32)
        return np.asarray(cv2.remap(cloth, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))

    coarse, fine = sample(9.0), sample(48.0) * fade
    paving = np.array(PAVING[layout.theme], float)
    road_m = layout.road_m
    base = np.empty((*x.shape, 3))
    kind = np.full(x.shape, PAVEMENT, np.uint8)
    # Pavement: slabs with joints, each slab a little different.
    slab_x, slab_z = np.floor(x / 0.8), np.floor(z / 0.6)
    speckle = np.mod(np.mod(slab_x * 37 + slab_z * 91, 17) * 7, 17) / 17 - 0.5
    joint = ((np.mod(x, 0.8) < 0.05) | (np.mod(z, 0.6) < 0.05)) * fade
    base[:] = paving * (1 + 0.07 * coarse + 0.04 * fine + 0.10 * speckle * fade - 0.22 * joint)[..., None]
    on_road = (z >= 0) & (z < road_m)
    if layout.plaza:
        stones = np.array((172, 164, 152)) * 0.96
        band = np.mod(np.floor(x / 3.2) + np.floor(z / 3.2), 2)
        ring = 1 + 0.06 * coarse + 0.05 * fine - 0.08 * band - 0.15 * joint
        base[on_road] = (stones * ring[..., None])[on_road]
    else:
        asphalt = np.array((88, 89, 93)) * (1 + 0.09 * coarse + 0.07 * fine)[..., None]
        wear = np.exp(-(((np.mod(z / (road_m / 2), 1) - 0.5) * 2.4) ** 2)) * 0.06
        base[on_road] = (asphalt * (1 - wear)[..., None])[on_road]
        kind[on_road] = ROAD
        dash = on_road & (np.abs(z - road_m / 2) < 0.08) & (np.mod(x, 4.0) < 2.2)
        edge = on_road & ((np.abs(z - 0.35) < 0.06) | (np.abs(z - road_m + 0.35) < 0.06))
        mark = dash | edge
        if layout.crossing_x is not None:
            at = x - layout.crossing_x
            mark = (mark & (np.abs(at) > 2.0)) | (on_road & (np.abs(at) < 1.7) & (np.mod(z, 1.0) < 0.52))
        base[mark] = (np.array((214, 212, 202)) * (1 + 0.1 * coarse)[..., None])[mark]
        kind[mark] = MARKING
        kerb = ((z > -0.22) & (z < 0)) | ((z >= road_m) & (z < road_m + 0.22))
        base[kerb] = np.array((186, 184, 178)) * 1.04
        face = (z >= road_m - 0.07) & (z < road_m + 0.05)
        base[face] = np.array((110, 108, 106))
    lawn = (z < -layout.near_pavement_m) | (z > layout.facade_z + 6)
    grass = np.array((88, 118, 58)) * (1 + 0.22 * coarse + 0.2 * fine)[..., None]
    base[lawn] = grass[lawn]
    kind[lawn] = GRASS
    glow = _lamp_light(layout, x, z)[..., None] if light.lamps else 0.0
    lighting = light.ambient * 0.98 + np.array((0.85, 0.68, 0.42)) * np.minimum(glow, 1.1) * 0.75
    if weather == "rain":
        lighting = lighting * np.where(kind[..., None] == GRASS, 0.95, 0.84)
        base = base * 0.9 + light.horizon * 0.1
    out = base * lighting
    if weather == "rain":  # puddles mirror the sky
        pool = np.clip(coarse * 1.5 - 0.1, 0, 0.55)[..., None] * (kind[..., None] != GRASS)
        out += pool * (light.horizon * 0.8 - out)
    haze = np.clip((reach - 30) / 160, 0, 0.6)[..., None]
    out += haze * (light.horizon - out)
    colour[below] = out[below]
    tags[below] = kind[below]


def _facades(
    layout: Layout, light: Light, cloth: F32, colour: F32, tags: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    camera, z = layout.camera, layout.facade_z
    low, high = layout.span(z)
    low, high = low - 1.0, high + 1.0
    nearest = max(4.0, camera.depth_of((low + high) / 2, 1, z))
    ppm = float(np.clip(camera.focal_px / nearest * 1.1, 10, 72))
    x = low - float(rng.uniform(0, 8))
    walls = WALLS[layout.theme]
    last = -1
    fronts: list[tuple[F32, float, float, float]] = []
    sides: list[tuple[float, Rgb, float]] = []
    while x < high:
        width, height = (
            float(rng.uniform(6.5, 13)),
            float(rng.choice((6.4, 6.4, 9.6, 12.8))) + float(rng.uniform(0.8, 1.6)),
        )
        if rng.random() < 0.13:  # a gap between houses
            x += float(rng.uniform(2.5, 5))
            continue
        pick = int(rng.integers(len(walls)))
        pick = (pick + 1) % len(walls) if pick == last else pick
        last = pick
        texture = _facade(width, height, ppm, walls[pick], layout, light, cloth, rng)
        a, b = max(x, low), min(x + width, high)
        if b - a > 0.3:
            cut = texture[:, round((a - x) * ppm) : max(round((b - x) * ppm), round((a - x) * ppm) + 2)]
            fronts.append((np.ascontiguousarray(cut), a, b, height))
            at = x if camera.x < x else x + width if camera.x > x + width else None
            if at is not None and low < at < high:
                sides.append((at, walls[pick], height))
        x += width
    # All fronts stand in one plane; what runs back from it lies behind every front.
    for at, wall, height in sorted(sides, key=lambda side: -abs(side[0] - camera.x)):
        _side(layout, light, wall, at, height, colour, tags)
    for texture, a, b, height in fronts:
        _hang(layout, texture, a, b, height, colour, tags)


def _side(
    layout: Layout, light: Light, wall: Rgb, at: float, height: float, colour: F32, tags: NDArray[np.uint8]
) -> None:
    """The wall of a house that runs away from the street at x = `at`."""
    z = layout.facade_z
    px, _ = layout.camera.project(
        np.array([(at, 0, z), (at, height, z), (at, height, z + 9), (at, 0, z + 9)])
    )
    tone = np.array(wall) * light.ambient * 0.66
    pts = np.rint(px).astype(np.int32)
    cv2.fillConvexPoly(colour, pts, tone.tolist())
    cv2.fillConvexPoly(tags, pts, BUILDING)


def _hang(
    layout: Layout, texture: F32, x0: float, x1: float, height: float, colour: F32, tags: NDArray[np.uint8]
) -> None:
    """Put a facade's texture where the camera sees the facade."""
    h, w = texture.shape[:2]
    z = layout.facade_z
    px, _ = layout.camera.project(np.array([(x0, height, z), (x1, height, z), (x1, 0, z), (x0, 0, z)]))
    source = np.array([(-0.5, -0.5), (w - 0.5, -0.5), (w - 0.5, h - 0.5), (-0.5, h - 0.5)], np.float32)
    corners = (np.rint(px * 16) / 16).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners)
    size = (colour.shape[1], colour.shape[0])
    warped = cv2.warpPerspective(
        texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros(tags.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(np.clip(px, -30000, 30000)).astype(np.int32), 255)
    inside = mask > 0
    colour[inside] = warped[inside]
    tags[inside] = BUILDING


def _facade(
    width: float,
    height: float,
    ppm: float,
    wall: Rgb,
    layout: Layout,
    light: Light,
    cloth: F32,
    rng: np.random.Generator,
) -> F32:
    """A front (h,w,3) under its light: wall, windows by floors, a shop or a door at the ground, a cornice."""
    h, w = max(8, round(height * ppm)), max(8, round(width * ppm))
    grain = np.tile(cloth, (h // 256 + 1, w // 256 + 1))[:h, :w]
    image = np.array(wall, np.float32) * (1 + 0.05 * grain)[..., None].astype(np.float32)
    if layout.theme in ("brick", "timber"):
        step = max(3, round((0.14 if layout.theme == "brick" else 0.28) * ppm))
        image[::step] *= 0.86
    image *= np.linspace(1.06, 0.9, h, dtype=np.float32)[:, None, None]
    glow: list[tuple[slice, slice, Rgb]] = []

    def fill(
        x0: float, y0: float, x1: float, y1: float, rgb: Rgb, shine: bool = False
    ) -> tuple[slice, slice]:
        """Metres from the left and from the ground."""
        rows = slice(max(0, round((height - y1) * ppm)), min(h, max(0, round((height - y0) * ppm))))
        cols = slice(max(0, round(x0 * ppm)), min(w, max(0, round(x1 * ppm))))
        image[rows, cols] = rgb
        if shine and rows.stop > rows.start:
            image[rows, cols] *= np.linspace(1.25, 0.75, rows.stop - rows.start, dtype=np.float32)[
                :, None, None
            ]
        return rows, cols

    r, g, b = wall
    light_trim, dark_trim = (
        (min(255, r + 42), min(255, g + 42), min(255, b + 40)),
        (int(r * 0.6), int(g * 0.6), int(b * 0.6)),
    )
    glass: Rgb = (86, 108, 128)
    floors = round((height - 1.0) / 3.2)
    win_w, win_h = float(rng.uniform(0.9, 1.5)), float(rng.uniform(1.3, 1.9))
    columns = max(2, int(width / (win_w + float(rng.uniform(0.8, 1.5)))))
    pitch = width / columns
    shutters = rng.random() < 0.35
    tint = SHOPS[int(rng.integers(len(SHOPS)))]
    for floor in range(1, floors):
        for column in range(columns):
            cx, y0 = (column + 0.5) * pitch, floor * 3.2 + 0.8
            x0, x1, y1 = cx - win_w / 2, cx + win_w / 2, y0 + win_h
            fill(x0 - 0.1, y0 - 0.14, x1 + 0.1, y1 + 0.1, light_trim)
            at = fill(x0, y0, x1, y1, glass, True)
            if light.lamps and rng.random() < 0.42:
                glow.append((*at, ((255, 206, 128), (248, 224, 170), (216, 222, 236))[int(rng.integers(3))]))
            elif rng.random() < 0.3:
                fill(x0, y0 + win_h * 0.4, x1, y1, (206, 200, 190))
            fill(cx - 0.03, y0, cx + 0.03, y1, light_trim)
            fill(x0, y0 + win_h * 0.6, x1, y0 + win_h * 0.6 + 0.05, light_trim)
            if shutters:
                fill(x0 - 0.42, y0, x0 - 0.1, y1, tint)
                fill(x1 + 0.1, y0, x1 + 0.42, y1, tint)
    if rng.random() < 0.62:  # a shop
        fill(0.3, 0.1, width - 0.3, 2.75, dark_trim)
        at = fill(0.5, 0.5, width - 1.9, 2.4, glass, True)
        if light.lamps:
            glow.append((*at, (255, 214, 150)))
        fill(width - 1.6, 0.1, width - 0.6, 2.4, tint)
        fill(width - 1.45, 0.9, width - 0.75, 2.2, glass)
        fill(0.2, 2.45, width - 0.2, 3.05, tint)
        for i in range(int((width - 1.2) / 0.5)):
            if i % 2 and rng.random() < 0.8:
                fill(0.6 + i * 0.5, 2.62, 0.9 + i * 0.5, 2.88, (236, 232, 220))
    else:
        for column in range(columns):
            cx = (column + 0.5) * pitch
            if column == columns // 2:
                fill(cx - 0.65, 0.0, cx + 0.65, 2.5, light_trim)
                fill(cx - 0.5, 0.0, cx + 0.5, 2.35, tint)
                continue
            fill(cx - win_w / 2 - 0.1, 0.75, cx + win_w / 2 + 0.1, 2.5, light_trim)
            at = fill(cx - win_w / 2, 0.9, cx + win_w / 2, 2.4, glass, True)
            if light.lamps and rng.random() < 0.4:
                glow.append((*at, (255, 206, 128)))
    fill(0, height - 0.45, width, height, light_trim)
    fill(0, height - 0.55, width, height - 0.45, dark_trim)
    fill(0, 0, width, 0.35, dark_trim)
    fill(0, 0, 0.08, height, dark_trim)
    image *= light.ambient.astype(np.float32)
    if light.lamps:
        ramp = np.clip(1 - np.linspace(height, 0, h, dtype=np.float32) / 5.5, 0, 1)[:, None, None]
        image += ramp * np.array((34, 26, 15), np.float32)
        for rows, cols, rgb in glow:
            image[rows, cols] = np.array(rgb, np.float32) * (0.82 + 0.06 * math.sin(rows.start + cols.start))
    return image
