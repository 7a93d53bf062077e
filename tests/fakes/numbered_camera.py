"""A camera for burned-in pictures: each carries its number as a bit pattern, and so does the place of its one object.

Keeps the border that viewers read video from. What codec is asked for does not matter here: it speaks H.264.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import orjson

from streamer.client import VideoPacket
from streamer.config import StreamConfig
from streamer.masks import rle_from_mask
from tests.fakes.live_street import SQUARE_PX, stamp_number

HEIGHT, WIDTH = 180, 320
STEP = 3600  # 25 fps in 90 kHz ticks
GROUP = 10
BOX_HW = (60, 40)
BOX_TOP = 90


def box_left(number: int) -> int:
    """Where the object of this picture stands, px."""
    return 8 + 16 * (number % 16)


class NumberedCamera:
    """One stream `gate`; `shoot` takes a picture, and gives the result of the one `lag` pictures before.

    `told` is in every result beside its one object.
    """

    def __init__(self, *, lag: int = 3, told: Mapping[str, Any] | None = None) -> None:
        self.lag, self.told = lag, dict(told or {})
        self.epoch = 1
        self.number = 0
        self.results_given = True
        self.frozen = False
        self.watched = 0
        self.config = StreamConfig(name="gate", url="rtsp://camera/gate")
        self.state_hash: dict[str, str] = {"state": "RUNNING"}
        self._video: list[VideoPacket] = []
        self._results: list[tuple[str, bytes]] = []
        self._encoder = _encoder()

    @contextlib.asynccontextmanager
    async def running(self, every_s: float = 0.03) -> AsyncIterator[None]:
        """Takes pictures while the context lasts."""

        async def run() -> None:
            while True:
                if not self.frozen:
                    self.shoot()
                await asyncio.sleep(every_s)

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def reconnect(self) -> None:
        """The camera begins again: a new epoch, new stamps, a new group."""
        self.epoch += 1
        self.number = 0
        self._encoder = _encoder()

    def shoot(self) -> None:
        number = self.number
        self.number += 1
        picture = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
        stamp_number(picture, number)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number * STEP, Fraction(1, 90_000)
        for packet in self._encoder.encode(frame):
            entry = str(len(self._video) + 1)
            self._video.append(
                VideoPacket(entry, bytes(packet), packet.is_keyframe, int(packet.pts), self.epoch, number)
            )
        if self.results_given and number >= self.lag:
            data = orjson.dumps(self._result(number - self.lag))
            self._results.append((str(len(self._results) + 1), data))

    def _result(self, number: int) -> dict[str, Any]:
        left = box_left(number)
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[BOX_TOP : BOX_TOP + BOX_HW[0], left : left + BOX_HW[1]] = True
        rle = rle_from_mask(mask)
        box = [left, BOX_TOP, left + BOX_HW[1], BOX_TOP + BOX_HW[0]]
        one = {"id": 3, "label": "person", "score": 0.9, "box_xyxy": box, "age": number}
        one["mask"] = {"size_hw": rle.size_hw, "counts": rle.counts}
        result = {"epoch": self.epoch, "seq": number, "pts90k": number * STEP, "source_hw": [HEIGHT, WIDTH]}
        return result | {"objects": [one]} | self.told

    # ------------------------------------------------------------------------------------- the border of web.feed

    async def has_stream(self, stream: str) -> bool:
        return stream == "gate"

    async def tails(self, stream: str, *_: str) -> tuple[str, str]:
        return str(len(self._video)), str(len(self._results))

    async def fresh_group(self, stream: str, *_: str) -> Sequence[VideoPacket]:
        keys = [i for i, packet in enumerate(self._video) if packet.key]
        return self._video[keys[-1] :] if keys else []

    async def read_video(self, stream: str, after: str, block_ms: int, *_: str) -> Sequence[VideoPacket]:
        return await _behind(self._video, after, block_ms)

    async def recent_results(self, stream: str, count: int) -> Sequence[tuple[str, bytes]]:
        return list(self._results)[-count:]

    async def read_results(self, stream: str, after: str, block_ms: int) -> Sequence[tuple[str, bytes]]:
        return await _behind(self._results, after, block_ms)

    async def state(self, stream: str) -> Mapping[str, str]:
        return self.state_hash

    async def streams(self) -> list[StreamConfig]:
        return [self.config]

    async def keep_watched(self, stream: str, ttl_s: int, *_: str) -> None:
        self.watched += 1

    async def request_keyframe(self, stream: str, *_: str) -> None:
        pass  # one comes every ten pictures


async def _behind(kept: list[Any], after: str, block_ms: int) -> list[Any]:
    end_s = time.monotonic() + block_ms / 1000
    while not (found := kept[int(after) :]) and time.monotonic() < end_s:
        await asyncio.sleep(0.005)
    return found


def _encoder() -> Any:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 90_000), Fraction(25)
    encoder.gop_size = GROUP
    encoder.profile = "Baseline"
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20"}
    return encoder


# ----------------------------------------------------------------------------------------------- reading back


def pixels(jpeg: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A JPEG as u8 (h, w, 3) BGR."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def number_painted(picture_bgr: np.ndarray[Any, Any]) -> int:
    """The number that the bit pattern of a picture says, whatever its size."""
    scale = picture_bgr.shape[1] / WIDTH
    row = picture_bgr[round(8 * scale), :, 1]
    bits = [row[round((SQUARE_PX * bit + 8) * scale)] > 127 for bit in range(16)]
    return sum(1 << bit for bit in range(16) if bits[bit])


def left_drawn(picture_bgr: np.ndarray[Any, Any]) -> float | None:
    """Where the object that is drawn begins, px of the camera's picture; None if none is drawn."""
    scale = picture_bgr.shape[1] / WIDTH
    row = picture_bgr[round((BOX_TOP + BOX_HW[0] / 2) * scale)].astype(int)
    coloured = np.flatnonzero(row.max(axis=1) - row.min(axis=1) > 24)
    return float(coloured[0] / scale) if len(coloured) else None
