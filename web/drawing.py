"""A result drawn into a picture, for players that cannot draw: masks, boxes, names, in the colours of the page.

A track's colour follows from its id alone (even OKLCH lightness, hues a golden angle apart), here as in
`web/static/palette.js`; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.masks import mask_from_rle
from streamer.types import U8, MaskRLE

Bgr = tuple[int, int, int]

_GOLDEN_DEG = 137.508
_CHROMA = 0.15
_LIGHTNESS = (0.8, 0.71)
_KINDS = 720
_FILL = 0.36
_ROOMY_PX = 480  # in a narrower picture only the number fits
_INK = (18, 13, 10)
_CASING = (0, 0, 0)


@lru_cache(maxsize=_KINDS)
def _bgr(place: int) -> Bgr:
    hue = math.radians(place * _GOLDEN_DEG)
    lightness, a, b = _LIGHTNESS[place % 2], _CHROMA * math.cos(hue), _CHROMA * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short
    return _byte(blue), _byte(green), _byte(red)


def _byte(linear: float) -> int:
    light = min(1.0, max(0.0, linear))
    shown = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return math.floor(255 * shown + 0.5)


def colour_of(track_id: int) -> Bgr:
    """The colour of an identity: blue, green, red, 0..255."""
    return _bgr(track_id % _KINDS)


class Drawer:
    """Draws on one thread (it owns a font face, which may not be shared)."""

    def __init__(self) -> None:
        self._font = cv2.FontFace("sans")

    def draw(self, picture_bgr: U8, result: Mapping[str, Any]) -> None:
        """Draw a Result (its JSON object) into `picture_bgr` u8 (H, W, 3), in place. Boxes are scaled to its size."""
        height, width = picture_bgr.shape[:2]
        source_h, source_w = result["source_hw"]
        scale = np.array([width / source_w, height / source_h] * 2)
        objects: Sequence[Mapping[str, Any]] = result["objects"]
        line = max(1, round(height / 360))
        for thing in objects:
            if thing.get("mask"):
                _blend_mask(picture_bgr, thing["mask"], colour_of(thing["id"]), line)
        corners = [np.rint(np.asarray(thing["box_xyxy"]) * scale).astype(int).tolist() for thing in objects]
        for thing, (x1, y1, x2, y2) in zip(objects, corners, strict=True):
            if width >= _ROOMY_PX:  # a dark edge keeps a light line visible on any ground
                cv2.rectangle(picture_bgr, (x1, y1), (x2, y2), _CASING, line + 2, cv2.LINE_AA)
            cv2.rectangle(picture_bgr, (x1, y1), (x2, y2), colour_of(thing["id"]), line, cv2.LINE_AA)
        taken: list[tuple[int, int, int]] = []
        for thing, box in zip(objects, corners, strict=True):
            words = _name(thing, roomy=width >= _ROOMY_PX, wide=box[2] - box[0] > width / 10)
            self._plate(picture_bgr, words, box, colour_of(thing["id"]), taken)

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

    def _plate(
        self,
        picture_bgr: U8,
        words: str,
        box_xyxy: Sequence[int],
        ground: Bgr,
        taken: list[tuple[int, int, int]],
    ) -> None:
        """Write the words above the box, or in it where another plate (`taken`: left, top, right) lies already."""
        height, width = picture_bgr.shape[:2]
        size = max(10, round(height / 40))
        _, _, text_w, _ = cv2.getTextSize((0, 0), words, (0, 0), self._font, size, 600)
        tall, pad = round(size * 1.35), max(2, size // 4)
        x1, y1, _, y2 = box_xyxy
        left = max(0, min(x1, width - text_w - 2 * pad))
        right = left + text_w + 2 * pad
        tops = [max(0, min(top, height - tall)) for top in (y1 - tall, y1, y2 - tall) if top >= 0] or [0]
        free = (
            t for t in tops if all(left >= r or lo >= right or abs(t - at) >= tall for lo, at, r in taken)
        )
        top = next(free, tops[0])
        taken.append((left, top, right))
        cv2.rectangle(picture_bgr, (left, top), (right, top + tall), ground, -1)
        base = (left + pad, top + round(size * 1.02))
        cv2.putText(picture_bgr, words, base, _INK, self._font, size, 600)


def _name(thing: Mapping[str, Any], *, roomy: bool, wide: bool) -> str:
    if not roomy:
        return f"{thing['id']}"
    return f"{thing['label']} {thing['id']}" + (f" · {thing['score']:.0%}" if wide else "")


def _blend_mask(picture_bgr: U8, rle: Mapping[str, Any], colour: Bgr, line: int) -> None:
    """Blend one mask over the part of the picture that it covers, and trace its outline."""
    mask = mask_from_rle(MaskRLE(tuple(rle["size_hw"]), tuple(rle["counts"])))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    height, width = picture_bgr.shape[:2]
    y_scale, x_scale = height / mask.shape[0], width / mask.shape[1]
    top, bottom = round(rows[0] * y_scale), round((rows[-1] + 1) * y_scale)
    left, right = round(columns[0] * x_scale), round((columns[-1] + 1) * x_scale)
    if bottom <= top or right <= left:
        return
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8) * 255
    fine: NDArray[np.bool_] = (
        cv2.resize(crop, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR) > 127
    )
    part = picture_bgr[top:bottom, left:right]
    part[fine] = (part[fine] * (1 - _FILL) + np.array(colour) * _FILL).astype(np.uint8)
    outlines, _ = cv2.findContours(fine.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture_bgr, outlines, -1, colour, max(1, line - 1), cv2.LINE_AA, offset=(left, top))
