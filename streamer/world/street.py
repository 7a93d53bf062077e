"""A street that draws itself frame by frame and knows the truth of each.

The still background and the props are drawn once. A frame is: the background, soft shadows, then objects and props from
far to near on the canvas (colour and tag in one call), then the mean of each block, glow, rain and noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.types import frozen_array
from streamer.world.agents import Agent
from streamer.world.bicycles import bicycle_shapes
from streamer.world.camera import F64
from streamer.world.dogs import dog_shapes
from streamer.world.draw import FIRST_OBJECT, MAX_OBJECTS, Shape, Tint, paint
from streamer.world.drawn import Drawn
from streamer.world.events import Box, events_in, forbidden_in, gates_in, gates_of
from streamer.world.fog import Fog, snow_on
from streamer.world.happenings import Bag, Happenings
from streamer.world.headlights import Headlights
from streamer.world.layout import Layout, Prop, plan
from streamer.world.lens import Lens, Window
from streamer.world.light import Light, light_at
from streamer.world.pairs import clean_config
from streamer.world.people import person_shapes
from streamer.world.poses import pose
from streamer.world.props import Sprite, make_sprite
from streamer.world.scenery import SNOW, draw_background
from streamer.world.shadows import Shadows, footprint, prop_footprint
from streamer.world.staging import STAGED, furnish, staged_shapes, zone_shapes
from streamer.world.traffic import Traffic
from streamer.world.truth import (
    BICYCLE,
    DOG,
    KEYPOINTS,
    LABELS,
    MARKING,
    PERSON,
    SEMANTIC_OF_LABEL,
    Truth,
    WorldConfig,
)  # fmt: skip
from streamer.world.vehicles import vehicle_shapes
from streamer.world.weather import Weather

LOW_EYE_M, HIGH_EYE_M = 2.0, 7.0  # below and above these the caption says from where the street is seen


class World:
    """One street. Not thread-safe; two worlds of one configuration give the same frames."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.layout: Layout = furnish(config, plan(config))
        self.light: Light = light_at(self.layout.hour, config.weather)
        self.traffic = Traffic(config, self.layout)
        self.happenings = Happenings(config, self.layout, self.traffic)
        self._gates = gates_of(self.layout, self.traffic)
        self._frame = 0
        self._twin: World | None = None
        camera = self.layout.camera
        self._lens = Lens(config, camera.margin, self.layout.shake_px)
        self._weather = Weather(config, self.light, self.layout, self._lens)
        self._fog = Fog(config.weather, self.light, config.seed)
        red, green, blue = self.light.ambient.tolist()
        self._tint: Tint = (red, green, blue)
        self._lamps = [(p.x, p.z) for p in self.layout.props if p.kind == "lamp"]
        background = draw_background(self.layout, self.light, config.weather, config.seed, self._fog)
        zone = self.layout.forbidden
        if zone is not None:
            far_m = camera.depth_of((zone.x0 + zone.x1) / 2, 0, zone.z0)
            paint(background, zone_shapes(camera, zone, self._tint), MARKING, self._fog.veil(far_m))
        self._bags: list[tuple[Bag, Sprite]] = []
        made = ((self._sprite(p), p) for p in self.layout.props)
        sprites = [(sprite, prop) for sprite, prop in made if sprite is not None]
        for sprite, prop in sprites:
            self._weather_sprite(sprite, camera.depth_of(prop.x, 0.5, prop.z))
        self._sprites: list[Sprite] = sorted((s for s, _ in sprites), key=lambda s: -s.z)
        shadows = self._shadows = Shadows(camera, self.light)
        for rows, cols, mask, level in shadows.masks(
            [prop_footprint(p) for p in self.layout.props if p.kind != "door"]
        ):
            ground = background[rows, cols]
            cv2.copyTo(shadows.darker(ground, level), mask, ground)
        self._background = background
        self._dark = shadows.darker(background, 0), shadows.darker(background, 1)
        self._headlights = Headlights(camera, background) if self.light.lamps else None
        self._canvas = background.copy()

    @property
    def caption(self) -> str:
        """The scene in words, without who is in it: the houses, the light, the weather, from where it is seen."""
        hour, eye = self.layout.hour, self.layout.camera.y
        time = "night" if self.light.night else "dawn" if hour < 8 else "dusk" if hour > 17 else "day"
        time += " under lamps" if self.light.lamps else ""
        seen = (
            ", seen from high up" if eye > HIGH_EYE_M else ", seen from low down" if eye < LOW_EYE_M else ""
        )
        place = "square" if self.layout.plaza else "street"
        sky = {"clear": "clear sky", "overcast": "overcast sky"}.get(self.config.weather, self.config.weather)
        return f"A {self.layout.theme} {place} by {time}, {sky}{seen}"

    def step(self) -> tuple[NDArray[np.uint8], Truth]:
        """The next frame: picture uint8 (H,W,3) RGB and its truth. The first call gives time 0."""
        time_s = self._frame / self.config.fps
        self._advance()
        canvas = self._canvas
        np.copyto(canvas, self._background)
        agents = [a for a in self.traffic.agents() if self._near(a)][:MAX_OBJECTS]
        feet = [footprint(a) for a in agents] + [(b.x, b.z, 0.26, 0.16, 0.3) for b in self.happenings.bags]
        for rows, cols, mask, level in self._shadows.masks(feet):
            cv2.copyTo(self._dark[level][rows, cols], mask, canvas[rows, cols])
        if self._headlights is not None:
            for rows, cols, mask, level in self._headlights.beams(agents):
                cv2.copyTo(self._headlights.bright[level][rows, cols], mask, canvas[rows, cols])
        agents.sort(key=lambda a: (-a.z - (0.01 if a.label == BICYCLE else 0.0), a.id))
        window = self._lens.window(time_s)
        drawn = self._paint_all(canvas, agents, window)
        self._weather.glow(canvas)
        picture, truth = self._develop(canvas, drawn, window, time_s)
        self._frame += 1
        return picture, truth

    def step_pair(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Truth]:
        """The next frame as `step` gives it, the clean picture uint8 (H,W,3) of the same moment, and their truth.

        The clean one is drawn by a second street that is built at the first call; without any fault it is a copy.
        """
        config = clean_config(self.config)
        if config == self.config:
            picture, truth = self.step()
            return picture, picture.copy(), truth
        if self._twin is None:
            self._twin = World(config)
        self._twin.skip(self._frame - self._twin._frame)
        clean, _ = self._twin.step()
        picture, truth = self.step()
        return picture, clean, truth

    def skip(self, frames: int) -> None:
        """Let this many frames pass undrawn; the frames after them are what they would have been anyway."""
        for _ in range(frames):
            self._advance()
            self._lens.window(self._frame / self.config.fps)
            self._weather.skip()
            self._frame += 1

    def _advance(self) -> None:
        if self._frame:
            # Slow cameras still simulate in short steps, so that nothing jumps.
            parts = max(1, math.ceil(10 / self.config.fps))
            for _ in range(parts):
                self.traffic.advance(1 / self.config.fps / parts)
                self.happenings.advance()
        self.happenings.note(self._frame)

    # ------------------------------------------------------------------------------------------------ drawing

    def _near(self, agent: Agent) -> bool:
        return self.layout.camera.depth_of(agent.x, 0.5, agent.z) > 1.0

    def _sprite(self, prop: Prop, bag: Bag | None = None) -> Sprite | None:
        camera = self.layout.camera
        shapes = (
            staged_shapes(camera, prop, self._tint, bag.rgb if bag else None) if prop.kind in STAGED else None
        )
        return make_sprite(camera, prop, self._tint, self.light.lamps, shapes)

    def _standing(self) -> list[Sprite]:
        """All that stands still in this frame, the farthest first: the props, and bags that somebody put down."""
        bags = self.happenings.bags
        if not bags and not self._bags:
            return self._sprites
        kept = [(bag, sprite) for bag, sprite in self._bags if bag in bags]
        for bag in bags:
            if not any(bag is known for known, _ in kept):
                sprite = self._sprite(Prop("bag", bag.x, bag.z, 0.3, 0), bag)
                if sprite is not None:
                    self._fog.fade_sprite(sprite.pixels, self.layout.camera.depth_of(bag.x, 0.2, bag.z))
                    kept.append((bag, sprite))
        self._bags = kept
        return sorted([*self._sprites, *(sprite for _, sprite in kept)], key=lambda s: -s.z)

    def _weather_sprite(self, sprite: Sprite, depth_m: float) -> None:
        """Snow and fog on what stands still."""
        if self.light.snow:
            white = np.clip(np.array(SNOW) * self.light.ambient, 0, 255)
            snow_on(sprite.pixels, sprite.mask, white, round(0.09 * self.layout.camera.focal_px / depth_m))
        self._fog.fade_sprite(sprite.pixels, depth_m)

    def _light_on(self, agent: Agent) -> Tint:
        if not self.light.lamps:
            return self._tint
        near = sum(math.exp(-((agent.x - x) ** 2 + (agent.z - z) ** 2) / 14.0) for x, z in self._lamps)
        near = min(near, 1.1)
        red, green, blue = self._tint
        return red + 0.50 * near, green + 0.40 * near, blue + 0.26 * near

    def _shapes(self, agent: Agent) -> tuple[list[Shape], F64 | None]:
        camera, light = self.layout.camera, self._light_on(agent)
        if agent.label == PERSON:
            joints = pose(
                agent.motion,
                agent.phase,
                vigour=agent.vigour,
                down=agent.down,
                chair=agent.chair,
                prone=agent.prone,
                bow=agent.bow,
            )
            return person_shapes(camera, agent.look, joints, agent.x, agent.z, agent.heading, light)
        if agent.label == DOG:
            coat, size = agent.look
            return _only(
                dog_shapes(
                    camera, coat, size, agent.x, agent.z, agent.heading, agent.phase, agent.speed > 0.2, light
                )
            )
        if agent.label == BICYCLE:
            return _only(
                bicycle_shapes(
                    camera, agent.look, agent.x, agent.z, agent.direction, agent.rolled, agent.phase, light
                )
            )
        return _only(
            vehicle_shapes(
                camera, agent.look, agent.x, agent.z, agent.direction, agent.rolled, light, self.light.lamps
            )
        )

    def _paint_all(self, canvas: NDArray[np.uint8], agents: list[Agent], window: Window) -> list[Drawn]:
        """Objects and props from far to near; each object's whole area is counted as it is drawn."""
        camera = self.layout.camera
        drawn: list[Drawn] = []
        sprites = iter(self._standing())
        sprite = next(sprites, None)
        for agent in agents:
            while sprite is not None and sprite.z >= agent.z:
                sprite.stamp(canvas)
                sprite = next(sprites, None)
            shapes, joints = self._shapes(agent)
            item = Drawn(agent, shapes, joints, FIRST_OBJECT + len(drawn), window, self.config)
            if item.in_picture:
                paint(canvas, shapes, item.tag, self._fog.veil(camera.depth_of(agent.x, 0.5, agent.z)))
                item.count_whole(canvas)
                if self._headlights is not None:
                    self._headlights.glow(canvas, agent)
                drawn.append(item)
        while sprite is not None:
            sprite.stamp(canvas)
            sprite = next(sprites, None)
        return drawn

    # ------------------------------------------------------------------------------------------------ the truth

    def _develop(
        self, canvas: NDArray[np.uint8], drawn: list[Drawn], window: Window, time_s: float
    ) -> tuple[NDArray[np.uint8], Truth]:
        height, width = self.config.height, self.config.width
        tags = np.ascontiguousarray(window.tags(canvas, 0, height, 0, width))
        picture = self._weather.develop(window.picture(canvas, height, width), time_s)

        kept: list[Drawn] = []
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
            boxes_xyxy=_floats([d.box for d in kept], (n, 4)),
            full_boxes_xyxy=_floats([d.full_box for d in kept], (n, 4)),
            labels=_integers([d.agent.label for d in kept]),
            ids=_integers([d.agent.id for d in kept]),
            visibility=_floats([d.visibility for d in kept], (n,)),
            actions=_integers([d.agent.action for d in kept]),
            keypoints=frozen_array(keypoints),
            instances=frozen_array(cv2.LUT(tags, rows)),
            semantic=frozen_array(cv2.LUT(tags, classes)),
            caption=self._caption_with(kept),
            events=events_in(self.happenings, drawn, dict(self._bag_places(window)), (height, width)),
            forbidden_xy=forbidden_in(self.layout, window),
            gates_xy=gates_in(self._gates, window),
        )
        return picture, truth

    def _bag_places(self, window: Window) -> Iterator[tuple[int, Box]]:
        for bag, sprite in self._bags:
            yield id(bag), window.box_of(sprite.x0, sprite.y0, *sprite.mask.shape)

    def _caption_with(self, kept: list[Drawn]) -> str:
        counts = [sum(d.agent.label == label for d in kept) for label in range(len(LABELS))]
        plural = ("people", "cars", "buses", "bicycles", "dogs")
        parts = [f"{c} {LABELS[i] if c == 1 else plural[i]}" for i, c in enumerate(counts) if c]
        return f"{self.caption}; {', '.join(parts) if parts else 'nobody in sight'}."


def _only(shapes: list[Shape]) -> tuple[list[Shape], F64 | None]:
    return shapes, None


def _floats(values: object, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return frozen_array(np.array(values, np.float32).reshape(shape))


def _integers(values: list[int]) -> NDArray[np.int64]:
    return frozen_array(np.array(values, np.int64))
