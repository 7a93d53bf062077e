"""Small pictures of what an event is about: its frame, cut to the object's box with some of what is around it.

A browser that is sent whole frames for a list of events keeps each of them decoded, hundreds of megabytes of them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np

MARGIN: Final = 0.35  # of the box, on each side
_LEAST_PART: Final = 12  # a far object is shown with so much around it that a place is to be seen
_QUALITY: Final = 85
_KEPT_BYTES: Final = 1 << 20  # some three hundred of the size that a list shows, 3 kB each
_AT_ONCE: Final = 2  # frames decoded at the same time

Part = tuple[float, float, float, float]


class Thumbnails:
    """Makes them on threads and keeps the newest, so that of ten viewers of one list nine cost no decoding."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._making: dict[tuple[str, int], asyncio.Task[bytes]] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def of(self, event_id: str, picture: bytes, event: Mapping[str, Any], width: int) -> bytes:
        """A JPEG, `width` x 3/4 `width` px, cut from the JPEG `picture` of the event of this id, which never changes.
        Raises ValueError where that is no picture."""
        key = event_id, width
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._making:
            self._making[key] = asyncio.create_task(self._make(key, picture, event))
        return await asyncio.shield(self._making[key])  # another may wait for it too

    async def _make(self, key: tuple[str, int], picture: bytes, event: Mapping[str, Any]) -> bytes:
        try:
            async with self._turn:
                made = await asyncio.to_thread(thumbnail, picture, event, key[1])
        finally:
            del self._making[key]
        self._kept[key] = made
        self._bytes += len(made)
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= len(self._kept.popitem(last=False)[1])
        return made


def thumbnail(picture: bytes, event: Mapping[str, Any], width: int) -> bytes:
    """As Thumbnails.of, at once. Raises ValueError where `picture` is none."""
    # of no bytes at all OpenCV raises an error of its own
    whole = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) if picture else None
    if whole is None:
        raise ValueError(f"{len(picture)} bytes that are no picture")
    left, top, wide, high = part_of(event, whole.shape[0], whole.shape[1])
    size = width, round(width * 3 / 4)
    x, y = round(left), round(top)
    part = whole[y : y + max(1, round(high)), x : x + max(1, round(wide))]
    how = cv2.INTER_AREA if part.shape[1] >= width else cv2.INTER_CUBIC
    small = cv2.resize(part, size, interpolation=how)
    done, data = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    if not done:
        raise ValueError(f"a picture {part.shape} cannot be written as JPEG")
    return data.tobytes()


def part_of(event: Mapping[str, Any], height: int, width: int) -> Part:
    """The part of a height x width px picture, (left, top, wide, high), 4:3 and inside it, that shows the event's box
    with a margin; the middle where the event has no box."""
    most = min(width, height * 4 / 3)
    attrs = event.get("attrs") or {}
    box, source_hw = attrs.get("box_xyxy"), attrs.get("source_hw")
    if not box or not source_hw:
        return (width - most) / 2, (height - most * 3 / 4) / 2, most, most * 3 / 4
    by_y, by_x = height / source_hw[0], width / source_hw[1]
    x1, y1, x2, y2 = box[0] * by_x, box[1] * by_y, box[2] * by_x, box[3] * by_y
    around = 1 + 2 * MARGIN
    wide = min(max((x2 - x1) * around, (y2 - y1) * around * 4 / 3, width / _LEAST_PART), most)
    high = wide * 3 / 4
    left = min(max(0.0, (x1 + x2 - wide) / 2), width - wide)
    return left, min(max(0.0, (y1 + y2 - high) / 2), height - high), wide, high
