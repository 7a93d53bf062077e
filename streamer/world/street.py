"""A street that draws itself frame by frame and knows the truth of each.

The still background and the props are drawn once. A frame is: the background, soft shadows, then objects and props from
far to near on the canvas (colour and tag in one call), then the mean of each block, glow, rain and noise.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.types import frozen_array
from streamer.world.camera import F64, MARGIN, SUPERSAMPLE
from streamer.world.draw import FIRST_OBJECT, MAX_OBJECTS, SHIFT, Shape, Tint, bounds, fixed, moved, paint
from streamer.world.layout import Layout, plan
from streamer.world.light import Light, light_at
from streamer.world.people import person_shapes, pose
from streamer.world.props import Sprite, make_sprite
from streamer.world.scenery import draw_background
from streamer.world.traffic import Agent, Traffic
from streamer.world.truth import (
    BICYCLE, BUS, CAR, DOG, KEYPOINTS, LABELS, NO_ACTION, PERSON, SEMANTIC_OF_LABEL, Truth, WorldConfig,
)  # fmt: skip
from streamer.world.vehicles import bicycle_shapes, dog_shapes, vehicle_shapes
from streamer.world.weather import Weather

MIN_VISIBLE_PX = 6  # an object showing fewer pixels is not in the truth
_ANGLES = np.linspace(0, math.tau, 11)[:-1]
RING = np.cos(_ANGLES), np.sin(_ANGLES)


class World:
    """One street. Not thread-safe; two worlds of one configuration give the same frames."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.layout: Layout = plan(config)
        self.light: Light = light_at(self.layout.hour, config.weather)
        self.traffic = Traffic(config, self.layout)
        self._frame = 0
        self._shake = np.random.default_rng([config.seed, 4])
        self._weather = Weather(config, self.light, self.layout)
        camera = self.layout.camera
        red, green, blue = self.light.ambient.tolist()
        self._tint: Tint = (red, green, blue)
        self._lamps = [(p.x, p.z) for p in self.layout.props if p.kind == "lamp"]
        background = draw_background(self.layout, self.light, config.weather, config.seed)
        made = (make_sprite(camera, p, self._tint, self.light.lamps) for p in self.layout.props)
        self._sprites: list[Sprite] = sorted((s for s in made if s is not None), key=lambda s: -s.z)
        for prop in self.layout.props:
            wide = {"tree": 1.1, "conifer": 0.8, "cafe": 0.9, "bench": 0.8, "planter": 0.7}.get(prop.kind, 0.25)
            tall = prop.size if prop.kind in ("tree", "conifer", "lamp") else 1.0
            self._cast(background, background, prop.x, prop.z, wide, 0.3, tall)
        self._background = background
        self._canvas = background.copy()

    @property
    def caption(self) -> str:
        """The scene in words, without who is in it."""
        hour = self.layout.hour
        time = "night" if self.light.night else "dawn" if hour < 8 else "dusk" if hour > 17 else "day"
        place = "square" if self.layout.plaza else "street"
        sky = {"clear": "clear sky", "overcast": "overcast sky", "rain": "rain"}[self.config.weather]
        return f"A {self.layout.theme} {place} by {time}, {sky}"

    def step(self) -> tuple[NDArray[np.uint8], Truth]:
        """The next frame: picture uint8 (H,W,3) RGB and its truth. The first call gives time 0."""
        time_s = self._frame / self.config.fps
        if self._frame:
            # Slow cameras still simulate in short steps, so that nothing jumps.
            parts = max(1, math.ceil(10 / self.config.fps))
            for _ in range(parts):
                self.traffic.advance(1 / self.config.fps / parts)
        canvas = self._canvas
        np.copyto(canvas, self._background)
        agents = [a for a in self.traffic.agents() if self._near(a)][:MAX_OBJECTS]
        for agent in agents:
            self._shadow(canvas, agent)
        agents.sort(key=lambda a: (-a.z - (0.01 if a.label == BICYCLE else 0.0), a.id))
        offset = self._offset()
        drawn = self._paint_all(canvas, agents, offset)
        picture, truth = self._develop(canvas, drawn, offset, time_s)
        self._frame += 1
        return picture, truth

    # ------------------------------------------------------------------------------------------------ drawing

    def _near(self, agent: Agent) -> bool:
        return self.layout.camera.depth_of(agent.x, 0.5, agent.z) > 1.0

    def _offset(self) -> tuple[int, int]:
        """Top-left of the picture on the canvas; a shaking camera moves it."""
        sway = self._shake.normal(0, 1, 2) * self.layout.shake_px
        limit = MARGIN - 1
        dx, dy = (int(np.clip(round(float(v)), -limit, limit)) for v in sway)
        return MARGIN + dx, MARGIN + dy

    def _light_on(self, agent: Agent) -> Tint:
        if not self.light.lamps:
            return self._tint
        near = sum(math.exp(-((agent.x - x) ** 2 + (agent.z - z) ** 2) / 14.0) for x, z in self._lamps)
        near = min(near, 1.1)
        red, green, blue = self._tint
        return red + 0.50 * near, green + 0.40 * near, blue + 0.26 * near

    def _cast(
        self, canvas: NDArray[np.uint8], source: NDArray[np.uint8], x: float, z: float, half_x: float, half_z: float, tall: float
    ) -> None:
        """Darken the ground around a footprint and along the sun's way; `source` is the undarkened ground."""
        sx, sz = self.light.sun_xz
        height, width = canvas.shape[:2]
        if self.layout.camera.depth_of(x + sx * tall, 0, z + sz * tall) < 1.0:
            return
        ground = np.zeros((2, 20, 3))  # soft and full shadow; 10 points around the foot, 10 around the shadow of the top
        for level, grow in enumerate((1.25, 0.9)):
            ground[level, :10, 0] = x + half_x * grow * RING[0]
            ground[level, :10, 2] = z + half_z * grow * RING[1]
        ground[:, 10:, 0] = ground[:, :10, 0] + sx * tall * 0.8
        ground[:, 10:, 2] = ground[:, :10, 2] + sz * tall * 0.8
        outlines = fixed(self.layout.camera.project(ground.reshape(40, 3))[0]).reshape(2, 20, 2)
        for outline, strength in zip(outlines, (0.45, 1.0), strict=True):
            hull = cv2.convexHull(outline)
            (x0, y0), (x1, y1) = outline.min(0).tolist(), outline.max(0).tolist()
            x0, y0 = max(x0 >> SHIFT, 0), max(y0 >> SHIFT, 0)
            x1, y1 = min((x1 >> SHIFT) + 2, width), min((y1 >> SHIFT) + 2, height)
            if x1 <= x0 or y1 <= y0:
                return
            mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
            cv2.fillConvexPoly(mask, hull - np.array([x0 << SHIFT, y0 << SHIFT], np.int32), 255, cv2.LINE_8, SHIFT)
            keep = 1 - self.light.shadow * strength
            dark = cv2.multiply(source[y0:y1, x0:x1], (keep, keep, keep, 1.0))
            cv2.copyTo(dark, mask, canvas[y0:y1, x0:x1])

    def _shadow(self, canvas: NDArray[np.uint8], agent: Agent) -> None:
        if agent.label in (CAR, BUS):
            look = agent.look
            self._cast(canvas, self._background, agent.x, agent.z, look.length * 0.55, look.width * 0.62, look.height)
        elif agent.label == PERSON and agent.fallen > 0.3:
            self._cast(canvas, self._background, agent.x, agent.z, 0.8, 0.3, 0.2)
        elif agent.label == PERSON:
            self._cast(canvas, self._background, agent.x, agent.z, 0.26, 0.17, agent.look.height)
        elif agent.label == DOG:
            self._cast(canvas, self._background, agent.x, agent.z, 0.4, 0.14, 0.5)
        else:
            self._cast(canvas, self._background, agent.x, agent.z, 0.8, 0.08, 0.8)

    def _shapes(self, agent: Agent) -> tuple[list[Shape], F64 | None]:
        camera, light = self.layout.camera, self._light_on(agent)
        if agent.label == PERSON:
            joints = pose(agent.action, agent.phase, agent.fallen, agent.action == NO_ACTION)
            return person_shapes(camera, agent.look, joints, agent.x, agent.z, agent.heading, light)
        if agent.label == DOG:
            coat, size = agent.look
            return _only(dog_shapes(camera, coat, size, agent.x, agent.z, agent.heading, agent.phase, agent.speed > 0.2, light))
        if agent.label == BICYCLE:
            return _only(bicycle_shapes(camera, agent.look, agent.x, agent.z, agent.direction, agent.rolled, agent.phase, light))
        return _only(
            vehicle_shapes(camera, agent.look, agent.x, agent.z, agent.direction, agent.rolled, light, self.light.lamps)
        )

    def _paint_all(self, canvas: NDArray[np.uint8], agents: list[Agent], offset: tuple[int, int]) -> list[_Drawn]:
        """Objects and props from far to near; each object's whole area is counted as it is drawn."""
        drawn: list[_Drawn] = []
        sprites = iter(self._sprites)
        sprite = next(sprites, None)
        for agent in agents:
            while sprite is not None and sprite.z >= agent.z:
                sprite.stamp(canvas)
                sprite = next(sprites, None)
            shapes, joints = self._shapes(agent)
            item = _Drawn(agent, shapes, joints, FIRST_OBJECT + len(drawn), offset, self.config)
            if item.in_picture:
                paint(canvas, shapes, item.tag)
                item.count_whole(canvas)
                drawn.append(item)
        while sprite is not None:
            sprite.stamp(canvas)
            sprite = next(sprites, None)
        return drawn

    # ------------------------------------------------------------------------------------------------ the truth

    def _develop(
        self, canvas: NDArray[np.uint8], drawn: list[_Drawn], offset: tuple[int, int], time_s: float
    ) -> tuple[NDArray[np.uint8], Truth]:
        height, width = self.config.height, self.config.width
        ox, oy = offset
        view = canvas[oy : oy + SUPERSAMPLE * height, ox : ox + SUPERSAMPLE * width]
        tags = np.ascontiguousarray(view[1::SUPERSAMPLE, 1::SUPERSAMPLE, 3])
        small = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
        picture = self._weather.develop(cv2.cvtColor(small, cv2.COLOR_RGBA2RGB))

        kept: list[_Drawn] = []
        rows = np.full(256, -1, np.int16)
        classes = np.arange(256, dtype=np.uint8)
        for item in drawn:
            classes[item.tag] = SEMANTIC_OF_LABEL + item.agent.label
            if item.see(tags):
                rows[item.tag] = len(kept)
                kept.append(item)
        n = len(kept)
        keypoints = np.zeros((n, len(KEYPOINTS), 3), np.float32)
        for i, item in enumerate(kept):
            item.mark_joints(tags, keypoints[i])
        truth = Truth(
            frame=self._frame,
            time_s=time_s,
            boxes_xyxy=_frozen([d.box for d in kept], np.float32, (n, 4)),
            full_boxes_xyxy=_frozen([d.full_box for d in kept], np.float32, (n, 4)),
            labels=_frozen([d.agent.label for d in kept], np.int64, (n,)),
            ids=_frozen([d.agent.id for d in kept], np.int64, (n,)),
            visibility=_frozen([d.visibility for d in kept], np.float32, (n,)),
            actions=_frozen([d.agent.action for d in kept], np.int64, (n,)),
            keypoints=frozen_array(keypoints),
            instances=frozen_array(cv2.LUT(tags, rows)),
            semantic=frozen_array(cv2.LUT(tags, classes)),
            caption=self._caption_with(kept),
        )
        return picture, truth

    def _caption_with(self, kept: list[_Drawn]) -> str:
        counts = [sum(d.agent.label == label for d in kept) for label in range(len(LABELS))]
        plural = ("people", "cars", "buses", "bicycles", "dogs")
        parts = [f"{c} {LABELS[i] if c == 1 else plural[i]}" for i, c in enumerate(counts) if c]
        return f"{self.caption}; {', '.join(parts) if parts else 'nobody in sight'}."


