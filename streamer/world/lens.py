"""How the canvas becomes a camera's picture: where the camera looks (shake, zoom) and what its optics do to light.

`Window` is the part of the canvas that a frame shows, and the only thing that places truth in the picture: colours,
tags, boxes and key points all go through it, so a swaying or zooming camera cannot part them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.camera import MARGIN, SUPERSAMPLE
from streamer.world.truth import WorldConfig

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
ROWS = 144  # shake and blur are given in pixels of a picture this high
GRAIN = 4096  # scales and gains are whole parts of this: the last bit of a sine cannot move a pixel
JITTER = 0.16  # share of a shaking camera's reach that is fast; the rest drifts


@dataclass(frozen=True, slots=True)
class Window:
    """Corner of the picture on the canvas in canvas pixels, and canvas pixels per picture pixel.

    Picture pixel i covers the canvas from `x + i * scale` to `x + (i + 1) * scale`; its tag is that at the middle.
    """

    x: float
    y: float
    scale: float = float(SUPERSAMPLE)

    @property
    def plain(self) -> bool:
        """No zoom: whole canvas pixels in whole blocks."""
        return self.scale == SUPERSAMPLE

    def box_of(self, x0: int, y0: int, high: int, wide: int) -> tuple[float, float, float, float]:
        """Picture pixels x0, y0, x1, y1 of a rectangle of whole canvas pixels."""
        s = self.scale
        return (x0 - self.x) / s, (y0 - self.y) / s, (x0 + wide - self.x) / s, (y0 + high - self.y) / s

    def middles(self, start: float, low: int, high: int) -> I64:
        """Canvas columns (from `x`) or rows (from `y`) at the middles of picture pixels low..high-1."""
        at = np.floor(start + (np.arange(low, high) + 0.5) * self.scale)
        return np.asarray(at, np.int64)

    def tags(self, canvas: U8, top: int, bottom: int, left: int, right: int) -> U8:
        """The canvas's tags at the middles of these picture pixels, (bottom - top, right - left)."""
        if self.plain:
            s, x, y = SUPERSAMPLE, int(self.x), int(self.y)
            return canvas[
                y + 1 + s * top : y + 1 + s * bottom : s, x + 1 + s * left : x + 1 + s * right : s, 3
            ]
        rows, columns = self.middles(self.y, top, bottom), self.middles(self.x, left, right)
        return np.asarray(canvas[rows[:, None], columns[None, :], 3], np.uint8)

    def picture(self, canvas: U8, height: int, width: int) -> U8:
        """The canvas (h,w,4) as a picture (height,width,3).

        Without zoom each pixel is the mean of its block; with zoom it is blended between the four canvas pixels around
        its middle, in whole numbers, which at the widest is the same mean.
        """
        if self.plain:
            x, y = int(self.x), int(self.y)
            view = canvas[y : y + SUPERSAMPLE * height, x : x + SUPERSAMPLE * width]
            small = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
        else:
            u, v = self._fine(self.x, width), self._fine(self.y, height)
            whole = np.empty((height, width, 2), np.int16)
            whole[:, :, 0], whole[:, :, 1] = u >> 5, (v >> 5)[:, None]
            part = ((v & 31)[:, None] * 32 + (u & 31)).astype(np.uint16)
            small = cv2.remap(canvas, whole, part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGBA2RGB), np.uint8)

    def _fine(self, start: float, count: int) -> NDArray[np.int32]:
        """Middles in 1/32 canvas pixel, counted from the middle of canvas pixel 0."""
        at = np.rint((start - 0.5 + (np.arange(count) + 0.5) * self.scale) * 32)
        return np.asarray(at, np.int32)


def margin_for(shake: float | None, height: int) -> int:
    """Canvas pixels around the picture that a camera with this shake needs."""
    return MARGIN if shake is None else MARGIN + math.ceil(reach_px(shake, height))


def reach_px(shake: float, height: int) -> float:
    """Canvas pixels that a sway of `shake` picture pixels at ROWS rows means at this height."""
    return shake * height / ROWS * SUPERSAMPLE


class Lens:
    """One camera's sway, zoom, exposure, blur and coding over time; all chance comes from the seed."""

    def __init__(self, config: WorldConfig, margin: int, seed_shake_px: float) -> None:
        self._config = config
        self._margin = margin
        self._shake_px = seed_shake_px
        self._jitter = np.random.default_rng([config.seed, 4])
        rng = np.random.default_rng([config.seed, 8])
        # (axis, wave): drift is two slow waves on each axis
        self._drift_s = rng.uniform((3.0, 1.3), (8.0, 2.6), (2, 2))
        self._drift_at = rng.uniform(0, math.tau, (2, 2))
        self._zoom_s, self._zoom_at = float(rng.uniform(7, 18)), float(rng.uniform(0, math.tau))
        # what stays in place, as a share of width and height: people walk in the lower half
        self._zoom_to = rng.uniform((0.3, 0.5), (0.7, 0.9))
        self._gain_s = rng.uniform((5.0, 1.7), (14.0, 3.4))
        self._gain_at = rng.uniform(0, math.tau, 2)
        self._sigma = config.blur * config.height / ROWS

    @property
    def moves(self) -> bool:
        """Whether the picture sways or zooms more than a tripod in the wind: lights must then move with it."""
        return bool(self._config.shake) or self._config.zoom > 0

    def window(self, time_s: float) -> Window:
        """What the frame at this time shows; to be asked once for every frame, shown or not."""
        config = self._config
        jitter = self._jitter.normal(0, 1, 2)
        if config.shake is None:
            sway = jitter * self._shake_px
        else:
            waves = np.sin(math.tau * time_s / self._drift_s + self._drift_at) @ (0.7, 0.3)
            sway = (waves * (1 - 2 * JITTER) + jitter * JITTER) * reach_px(config.shake, config.height)
        limit = self._margin - 1
        dx, dy = (int(np.clip(round(float(v)), -limit, limit)) for v in sway)
        x, y = self._margin + dx, self._margin + dy
        if config.zoom <= 0:
            return Window(x, y)
        factor = 1 + config.zoom * (0.5 - 0.5 * math.cos(math.tau * time_s / self._zoom_s + self._zoom_at))
        scale = round(SUPERSAMPLE / factor * GRAIN) / GRAIN
        spare = SUPERSAMPLE - scale
        zx, zy = self._zoom_to.tolist()
        left, top = (
            round(v * GRAIN) / GRAIN for v in (zx * config.width * spare, zy * config.height * spare)
        )
        return Window(x + left, y + top, scale)

    def expose(self, picture: U8, time_s: float) -> U8:
        """What lens and shutter make of a picture (H,W,3): blurred, then brighter or darker."""
        if self._sigma > 0:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self._sigma), np.uint8)
        if self._config.exposure > 0:
            wave = float(np.sin(math.tau * time_s / self._gain_s + self._gain_at) @ (0.7, 0.3))
            gain = round((1 + self._config.exposure) ** wave * GRAIN) / GRAIN
            table = np.clip(np.rint(np.arange(256) * gain), 0, 255).astype(np.uint8)
            picture = np.asarray(cv2.LUT(picture, table), np.uint8)
        return picture

    def store(self, picture: U8) -> U8:
        """The picture as it comes back from JPEG coding, or itself if the camera does not compress."""
        quality = self._config.compression
        if quality <= 0:
            return picture
        _, coded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])
