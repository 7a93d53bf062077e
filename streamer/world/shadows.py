"""Shadows on the ground: around a footprint and drawn out along the sun's way, a soft rim and a full core."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.agents import Agent
from streamer.world.camera import Camera
from streamer.world.draw import I32, SHIFT, fixed
from streamer.world.layout import Prop
from streamer.world.light import Light
from streamer.world.poses import FALLEN
from streamer.world.truth import BUS, CAR, DOG, PERSON

LEVELS = ((1.25, 0.45), (0.9, 1.0))  # how wide a level is, and its share of the full darkness
_ANGLES = np.linspace(0, math.tau, 11)[:-1]
_RING = np.cos(_ANGLES), np.sin(_ANGLES)

Footprint = tuple[float, float, float, float, float]  # x, z, half length along x and z, height; metres


def prop_footprint(prop: Prop) -> Footprint:
    """What a thing that stands still covers of the ground."""
    widths = {
        "tree": 1.1,
        "conifer": 0.8,
        "cafe": 0.9,
        "bench": 0.8,
        "planter": 0.7,
        "kiosk": 0.9,
        "cone": 0.16,
    }
    tall = prop.size if prop.kind in ("tree", "conifer", "lamp") else 1.0
    return prop.x, prop.z, widths.get(prop.kind, 0.25), 0.3, tall


def footprint(agent: Agent) -> Footprint:
    """What somebody or something that moves covers of the ground."""
    if agent.label in (CAR, BUS):
        look = agent.look
        return agent.x, agent.z, look.length * 0.55, look.width * 0.62, look.height
    if agent.label == PERSON and agent.motion in FALLEN and agent.down > 0.3:
        return agent.x, agent.z, 0.8, 0.3, 0.2
    if agent.label == PERSON:
        return agent.x, agent.z, 0.26, 0.17, agent.look.height
    if agent.label == DOG:
        return agent.x, agent.z, 0.4, 0.14, 0.5
    return agent.x, agent.z, 0.8, 0.08, 0.8


class Shadows:
    """The shadows that one light throws in one camera's picture."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self._camera = camera
        self._light = light

    def darker(self, ground: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
        """The ground (h,w,4) in the soft rim (level 0) or in the full shadow (1)."""
        keep = 1 - self._light.shadow * LEVELS[level][1]
        return np.asarray(cv2.multiply(ground, (keep, keep, keep, 1.0)), np.uint8)

    def masks(self, footprints: Sequence[Footprint]) -> Iterator[tuple[slice, slice, NDArray[np.uint8], int]]:
        """Rows and columns of the canvas, the mask to darken there, and its level; footprint by footprint."""
        if not footprints:
            return
        sx, sz = self._light.sun_xz
        camera = self._camera
        height, width = camera.canvas_hw
        x, z, half_x, half_z, tall = (column[:, None] for column in np.array(footprints).T)
        # Ten points around the foot, ten around the shadow of the top; all objects in one projection.
        ground = np.zeros((len(footprints), len(LEVELS), 20, 3))
        for level, (grow, _) in enumerate(LEVELS):
            ground[:, level, :10, 0] = x + half_x * grow * _RING[0]
            ground[:, level, :10, 2] = z + half_z * grow * _RING[1]
        ground[:, :, 10:, 0] = ground[:, :, :10, 0] + (sx * tall * 0.8)[:, None]
        ground[:, :, 10:, 2] = ground[:, :, :10, 2] + (sz * tall * 0.8)[:, None]
        edges = fixed(camera.project(ground.reshape(-1, 3))[0]).reshape(-1, len(LEVELS), 20, 2)
        corners = np.concatenate([edges.min(2) >> SHIFT, (edges.max(2) >> SHIFT) + 2], axis=2).tolist()
        for index, (px, pz, _, _, high) in enumerate(footprints):
            if camera.depth_of(px + sx * high, 0, pz + sz * high) < 1.0:
                continue
            for level, (left, top, right, bottom) in enumerate(corners[index]):
                x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
                if x1 <= x0 or y1 <= y0:
                    break
                yield slice(y0, y1), slice(x0, x1), _filled(edges[index, level], x0, y0, x1, y1), level


def _filled(edge: I32, x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    hull = cv2.convexHull(edge) - np.array([x0 << SHIFT, y0 << SHIFT], np.int32)
    cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_8, SHIFT)
    return mask
