"""Fronts that are no wall with holes in it: curtain walls of glass, stucco under arches, prefabricated panels.

Each function paints one front (h,w,3) in grey levels as in plain daylight and returns where its windows are lit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.draw import Rgb
from streamer.world.light import Light

F32 = NDArray[np.float32]
Glow = list[tuple[slice, slice, Rgb]]
WARM: Rgb = (255, 210, 138)
COLD: Rgb = (214, 226, 244)
DARK_GLASS: Rgb = (66, 84, 100)


class Front:
    """The picture of a front under work: `ppm` pixels a metre, measured from the left and from the ground."""

    def __init__(self, image: F32, ppm: float, width: float, height: float) -> None:
        self.image, self.ppm, self.width, self.height = image, ppm, width, height

    def place(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """Rows and columns of a rectangle given in metres, clipped to the front."""
        h, w = self.image.shape[:2]
        ppm, height = self.ppm, self.height
        rows = slice(max(0, round((height - y1) * ppm)), min(h, max(0, round((height - y0) * ppm))))
        return rows, slice(max(0, round(x0 * ppm)), min(w, max(0, round(x1 * ppm))))

    def fill(self, x0: float, y0: float, x1: float, y1: float, rgb: Rgb) -> tuple[slice, slice]:
        """Fill a rectangle given in metres."""
        at = self.place(x0, y0, x1, y1)
        self.image[at] = rgb
        return at

    def dome(self, cx: float, y: float, radius: float, rgb: Rgb) -> None:
        """Fill the upper half of a disc that stands on (cx, y)."""
        centre = round(cx * self.ppm), round((self.height - y) * self.ppm)
        size = max(1, round(radius * self.ppm))
        cv2.ellipse(self.image, centre, (size, size), 0, 180, 360, [float(c) for c in rgb], -1)


def _shade(rgb: Rgb, gain: float) -> Rgb:
    r, g, b = (min(255, int(c * gain)) for c in rgb)
    return r, g, b


def glass_front(front: Front, wall: Rgb, light: Light, rng: np.random.Generator) -> Glow:
    """A curtain wall: panes from end to end that mirror the sky, thin mullions, a dark lobby."""
    glow: Glow = []
    image, width, height = front.image, front.width, front.height
    h, w = image.shape[:2]
    sky = np.linspace(1.42, 0.72, h, dtype=np.float32)[:, None, None]
    image[:] = np.array(wall, np.float32) * sky
    # A neighbour or a cloud mirrored as slanted bands.
    slant, period, at = float(rng.uniform(-0.6, 0.6)), float(rng.uniform(4, 9)), float(rng.uniform(0, 9))
    ys, xs = np.mgrid[0:h, 0:w].astype(np.float32) / front.ppm
    band = np.rint((np.mod(xs + slant * ys + at, period) < period * 0.38) * 1.0).astype(np.float32)
    image *= (1 + 0.22 * band)[..., None]
    pane_w, floor_h = float(rng.uniform(1.1, 1.7)), float(rng.uniform(3.0, 3.6))
    columns, floors = max(2, round(width / pane_w)), int((height - 3.6) / floor_h) + 1
    pane_w = width / columns
    frame: Rgb = ((212, 218, 222), (52, 58, 64))[int(rng.integers(2))]
    for floor in range(floors):
        y0 = 3.6 + floor * floor_h
        front.fill(0, y0, width, y0 + 0.55, _shade(wall, 0.62))  # the spandrel hides the floor slab
        for column in range(columns):
            x0 = column * pane_w
            image[front.place(x0, y0 + 0.55, x0 + pane_w, y0 + floor_h)] *= float(rng.uniform(0.86, 1.1))
            if light.lamps and rng.random() < 0.5:
                glow.append((*front.place(x0, y0 + 0.6, x0 + pane_w, y0 + floor_h - 0.05), COLD))
    front.fill(0, 0, width, 3.5, (44, 50, 56))
    for column in range(0, columns, 2):
        x0 = column * pane_w
        at_lobby = front.fill(x0 + 0.12, 0.1, x0 + 2 * pane_w - 0.12, 3.1, _shade(wall, 0.58))
        if light.lamps:
            glow.append((*at_lobby, WARM))
    for column in range(columns + 1):
        front.fill(column * pane_w - 0.04, 3.5, column * pane_w + 0.04, height, frame)
    for floor in range(floors + 1):
        front.fill(0, 3.56 + floor * floor_h, width, 3.66 + floor * floor_h, frame)
    return glow


def stucco_front(front: Front, wall: Rgb, light: Light, rng: np.random.Generator) -> Glow:
    """A southern house: rough plaster, arched openings, wooden shutters, an arcade, a roof of red tiles."""
    glow: Glow = []
    width, height = front.width, front.height
    wood: Rgb = ((74, 96, 74), (88, 60, 42), (56, 84, 112), (126, 62, 48))[int(rng.integers(4))]
    trim = _shade(wall, 1.14)
    floors = max(1, round((height - 1.8) / 3.2))
    columns = max(2, int(width / float(rng.uniform(2.5, 3.4))))
    pitch = width / columns
    half = float(rng.uniform(0.42, 0.58))
    for floor in range(1, floors):
        for column in range(columns):
            cx, y0, tall = (column + 0.5) * pitch, floor * 3.2 + 0.6, 1.45
            front.fill(cx - half - 0.12, y0 - 0.1, cx + half + 0.12, y0 + tall, trim)
            front.dome(cx, y0 + tall, half + 0.12, trim)
            at = front.fill(cx - half, y0, cx + half, y0 + tall, DARK_GLASS)
            front.dome(cx, y0 + tall, half, DARK_GLASS)
            if light.lamps and rng.random() < 0.4:
                glow.append((*at, WARM))
            elif rng.random() < 0.45:  # closed shutters
                front.fill(cx - half, y0, cx - 0.02, y0 + tall, wood)
                front.fill(cx + 0.02, y0, cx + half, y0 + tall, wood)
            else:
                front.fill(cx - 2 * half, y0, cx - half - 0.05, y0 + tall, wood)
                front.fill(cx + half + 0.05, y0, cx + 2 * half, y0 + tall, wood)
    arcade = rng.random() < 0.5
    wide = pitch * 0.36 if arcade else half + 0.1
    for column in range(columns):
        cx, tall = (column + 0.5) * pitch, 2.1 if arcade else 1.9
        door = arcade or column % 3 == 1
        inside: Rgb = (52, 46, 42) if arcade else wood if door else DARK_GLASS
        front.fill(cx - wide - 0.12, 0, cx + wide + 0.12, tall, trim)
        front.dome(cx, tall, wide + 0.12, trim)
        at = front.fill(cx - wide, 0 if door else 0.8, cx + wide, tall, inside)
        front.dome(cx, tall, wide, inside)
        if not door:
            front.fill(cx - wide, 0, cx + wide, 0.8, _shade(wall, 0.94))
        if light.lamps and (arcade or not door):
            glow.append((*at, WARM))
    roof = 0.85
    front.fill(0, height - roof, width, height, (176, 86, 58))
    step = 0.22
    for i in range(int(width / step) + 1):
        front.fill(i * step, height - roof, i * step + 0.09, height, (146, 66, 46))
    front.fill(0, height - roof - 0.16, width, height - roof, (96, 66, 48))
    front.fill(0, 0, width, 0.4, _shade(wall, 0.78))
    return glow


def panel_front(front: Front, wall: Rgb, light: Light, rng: np.random.Generator) -> Glow:
    """Prefabricated slabs with open joints, wide windows, and columns of coloured balconies."""
    glow: Glow = []
    width, height = front.width, front.height
    paint: Rgb = ((206, 96, 62), (72, 132, 150), (222, 182, 72), (104, 142, 92))[int(rng.integers(4))]
    slab_w, floor_h = float(rng.uniform(2.6, 3.4)), 2.8
    columns, floors = max(2, round(width / slab_w)), max(1, int((height - 0.4) / floor_h))
    slab_w = width / columns
    balcony = int(rng.integers(3))
    for floor in range(floors):
        y0 = floor * floor_h
        for column in range(columns):
            x0 = column * slab_w
            front.image[front.place(x0, y0, x0 + slab_w, y0 + floor_h)] *= float(rng.uniform(0.93, 1.05))
            if floor == 0 and column == columns // 2:
                front.fill(x0 + 0.5, 0, x0 + slab_w - 0.5, 2.3, paint)
                front.fill(x0 + 0.7, 0.1, x0 + slab_w - 0.7, 2.1, DARK_GLASS)
                continue
            at = front.fill(x0 + 0.35, y0 + 0.9, x0 + slab_w - 0.35, y0 + 2.3, DARK_GLASS)
            front.fill(x0 + slab_w / 2 - 0.05, y0 + 0.9, x0 + slab_w / 2 + 0.05, y0 + 2.3, (226, 226, 222))
            if light.lamps and rng.random() < 0.45:
                glow.append((*at, (WARM, COLD)[int(rng.integers(2))]))
            if floor > 0 and column % 3 == balcony:
                front.fill(x0 + 0.15, y0 + 0.05, x0 + slab_w - 0.15, y0 + 1.1, paint)
                front.fill(x0 + 0.15, y0 + 1.1, x0 + slab_w - 0.15, y0 + 1.18, _shade(paint, 0.7))
        front.fill(0, y0 - 0.04, width, y0 + 0.04, _shade(wall, 0.66))
    for column in range(columns + 1):
        front.fill(column * slab_w - 0.04, 0, column * slab_w + 0.04, height, _shade(wall, 0.66))
    front.fill(0, height - 0.3, width, height, _shade(wall, 0.8))
    return glow


FRONTS: dict[str, Callable[[Front, Rgb, Light, np.random.Generator], Glow]] = {
    "glass": glass_front,
    "stucco": stucco_front,
    "panel": panel_front,
}
# Cornices of snow are as high as this in metres.
SNOW_M = 0.4


def lay_snow(front: Front) -> None:
    """A white edge along the roof, thicker here and thinner there."""
    h, w = front.image.shape[:2]
    wave = np.sin(np.arange(w) / front.ppm * 1.7) * 0.12 + np.sin(np.arange(w) / front.ppm * 4.3) * 0.06
    depth = np.rint((SNOW_M + wave) * front.ppm).astype(int)
    front.image[np.arange(h)[:, None] < depth] = (236, 240, 246)


def glow_rgb(rows: slice, cols: slice, rgb: Rgb) -> F32:
    """The colour of a lit window: each a little brighter or darker than the next."""
    return np.array(rgb, np.float32) * (0.82 + 0.06 * math.sin(rows.start + cols.start))
