"""A scene drawn into a picture, for players that cannot draw: the layers of the page, in its order and colours.

Zones and lines lie under all that moves; then the ground, masks, trails, boxes, skeletons; words go on top, on plates
that keep out of each other's way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np

from streamer.regions import Line, Zone
from streamer.types import U8
from web.colours import Bgr, colour_of, region_of
from web.grids import blend_ground, blend_mask
from web.strokes import CASING, Trails, draw_line, draw_skeleton, draw_trails, draw_zone, scaled

_ROOMY_PX: Final = 480  # in a narrower picture only the number fits
_INK: Final[Bgr] = (18, 13, 10)
_MOST_SCENE_ACTIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to draw: a Result (its JSON object; None: none is known), the trails up to it, the stream's zones
    and lines, and how many objects are in which zone now."""

    result: Mapping[str, Any] | None = None
    trails: Trails = field(default_factory=dict)
    zones: Sequence[Zone] = ()
    lines: Sequence[Line] = ()
    inside: Mapping[str, int] = field(default_factory=dict)


class Drawer:
    """Draws on one thread (it owns a font face, which may not be shared)."""

    def __init__(self) -> None:
        self._font = cv2.FontFace("sans")

    def draw(self, picture_bgr: U8, scene: Scene, layers: frozenset[str]) -> None:
        """Draw these layers of the scene into `picture_bgr` u8 (H, W, 3), in place, scaled to its size."""
        height, width = picture_bgr.shape[:2]
        plates = _Plates(picture_bgr, self._font)
        if "zones" in layers:
            self._regions(picture_bgr, scene, plates)
        result = scene.result
        if result is None:
            return
        source_h, source_w = result["source_hw"]
        by_xy = width / source_w, height / source_h
        objects: Sequence[Mapping[str, Any]] = result["objects"]
        line = max(1, round(height / 360))
        if "ground" in layers and result.get("semantic"):
            blend_ground(picture_bgr, result["semantic"])
        if "masks" in layers:
            for thing in objects:
                if thing.get("mask"):
                    blend_mask(picture_bgr, thing["mask"], colour_of(thing["id"]), line)
        if "trails" in layers:
            paths = [(scaled(path, by_xy), colour_of(track)) for track, path in scene.trails.items()]
            draw_trails(picture_bgr, paths, line)
        boxes = [_corners(thing, by_xy) for thing in objects]
        if "boxes" in layers:
            for thing, (x1, y1, x2, y2) in zip(objects, boxes, strict=True):
                if width >= _ROOMY_PX:
                    cv2.rectangle(picture_bgr, (x1, y1), (x2, y2), CASING, line + 2, cv2.LINE_AA)
                cv2.rectangle(picture_bgr, (x1, y1), (x2, y2), colour_of(thing["id"]), line, cv2.LINE_AA)
        if "skeletons" in layers and (names := result.get("keypoint_names")):
            for thing in objects:
                points = [(x * by_xy[0], y * by_xy[1], score) for x, y, score in thing.get("keypoints") or ()]
                draw_skeleton(picture_bgr, points, names, colour_of(thing["id"]), line)
        for thing, box in zip(objects, boxes, strict=True):
            roomy, wide = width >= _ROOMY_PX, box[2] - box[0] > width / 10
            if words := _name(thing, layers, roomy=roomy, wide=wide):
                plates.above(words, box, colour_of(thing["id"]))
        if "actions" in layers:
            _say_actions(plates, result.get("actions") or (), objects, boxes)

    def say(self, picture_bgr: U8, title: str, text: str) -> None:
        """Grey and darken the picture, in place, and write two lines over it: nobody may take it for live."""
        grey = cv2.cvtColor(picture_bgr, cv2.COLOR_BGR2GRAY)
        picture_bgr[:] = (cv2.GaussianBlur(grey, (0, 0), 2) * 0.3).astype(np.uint8)[..., None]
        height, width = picture_bgr.shape[:2]
        for words, size, y in ((title, height // 14, 0.48), (text, height // 24, 0.58)):
            size = max(10, size)
            x1, _, w, _ = cv2.getTextSize((0, 0), words, (0, 0), self._font, size, 600)
            at = (max(4, (width - w) // 2 - x1), round(height * y))
            cv2.putText(picture_bgr, words, at, (255, 255, 255), self._font, size, 600)

    def _regions(self, picture_bgr: U8, scene: Scene, plates: _Plates) -> None:
        height, width = picture_bgr.shape[:2]
        line, whole = max(1, round(height / 360)), (float(width), float(height))
        for i, zone in enumerate(scene.zones):
            corners, colour, count = scaled(zone.points, whole), region_of(i), scene.inside.get(zone.name)
            draw_zone(picture_bgr, corners, colour, line, busy=bool(count))
            x, y = min(corners, key=lambda corner: corner[1])
            plates.put(zone.name if count is None else f"{zone.name}: {count}", x + 4, [y + 4], colour)
        for i, drawn in enumerate(scene.lines, len(scene.zones)):
            (start, end), colour = scaled((drawn.start, drawn.end), whole), region_of(i)
            draw_line(picture_bgr, start, end, colour, line)
            plates.put(drawn.name, start[0] + 4, [start[1] + 4], colour)


class _Plates:
    """Words on small plates in one picture."""

    def __init__(self, picture_bgr: U8, font: cv2.FontFace) -> None:
        self._picture, self._font = picture_bgr, font
        self._size = max(10, round(picture_bgr.shape[0] / 40))
        self._taken: list[tuple[int, int, int]] = []  # left, top, right
        self.height = round(self._size * 1.35)

    def above(self, words: str, box_xyxy: Sequence[int], ground: Bgr) -> None:
        """Above the box, or in it where another plate lies already."""
        x1, y1, _, y2 = box_xyxy
        tops = [top for top in (y1 - self.height, y1, y2 - self.height) if top >= 0] or [0]
        self.put(words, x1, tops, ground)

    def put(self, words: str, x: float, tops: Sequence[float], ground: Bgr, ink: Bgr = _INK) -> None:
        """At the first of `tops` that is free, else at the first; `x` its left edge, kept inside the picture."""
        height, width = self._picture.shape[:2]
        _, _, text_w, _ = cv2.getTextSize((0, 0), words, (0, 0), self._font, self._size, 600)
        tall, pad = self.height, max(2, self._size // 4)
        left = round(max(0, min(x, width - text_w - 2 * pad)))
        right = left + text_w + 2 * pad
        inside = [round(max(0, min(top, height - tall))) for top in tops]
        free = (
            top
            for top in inside
            if all(left >= r or lo >= right or abs(top - at) >= tall for lo, at, r in self._taken)
        )
        top = next(free, inside[0])
        self._taken.append((left, top, right))
        cv2.rectangle(self._picture, (left, top), (right, top + tall), ground, -1)
        base = (left + pad, top + round(self._size * 1.02))
        cv2.putText(self._picture, words, base, ink, self._font, self._size, 600)


def _corners(thing: Mapping[str, Any], by_xy: tuple[float, float]) -> list[int]:
    corners: list[int] = np.rint(np.asarray(thing["box_xyxy"]) * (by_xy * 2)).astype(int).tolist()
    return corners


def _name(thing: Mapping[str, Any], layers: frozenset[str], *, roomy: bool, wide: bool) -> str:
    """Its kind and score (`labels`), its number (`ids`), or both; in a small picture there is room for one."""
    number = f"{thing['id']}" if "ids" in layers else ""
    if "labels" not in layers:
        return number and f"#{number}"
    if not roomy:
        return number or str(thing["label"])
    percent = f" · {thing['score']:.0%}" if wide else ""
    return " ".join(filter(None, (str(thing["label"]), number))) + percent


def _say_actions(
    plates: _Plates,
    actions: Sequence[Mapping[str, Any]],
    objects: Sequence[Mapping[str, Any]],
    boxes: Sequence[Sequence[int]],
) -> None:
    """What somebody does, under the box; what the scene does, at the top left."""
    box_of = {thing["id"]: box for thing, box in zip(objects, boxes, strict=True)}
    said: set[int] = set()
    n_scene = 0
    for action in actions:
        words, track = str(action["name"]).replace("_", " "), action.get("track_id")
        if isinstance(track, int) and track in box_of and track not in said:
            said.add(track)  # the likeliest comes first
            x1, _, _, y2 = box_of[track]
            plates.put(words, x1, [y2 + 2, y2 - plates.height - 2], _INK, colour_of(track))
        elif track is None and n_scene < _MOST_SCENE_ACTIONS:
            top = 10 + n_scene * (plates.height + 4)
            n_scene += 1
            plates.put(f"scene: {words} · {action['score']:.0%}", 10, [top], _INK, (255, 255, 255))
