"""Parts of a scene that are lines, drawn into a picture: trails, skeletons, zones and lines that people drew.

Points are px of the picture that is drawn into. They look as on the page (`web/static/layers.js`, `zones.js`), but
that a zone's border is not dashed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import cv2
import numpy as np

from streamer.types import U8
from web.colours import Bgr

Xy = tuple[float, float]

SEEN: Final = 0.3  # a key point of a lower score is not drawn
CASING: Final[Bgr] = (0, 0, 0)  # a dark edge keeps a light line visible on any ground
_WHITE: Final[Bgr] = (255, 255, 255)
_LIMBS: Final = (
    ("head", "left_shoulder", "right_shoulder", "head"),
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow", "right_wrist"),
    ("left_shoulder", "left_hip", "right_hip", "right_shoulder"),
    ("left_hip", "left_knee", "left_ankle"),
    ("right_hip", "right_knee", "right_ankle"),
)
_TRAIL_AT: Final = (0.1, 0.9)  # opacity of a trail's oldest and newest part


def cased(
    picture_bgr: U8, paths: Sequence[Sequence[Xy]], colour: Bgr, line: int, *, closed: bool = False
) -> None:
    """Stroke each path: a dark casing, then the line, `line` px wide."""
    corners = [np.rint(np.array(path)).astype(np.int32).reshape(-1, 1, 2) for path in paths]
    for ink, wide in ((CASING, line + 2), (colour, line)):
        cv2.polylines(picture_bgr, corners, closed, ink, wide, cv2.LINE_AA)


def draw_trails(picture_bgr: U8, trails: Sequence[tuple[Sequence[Xy], Bgr]], line: int) -> None:
    """Where each object came from: its path, oldest point first, fading into the past."""
    found = [(np.rint(np.array(path)).astype(np.int32), colour) for path, colour in trails if len(path) > 1]
    if not found:
        return
    everything = np.concatenate([path for path, _ in found])
    height, width = picture_bgr.shape[:2]
    wide = line + 1
    left, top = np.clip(everything.min(axis=0) - wide, 0, (width, height))
    right, bottom = np.clip(everything.max(axis=0) + wide + 1, 0, (width, height))
    part = picture_bgr[top:bottom, left:right]
    if not part.size:
        return
    inked, opacity = part.copy(), np.zeros(part.shape[:2], np.uint8)
    low, high = _TRAIL_AT
    for path, colour in found:
        path = path - (left, top)
        for i in range(1, len(path)):
            ends = tuple(map(int, path[i - 1])), tuple(map(int, path[i]))
            cv2.line(inked, *ends, colour, wide)
            cv2.line(opacity, *ends, round(255 * (low + (high - low) * i / len(path))), wide)
    where = opacity > 0
    share = opacity[where][:, None].astype(np.float32) / 255
    part[where] = (part[where] * (1 - share) + inked[where] * share).astype(np.uint8)


def bones(
    points: Sequence[Sequence[float]], names: Sequence[str]
) -> Iterator[tuple[Sequence[float], Sequence[float]]]:
    """The lines of a skeleton, between key points (x, y, score) that are seen."""
    seen = {name: point for name, point in zip(names, points, strict=False) if point[2] >= SEEN}
    for limb in _LIMBS:
        for one, other in pairwise(limb):
            if one in seen and other in seen:
                yield seen[one], seen[other]


def draw_skeleton(
    picture_bgr: U8, points: Sequence[Sequence[float]], names: Sequence[str], colour: Bgr, line: int
) -> None:
    """One object's key points (x, y, score), and what joins them."""
    joined = [((a[0], a[1]), (b[0], b[1])) for a, b in bones(points, names)]
    if joined:
        cased(picture_bgr, joined, colour, line)
    for x, y, score in points:
        if score >= SEEN:
            cv2.circle(picture_bgr, (round(x), round(y)), max(1, line), _WHITE, -1, cv2.LINE_AA)


def draw_zone(picture_bgr: U8, corners: Sequence[Xy], colour: Bgr, line: int, *, busy: bool) -> None:
    """A zone's border, and a tint, stronger where somebody is in it (`busy`)."""
    path = np.rint(np.array(corners)).astype(np.int32)
    x, y, w, h = cv2.boundingRect(path)
    left, top = max(0, x), max(0, y)
    part = picture_bgr[top : y + h, left : x + w]
    if part.size:
        tinted = part.copy()
        cv2.fillPoly(tinted, [path - (left, top)], colour)
        share = 0.2 if busy else 0.1
        cv2.addWeighted(tinted, share, part, 1 - share, 0, dst=part)
    cased(picture_bgr, [corners], colour, line, closed=True)


def draw_line(picture_bgr: U8, start: Xy, end: Xy, colour: Bgr, line: int) -> None:
    """A line, and at its middle an arrow to its right, seen along it: who goes that way comes in."""
    (x1, y1), (x2, y2) = start, end
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    right = -(y2 - y1) / length, (x2 - x1) / length
    middle = (x1 + x2) / 2, (y1 + y2) / 2

    def at(ahead: float, aside: float) -> Xy:
        return (
            middle[0] + line * (right[0] * ahead - right[1] * aside),
            middle[1] + line * (right[1] * ahead + right[0] * aside),
        )

    paths = [(start, end), (middle, at(16, 0)), (at(11, 5), at(16, 0), at(11, -5))]
    cased(picture_bgr, paths, colour, line + 1)


def scaled(points: Sequence[Sequence[float]], by_xy: Xy) -> list[Xy]:
    """Points times (x, y)."""
    return [(x * by_xy[0], y * by_xy[1]) for x, y in points]


Trails = Mapping[int, Sequence[Xy]]
"""By track id: where it stood on the ground in the last seconds, px of the source picture, oldest first."""
