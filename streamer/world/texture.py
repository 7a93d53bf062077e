"""Noise and textures, sampled so that every processor gives the same pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.camera import F64


def sample(texture: NDArray[np.uint8], u: F64, v: F64) -> NDArray[np.uint8]:
    """The texture at column u, row v (which wrap around), blended between texels.

    Whole numbers throughout, with places rounded to 1/32 texel: every processor gives the same pixels, which float
    kernels, compiled with or without fused multiply-add, do not.
    """
    fine_u, fine_v = np.rint(u * 32).astype(np.int32), np.rint(v * 32).astype(np.int32)
    whole = np.stack([fine_u >> 5, fine_v >> 5], axis=-1).astype(np.int16)
    part = ((fine_v & 31) * 32 + (fine_u & 31)).astype(np.uint16)
    return np.asarray(cv2.remap(texture, whole, part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.uint8)


class Cloth:
    """Tileable noise of about -1..1, several octaves; 256 texels a side."""

    SIZE, UNIT = 256, 40  # one grey level of the stored picture is 1/UNIT

    def __init__(self, rng: np.random.Generator) -> None:
        size = self.SIZE
        total = np.zeros((size, size))
        for octave, weight in ((8, 0.5), (32, 0.3), (128, 0.25), (256, 0.3)):
            seedling = rng.standard_normal((octave, octave)).astype(np.float32).astype(np.float64)
            at = (np.arange(size) + 0.5) * octave / size - 0.5
            low, part = np.floor(at).astype(int), at - np.floor(at)
            rows = seedling[low % octave] * (1 - part)[:, None] + seedling[(low + 1) % octave] * part[:, None]
            total += weight * (rows[:, low % octave] * (1 - part) + rows[:, (low + 1) % octave] * part)
        self._fine = self._stored(total)
        kernel = np.exp(-0.5 * (np.arange(-9, 10) / 3.0) ** 2)
        for axis in (0, 1):
            total = sum(k * np.roll(total, i - 9, axis) for i, k in enumerate(kernel / kernel.sum()))
        self._soft = self._stored(total)

    def _stored(self, noise: F64) -> NDArray[np.uint8]:
        return np.clip(np.rint(noise * self.UNIT + 128), 0, 255).astype(np.uint8)

    def at(self, u: F64, v: F64, *, soft: bool = False) -> F64:
        """The noise at texel coordinates (u, v), which wrap around."""
        grey = sample(self._soft if soft else self._fine, u % self.SIZE, v % self.SIZE)
        return (grey.astype(np.float64) - 128) / self.UNIT

    def tile(self, height: int, width: int) -> F64:
        """A piece (height, width) at one texel a pixel."""
        grey = np.tile(self._fine, (height // self.SIZE + 1, width // self.SIZE + 1))[:height, :width]
        return (grey.astype(np.float64) - 128) / self.UNIT
