"""What lies between the street and the picture: glow around lamps, rain, the sensor's noise."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.camera import MARGIN, SUPERSAMPLE
from streamer.world.layout import Layout
from streamer.world.light import Light
from streamer.world.truth import WorldConfig

RAIN_TILES = 6
NOISE_SLACK_PX = 64  # a noise tile is this much larger than the picture, and is laid at a random offset


class Weather:
    """Develops the clean picture; owns its own generator, so drawing more objects never changes the noise."""

    def __init__(self, config: WorldConfig, light: Light, layout: Layout) -> None:
        self._rng = np.random.default_rng([config.seed, 5])
        self._size = config.height, config.width
        sigma = config.noise
        if sigma is None:
            sigma = float(self._rng.uniform(1.0, 3.5)) * (1.7 if light.night else 1.0)
        self._plus, self._minus = self._noise(sigma)
        self._rain = (
            [self._streaks(config, layout) for _ in range(RAIN_TILES)] if config.weather == "rain" else []
        )
        self._glow = self._halo(config, layout) if light.lamps else None

    def develop(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Add glow, rain and noise to a clean picture (H,W,3), in place; returns it."""
        h, w = self._size
        sheet, y, x = self._chance()
        if self._glow is not None:
            cv2.add(picture, self._glow, dst=picture)
        if self._rain:
            cv2.add(picture, self._rain[sheet], dst=picture)
        if self._plus is not None and self._minus is not None:
            cv2.add(picture, self._plus[y : y + h, x : x + w], dst=picture)
            cv2.subtract(picture, self._minus[y : y + h, x : x + w], dst=picture)
        return picture

    def skip(self) -> None:
        """Let one frame pass: the next gets the rain and the noise it would have had anyway."""
        self._chance()

    def _chance(self) -> tuple[int, int, int]:
        """This frame's rain sheet, and the row and column of its noise."""
        sheet = int(self._rng.integers(RAIN_TILES)) if self._rain else 0
        y, x = (
            (int(v) for v in self._rng.integers(0, NOISE_SLACK_PX, 2)) if self._plus is not None else (0, 0)
        )
        return sheet, y, x

    def _noise(self, sigma: float) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
        if sigma <= 0:
            return None, None
        h, w = self._size
        field = self._rng.standard_normal((h + NOISE_SLACK_PX, w + NOISE_SLACK_PX, 3), dtype=np.float32)
        grains = np.rint(field * sigma).astype(np.int16)
        return np.clip(grains, 0, 255).astype(np.uint8), np.clip(-grains, 0, 255).astype(np.uint8)

    def _streaks(self, config: WorldConfig, layout: Layout) -> NDArray[np.uint8]:
        h, w = self._size
        sheet = np.zeros((h, w, 3), np.uint8)
        slant = float(np.random.default_rng([config.seed, 6]).uniform(-0.25, 0.25))
        for _ in range(h * w // 260):
            x, y, length = (float(v) for v in self._rng.uniform((-8, -8, 0.03 * h), (w + 8, h, 0.11 * h)))
            grey = int(self._rng.integers(14, 46))
            end = (round((x + slant * length) * 16), round((y + length) * 16))
            cv2.line(
                sheet,
                (round(x * 16), round(y * 16)),
                end,
                (grey, grey, grey),
                max(1, h // 360),
                cv2.LINE_AA,
                4,
            )
        return sheet

    def _halo(self, config: WorldConfig, layout: Layout) -> NDArray[np.uint8]:
        h, w = self._size
        ys, xs = np.mgrid[0:h, 0:w].astype(np.float32)
        total = np.zeros((h, w), np.float32)
        for prop in layout.props:
            if prop.kind != "lamp" or layout.camera.depth_of(prop.x, prop.size, prop.z) < 1.5:
                continue
            px, depth = layout.camera.project(np.array([(prop.x, prop.size, prop.z)]))
            u, v = ((px[0] - MARGIN + 0.5) / SUPERSAMPLE).tolist()
            radius = 1.1 * layout.camera.focal_px / SUPERSAMPLE / float(depth[0])
            if (
                -3 * radius < u < w + 3 * radius
                and -3 * radius < v < h + 3 * radius
                and math.isfinite(radius)
            ):
                total += np.exp(-np.sqrt((xs - u) ** 2 + (ys - v) ** 2) / (0.62 * radius))
        halo = np.minimum(total, 1)[..., None] * np.array((150, 118, 66), np.float32)
        return np.asarray(np.rint(halo), np.uint8)
