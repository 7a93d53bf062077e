"""Cars at night: beams on the ground before them, and the glow around their lamps.

A beam is a mask under which the ground's brighter copy shows, as a shadow is one for the darker copy. The glow is
added to the canvas when its vehicle has been drawn, so that what is nearer hides it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.world.agents import Agent
from streamer.world.camera import Camera
from streamer.world.draw import SHIFT, fixed
from streamer.world.truth import BICYCLE, BUS, CAR

U8 = NDArray[np.uint8]
# length, half width at the far end in metres; gain and grey levels added
BEAMS = (
    (8.6, 1.8, 1.13, (14.0, 13.0, 9.0)),
    (6.6, 1.35, 1.26, (30.0, 27.0, 19.0)),
    (4.6, 0.95, 1.4, (52.0, 46.0, 33.0)),
)
_LENGTHS, _SPREADS = (np.array([beam[i] for beam in BEAMS]) for i in (0, 1))
_ALONG = np.array((0.0, 0.8, 1.0, 0.8, 0.0))
_ACROSS = np.array((-1.0, -1.0, 0.0, 1.0, 1.0))
HEAD, TAIL = (150, 140, 108), (104, 16, 10)
MAX_GLOW_PX = 160


class Headlights:
    """The lights of vehicles in one camera's picture; `ground` is the canvas (h,w,4) of what stands still."""

    def __init__(self, camera: Camera, ground: U8) -> None:
        self._camera = camera
        self.bright = [
            np.asarray(cv2.add(cv2.multiply(ground, (gain, gain, gain, 1.0)), (*add, 0.0)), np.uint8)
            for _, _, gain, add in BEAMS
        ]
        self._glows: dict[tuple[int, bool], U8] = {}

    def beams(self, agents: list[Agent]) -> Iterator[tuple[slice, slice, U8, int]]:
        """Rows and columns of the canvas, the mask that is lit there, and which of `bright` lights it."""
        driving = [agent for agent in agents if _drives(agent)]
        if not driving:
            return
        height, width = self._camera.canvas_hw
        fronts = [_front(agent) for agent in driving]
        way = np.array([float(a.direction) for a in driving])[:, None, None]
        nose = np.array([(a.x + a.direction * f[0], a.z) for a, f in zip(driving, fronts, strict=True)])
        half, weak = (np.array([f[i] for f in fronts])[:, None, None] for i in (1, 2))
        # (N, levels, corners): from one lamp out to the tip of the beam and back to the other lamp
        ground = np.zeros((len(driving), len(BEAMS), len(_ALONG), 3))
        ground[..., 0] = nose[:, 0, None, None] + way * weak * _LENGTHS[:, None] * _ALONG
        ground[..., 2] = nose[:, 1, None, None] + np.where(
            _ALONG == 0, half * _ACROSS, weak * _SPREADS[:, None] * _ACROSS
        )
        px, depth = self._camera.project(ground.reshape(-1, 3))
        points = fixed(px).reshape(len(driving), len(BEAMS), -1, 2)
        before = depth.reshape(len(driving), -1).min(axis=1) > 1.0
        corners = np.concatenate([points.min(2) >> SHIFT, (points.max(2) >> SHIFT) + 2], axis=2)
        for index in np.flatnonzero(before).tolist():
            for level, (left, top, right, bottom) in enumerate(corners[index].tolist()):
                x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
                if x1 <= x0 or y1 <= y0:
                    break
                mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
                shifted = points[index, level] - np.array([x0 << SHIFT, y0 << SHIFT], np.int32)
                cv2.fillConvexPoly(mask, shifted, 255, cv2.LINE_8, SHIFT)
                yield slice(y0, y1), slice(x0, x1), mask, level

    def glow(self, canvas: U8, agent: Agent) -> None:
        """Add the glow of this vehicle's lamps to the canvas; its tags stay."""
        if not _drives(agent):
            return
        camera = self._camera
        nose, half, weak = _front(agent)
        up = 0.68 if agent.label != BICYCLE else 0.8
        ends = [(1, nose + 0.1, HEAD), (-1, nose, TAIL)]
        places = [
            (agent.x + agent.direction * end * at, up, agent.z + side * half * 0.9, colour is HEAD)
            for end, at, colour in ends
            for side in ((-1,) if agent.label == BICYCLE else (1, -1))
        ]
        px, depth = camera.project(np.array([place[:3] for place in places]))
        for (x, _, z, head), (u, v), far in zip(places, px.tolist(), depth.tolist(), strict=True):
            # A lamp seen from behind is hidden by its own vehicle; from the side half of its light is seen.
            along = (camera.x - x) * agent.direction * (1 if head else -1)
            faces = along / math.hypot(camera.x - x, camera.z - z)
            if faces < -0.75 or far < 1.2:
                continue
            size = (0.75 if head else 0.42) * weak * (0.7 + 0.5 * max(faces, 0.0))
            self._add(canvas, round(u), round(v), round(size * camera.focal_px / far), head)

    def _add(self, canvas: U8, x: int, y: int, radius: int, head: bool) -> None:
        radius = min(max(radius, 2), MAX_GLOW_PX)
        sheet = self._glows.get((radius, head))
        if sheet is None:
            sheet = self._glows[radius, head] = _glow(radius, HEAD if head else TAIL)
        height, width = canvas.shape[:2]
        x0, y0, x1, y1 = (
            max(x - radius, 0),
            max(y - radius, 0),
            min(x + radius + 1, width),
            min(y + radius + 1, height),
        )
        if x1 <= x0 or y1 <= y0:
            return
        place = canvas[y0:y1, x0:x1]
        left, top = x0 - x + radius, y0 - y + radius
        cv2.add(place, sheet[top : top + y1 - y0, left : left + x1 - x0], dst=place)


def _drives(agent: Agent) -> bool:
    return agent.label in (CAR, BUS, BICYCLE) and not agent.parked


def _front(agent: Agent) -> tuple[float, float, float]:
    """Metres from the middle to the nose, half the lamps' spacing, and how strong the lamps are."""
    if agent.label == BICYCLE:
        return 0.7, 0.12, 0.55
    return agent.look.length / 2, agent.look.width * 0.4, 1.0


def _glow(radius: int, rgb: tuple[int, int, int]) -> U8:
    ys, xs = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    far = np.sqrt(xs * xs + ys * ys) / radius
    fall = np.maximum((np.exp(-3.6 * far) - math.exp(-3.6)) / (1 - math.exp(-3.6)), 0)
    sheet = np.zeros((*far.shape, 4), np.uint8)
    sheet[:, :, :3] = np.rint(fall[..., None] * np.array(rgb)).astype(np.uint8)
    return sheet
