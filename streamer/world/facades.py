"""The fronts of the houses: walls, windows, shops and doors by floors, hung into the picture in perspective."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.draw import Rgb
from streamer.world.fronts import FRONTS, Front, Glow, glow_rgb, lay_snow
from streamer.world.layout import Layout
from streamer.world.light import Light
from streamer.world.texture import Cloth, sample
from streamer.world.truth import BUILDING

F32 = NDArray[np.float32]

WALLS: dict[str, tuple[Rgb, ...]] = {
    "brick": ((150, 82, 62), (128, 70, 58), (168, 104, 76), (112, 84, 76), (176, 122, 92)),
    "pastel": ((226, 190, 160), (176, 206, 200), (232, 214, 150), (222, 168, 164), (186, 192, 220)),
    "concrete": ((156, 158, 160), (128, 134, 140), (178, 176, 170), (104, 112, 122), (188, 190, 194)),
    "sandstone": ((206, 180, 136), (188, 160, 118), (218, 198, 160), (172, 150, 116), (200, 172, 140)),
    "panel": ((190, 186, 176), (168, 170, 170), (204, 196, 180), (150, 154, 160), (184, 176, 168)),
    "glass": ((92, 128, 146), (84, 116, 120), (104, 122, 150), (74, 96, 112), (124, 146, 150)),
    "stucco": ((232, 214, 176), (240, 232, 216), (222, 176, 126), (214, 150, 118), (236, 206, 150)),
    "timber": ((146, 106, 74), (96, 110, 92), (170, 66, 52), (204, 196, 178), (74, 88, 104)),
}
SHOPS: tuple[Rgb, ...] = (
    (176, 54, 48),
    (44, 96, 108),
    (214, 160, 60),
    (70, 106, 70),
    (90, 70, 110),
    (60, 62, 70),
)


def draw_facades(
    layout: Layout,
    light: Light,
    cloth: Cloth,
    colour: F32,
    tags: NDArray[np.uint8],
    rng: np.random.Generator,
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
    back = np.linalg.inv(cv2.getPerspectiveTransform(source, corners))
    mask = np.zeros(tags.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(np.clip(px, -30000, 30000)).astype(np.int32), 255)
    left, top, wide, high = cv2.boundingRect(mask)
    us, vs = np.meshgrid(np.arange(left, left + wide, dtype=float), np.arange(top, top + high, dtype=float))
    below = back[2, 0] * us + back[2, 1] * vs + back[2, 2]
    u = np.clip((back[0, 0] * us + back[0, 1] * vs + back[0, 2]) / below, 0, w - 1)
    v = np.clip((back[1, 0] * us + back[1, 1] * vs + back[1, 2]) / below, 0, h - 1)
    if wide == 0 or high == 0:
        return
    grown = sample(np.clip(np.rint(texture), 0, 255).astype(np.uint8), u, v)
    place = slice(top, top + high), slice(left, left + wide)
    inside = mask[place] > 0
    colour[place][inside] = grown[inside]
    tags[place][inside] = BUILDING


def _facade(
    width: float,
    height: float,
    ppm: float,
    wall: Rgb,
    layout: Layout,
    light: Light,
    cloth: Cloth,
    rng: np.random.Generator,
) -> F32:
    """A front (h,w,3) under its light: the wall, then what its theme puts on it."""
    h, w = max(8, round(height * ppm)), max(8, round(width * ppm))
    grain = cloth.tile(h, w)
    image = np.array(wall, np.float32) * (1 + 0.05 * grain)[..., None].astype(np.float32)
    if layout.theme in ("brick", "timber"):
        step = max(3, round((0.14 if layout.theme == "brick" else 0.28) * ppm))
        image[::step] *= 0.86
    image *= np.linspace(1.06, 0.9, h, dtype=np.float32)[:, None, None]
    front = Front(image, ppm, width, height)
    glow = (
        FRONTS[layout.theme](front, wall, light, rng)
        if layout.theme in FRONTS
        else _house(front, wall, light, rng)
    )
    if light.snow:
        lay_snow(front)
    image *= light.ambient.astype(np.float32)
    if light.lamps:
        ramp = np.clip(1 - np.linspace(height, 0, h, dtype=np.float32) / 5.5, 0, 1)[:, None, None]
        image += ramp * np.array((34, 26, 15), np.float32)
        for rows, cols, rgb in glow:
            image[rows, cols] = glow_rgb(rows, cols, rgb)
    return image


def _house(front: Front, wall: Rgb, light: Light, rng: np.random.Generator) -> Glow:
    """Windows by floors, a shop or a door at the ground, a cornice; returns what is lit at night."""
    image, ppm, width, height = front.image, front.ppm, front.width, front.height
    h, w = image.shape[:2]
    glow: Glow = []

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
    return glow