class _Drawn:
    """One object in one frame: what was drawn, and what of it is seen."""

    def __init__(
        self, agent: Agent, shapes: list[Shape], joints: F64 | None, tag: int, offset: tuple[int, int], config: WorldConfig
    ) -> None:
        self.agent, self.shapes, self.joints, self.tag, self.offset = agent, shapes, joints, tag, offset
        self.height, self.width = config.height, config.width
        self.span = bounds(shapes)
        x0, y0, x1, y1 = self.span
        ox, oy = offset
        s = SUPERSAMPLE
        self.full_box = ((x0 - ox + 0.5) / s, (y0 - oy + 0.5) / s, (x1 - ox + 0.5) / s, (y1 - oy + 0.5) / s)
        # Picture pixels that the object can touch, clipped to the picture.
        self.left, self.top = max(0, math.floor(self.full_box[0]) - 1), max(0, math.floor(self.full_box[1]) - 1)
        self.right = min(config.width, math.ceil(self.full_box[2]) + 1)
        self.bottom = min(config.height, math.ceil(self.full_box[3]) + 1)
        self.in_picture = self.left < self.right and self.top < self.bottom
        self.whole = 0
        self.box = (0.0, 0.0, 0.0, 0.0)
        self.visibility = 0.0

    def count_whole(self, canvas: NDArray[np.uint8]) -> None:
        """Count the object's pixels before anything nearer hides them, and those beyond the picture's edge."""
        s, (ox, oy) = SUPERSAMPLE, self.offset
        rows = slice(oy + 1 + s * self.top, oy + 1 + s * self.bottom, s)
        cols = slice(ox + 1 + s * self.left, ox + 1 + s * self.right, s)
        x0, y0, x1, y1 = self.full_box
        if x0 >= 0 and y0 >= 0 and x1 <= self.width and y1 <= self.height:
            self.whole = int(np.count_nonzero(canvas[rows, cols, 3] == self.tag))
            return
        # It reaches beyond the picture: draw it alone on the same pixel grid, whole.
        left, top = math.floor(x0) - 1, math.floor(y0) - 1
        wide, high = math.ceil(x1) + 1 - left, math.ceil(y1) + 1 - top
        wide, high = min(wide, 4 * self.width), min(high, 4 * self.height)
        alone = np.zeros((high * s, wide * s, 4), np.uint8)
        paint(alone, moved(self.shapes, -(ox + s * left), -(oy + s * top)), self.tag)
        self.whole = int(np.count_nonzero(alone[1::s, 1::s, 3]))

    def see(self, tags: NDArray[np.uint8]) -> bool:
        """Take box and visibility from the finished picture's tags; False if too little is seen."""
        mask = cv2.compare(tags[self.top : self.bottom, self.left : self.right], float(self.tag), cv2.CMP_EQ)
        seen = cv2.countNonZero(mask)
        if seen < MIN_VISIBLE_PX:
            return False
        x, y, wide, high = cv2.boundingRect(mask)
        x0, y0 = self.left + x, self.top + y
        x1, y1 = x0 + wide, y0 + high
        self.box = (float(x0), float(y0), float(x1), float(y1))
        f = self.full_box
        self.full_box = (min(f[0], x0), min(f[1], y0), max(f[2], x1), max(f[3], y1))
        self.visibility = min(1.0, seen / max(self.whole, seen))
        return True

    def mark_joints(self, tags: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Key points (K,3) in picture pixels; seen where the picture shows this very object."""
        if self.joints is None:
            return
        ox, oy = self.offset
        xy = (self.joints[: len(out)] - (ox, oy) + 0.5) / SUPERSAMPLE
        out[:, :2] = np.rint(xy * 16) / 16
        inside = (xy[:, 0] >= 0) & (xy[:, 1] >= 0) & (xy[:, 0] < self.width) & (xy[:, 1] < self.height)
        for i in np.flatnonzero(inside).tolist():
            out[i, 2] = 2 if tags[int(xy[i, 1]), int(xy[i, 0])] == self.tag else 1


def _only(shapes: list[Shape]) -> tuple[list[Shape], F64 | None]:
    return shapes, None


def _frozen(values: list[object], dtype: type, shape: tuple[int, ...]) -> NDArray[np.generic]:
    return frozen_array(np.array(values, dtype).reshape(shape))
