"""Air that hides what is far: every surface fades to the colour of the air by its distance, as 1 - exp(-d / reach).

Still things are faded once when they are drawn; what moves is faded by its depth as its colours are laid down.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.draw import Veil
from streamer.world.light import Light
from streamer.world.truth import VEGETATION

F32 = NDArray[np.float32]
REACH_M = {"fog": (12.0, 30.0), "snow": (70.0, 140.0)}  # metres at which 63 % is hidden, from and to
SKY_M = 400.0


class Fog:
    """The air of one street. `reach_m` None: clear air, and nothing here changes a pixel."""

    def __init__(self, weather: str, light: Light, seed: int) -> None:
        self.reach_m: float | None = None
        if weather in REACH_M:
            self.reach_m = float(np.random.default_rng([seed, 9]).uniform(*REACH_M[weather]))
        self.rgb = light.horizon * 0.8 + light.zenith * 0.2
        if light.lamps:  # a town's own light hangs in its fog
            self.rgb = self.rgb + np.array((17.0, 13.0, 8.0))

    def share(self, depth_m: float) -> float:
        """How much of a thing at this distance the air hides, 0..1."""
        return 0.0 if self.reach_m is None else 1 - math.exp(-depth_m / self.reach_m)

    def veil(self, depth_m: float) -> Veil | None:
        """What `paint` needs to fade a thing at this distance; None in clear air."""
        if self.reach_m is None:
            return None
        share = self.share(depth_m)
        red, green, blue = (float(c) * share for c in self.rgb)
        return 1 - share, red, green, blue

    def fade(self, colour: F32, depth_m: NDArray[np.float64], where: NDArray[np.bool_] | None = None) -> None:
        """Fade the pixels (h,w,3) at depths `depth_m` (h,w) in place; only those set in `where` (h,w), if given."""
        if self.reach_m is None:
            return
        if where is None:
            colour += (1 - np.exp(-depth_m / self.reach_m))[..., None] * (self.rgb - colour)
        else:
            share = (1 - np.exp(-depth_m[where] / self.reach_m))[:, None]
            colour[where] += share * (self.rgb - colour[where])

    def fade_sprite(self, pixels: NDArray[np.uint8], depth_m: float) -> None:
        """Fade a cut-out (h,w,4) in place; its tags stay."""
        veil = self.veil(depth_m)
        if veil is not None:
            keep, *add = veil
            np.copyto(pixels, cv2.add(cv2.multiply(pixels, (keep, keep, keep, 1.0)), (*np.rint(add), 0.0)))


def snow_on(
    pixels: NDArray[np.uint8], mask: NDArray[np.uint8], white: NDArray[np.float64], depth_px: int
) -> None:
    """Lay snow on a cut-out (h,w,4) of `mask` (h,w), in place: caps `depth_px` thick, and on a plant's bright side.

    `white` (3,) is the colour of snow in this light.
    """
    thick = max(1, depth_px)
    above = np.zeros_like(mask)
    if mask.shape[0] > thick:
        above[thick:] = mask[:-thick]
    cap = (mask > 0) & (above == 0)
    grey = pixels[:, :, :3].max(axis=2).astype(np.float64)
    inside = mask > 0
    low, high = np.percentile(grey[inside], (35, 95))
    cover = np.clip((grey - low) / max(high - low, 1.0), 0, 1) * 0.6 * (pixels[:, :, 3] == VEGETATION)
    cover[cap] = 0.9
    cover[~inside] = 0
    colour = pixels[:, :, :3]
    pixels[:, :, :3] = np.rint(colour + cover[..., None] * (white - colour)).astype(np.uint8)
