"""What lies between the street and the picture: glow around lamps, rain and snow, the sensor's noise."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.camera import SUPERSAMPLE
from streamer.world.layout import Layout
from streamer.world.lens import Lens
from streamer.world.light import Light
from streamer.world.truth import WorldConfig

U8 = NDArray[np.uint8]
RAIN_TILES = 6
NOISE_SLACK_PX = 64  # a noise tile is this much larger than the picture, and is laid at a random offset
# Snow in three depths: radius, picture heights fallen in a second, share of brightness, pixels per flake at 144 rows
FLAKES = ((0.5, 0.22, 0.55, 240), (0.9, 0.4, 0.8, 520), (1.3, 0.75, 1.0, 2200))


class Weather:
    """Develops the clean picture; owns its own generator, so drawing more objects never changes the noise."""

    def __init__(self, config: WorldConfig, light: Light, layout: Layout, lens: Lens) -> None:
        self._rng = np.random.default_rng([config.seed, 5])
        self._size = config.height, config.width
        self._lens = lens
        sigma = config.noise
        if sigma is None:
            sigma = float(self._rng.uniform(1.0, 3.5)) * (1.7 if light.night else 1.0)
        self._plus, self._minus = self._noise(sigma)
        self._rain = (
            [self._streaks(config, layout) for _ in range(RAIN_TILES)] if config.weather == "rain" else []
        )
        self._snow = self._flakes(config, light) if config.weather == "snow" else []
        self._glow: U8 | None = None
        self._glow_canvas: U8 | None = None
        if light.lamps and lens.moves:
            self._glow_canvas = self._halo(layout, layout.camera.canvas_hw, 0.0, 1, config.weather)
        elif light.lamps:
            margin = float(layout.camera.margin)
            self._glow = self._halo(layout, self._size, margin, SUPERSAMPLE, config.weather)

    def glow(self, canvas: U8) -> None:
        """Add the lamps' glow to the canvas of a camera that moves, in place."""
        if self._glow_canvas is not None:
            cv2.add(canvas, self._glow_canvas, dst=canvas)

    def develop(self, picture: U8, time_s: float) -> U8:
        """A clean picture (H,W,3) with glow, what falls, the lens's faults, noise and coding; may write into it."""
        h, w = self._size
        sheet, y, x = self._chance()
        if self._glow is not None:
            cv2.add(picture, self._glow, dst=picture)
        if self._rain:
            cv2.add(picture, self._rain[sheet], dst=picture)
        for tile, fall, sway, at in self._snow:
            top = h - 1 - int(fall * time_s * h) % h
            left = int((0.5 + 0.5 * math.sin(at + time_s * 0.7)) * sway * h) % w
            cv2.add(picture, tile[top : top + h, left : left + w], dst=picture)
        picture = self._lens.expose(picture, time_s)
        if self._plus is not None and self._minus is not None:
            cv2.add(picture, self._plus[y : y + h, x : x + w], dst=picture)
            cv2.subtract(picture, self._minus[y : y + h, x : x + w], dst=picture)
        return self._lens.store(picture)

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

    def _noise(self, sigma: float) -> tuple[U8 | None, U8 | None]:
        if sigma <= 0:
            return None, None
        h, w = self._size
        field = self._rng.standard_normal((h + NOISE_SLACK_PX, w + NOISE_SLACK_PX, 3), dtype=np.float32)
        grains = np.rint(field * sigma).astype(np.int16)
        return np.clip(grains, 0, 255).astype(np.uint8), np.clip(-grains, 0, 255).astype(np.uint8)

    def _streaks(self, config: WorldConfig, layout: Layout) -> U8:
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

    def _flakes(self, config: WorldConfig, light: Light) -> list[tuple[U8, float, float, float]]:
        """For each depth: flakes (2h,2w,3) to be added, which wrap; their fall, sway and the sway's phase."""
        h, w = self._size
        rng = np.random.default_rng([config.seed, 10])
        scale, bright = h / 144, 60 + 130 * float(np.clip(light.ambient.mean(), 0, 1))
        out: list[tuple[U8, float, float, float]] = []
        for radius, fall, share, spacing in FLAKES:
            tile = np.zeros((h, w, 3), np.uint8)
            for _ in range(int(h * w / (spacing * scale * scale))):
                x, y, size = (float(v) for v in rng.uniform((0, 0, 0.7), (w, h, 1.3)))
                grey = int(bright * share * rng.uniform(0.6, 1.0))
                at, r = (round(x * 16), round(y * 16)), max(8, round(radius * scale * size * 16))
                cv2.circle(tile, at, r, (grey, grey, grey), -1, cv2.LINE_AA, 4)
            speed = fall * float(rng.uniform(0.8, 1.2))
            out.append((np.tile(tile, (2, 2, 1)), speed, 0.3 * fall, float(rng.uniform(0, math.tau))))
        return out

    def _halo(self, layout: Layout, hw: tuple[int, int], corner: float, block: int, weather: str) -> U8:
        """Glow of the street's lamps over a sheet `hw` that starts at canvas pixel `corner`, `block` of them a pixel.

        RGB for a picture; with an empty fourth plane for the canvas itself (`block` 1), whose tags must stay.
        """
        h, w = hw
        ys, xs = np.mgrid[0:h, 0:w].astype(np.float32)
        total = np.zeros((h, w), np.float32)
        spread = {"fog": 1.9, "snow": 1.3}.get(weather, 1.0)  # drops and flakes in the air catch the light
        for prop in layout.props:
            if prop.kind != "lamp" or layout.camera.depth_of(prop.x, prop.size, prop.z) < 1.5:
                continue
            px, depth = layout.camera.project(np.array([(prop.x, prop.size, prop.z)]))
            u, v = ((px[0] - corner + 0.5) / block).tolist()
            radius = 1.1 * spread * layout.camera.focal_px / block / float(depth[0])
            if (
                -3 * radius < u < w + 3 * radius
                and -3 * radius < v < h + 3 * radius
                and math.isfinite(radius)
            ):
                total += np.exp(-np.sqrt((xs - u) ** 2 + (ys - v) ** 2) / (0.62 * radius))
        halo = np.minimum(total, 1)[..., None] * np.array((150, 118, 66), np.float32)
        sheet = np.asarray(np.rint(halo), np.uint8)
        return sheet if block > 1 else np.dstack([sheet, np.zeros((h, w), np.uint8)])
