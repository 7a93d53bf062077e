"""Video and results for the web without Redis, worker or engine: a small world, encoded live, its truth as the result.

Keeps the border that viewers read video from (`web.feed.VideoStore`). A result follows its packet by `lag_s`, as an
engine's would.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import orjson

from streamer.client import VideoPacket
from streamer.config import StreamConfig
from streamer.masks import rle_from_mask
from streamer.world import LABELS, Truth, World, WorldConfig
from tests.fakes.web_store import MemoryStore

TICKS_PER_S = 90_000
GROUP = 25
MASK_STEP = 2  # truth's masks are thinned to every second pixel
HEIGHT, WIDTH = 180, 320
SQUARE_PX = 16


class LiveStreet:
    """One stream `name` of `fps` small pictures; `run` it beside the server. State and worker go to `store`."""

    def __init__(
        self, store: MemoryStore, name: str, *, fps: float = 12.5, lag_s: float = 0.06, seed: int = 7
    ) -> None:
        self.name, self.fps, self.lag_s = name, fps, lag_s
        self.epoch = 1
        self.pictures = 0
        self.watched = False
        self.frozen = False
        self._store = store
        self._world = World(WorldConfig(seed=seed, height=HEIGHT, width=WIDTH, fps=fps, people=5, vehicles=3))
        self._packets: dict[str, deque[VideoPacket]] = {c: deque(maxlen=2 * GROUP) for c in ("h264", "vp8")}
        self._encoders: dict[str, Any] = {}
        self._results: deque[tuple[str, bytes]] = deque(maxlen=100)
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        self._encoders["h264"] = _encoder(self.fps)
        step = round(TICKS_PER_S / self.fps)
        due_s = time.monotonic()
        late: deque[tuple[float, bytes]] = deque()
        while True:
            due_s += 1 / self.fps
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._tell_state()
            if self.frozen:
                continue
            picture, truth = self._world.step()
            seq, pts = self.pictures, self.pictures * step
            self.pictures += 1
            stamp_number(picture, seq)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = pts
            frame.time_base = Fraction(1, TICKS_PER_S)
            for codec, encoder in self._encoders.items():
                for packet in encoder.encode(frame):
                    at, key, when = f"{seq + 1}-0", packet.is_keyframe, int(packet.pts or 0)
                    found = VideoPacket(at, bytes(packet), key, when, self.epoch, seq, codec)
                    self._packets[codec].append(found)
            late.append((due_s + self.lag_s, orjson.dumps(self._result(truth, seq, pts))))
            while late and late[0][0] <= time.monotonic():
                self._results.append((f"{time.monotonic_ns()}-0", late.popleft()[1]))
            self._news.set()
            self._news = asyncio.Event()

    def _tell_state(self) -> None:
        now = str(time.time_ns())
        self._store.worker_fields |= {"heartbeat_wall_ns": now, "backend": "truth"}
        state = self._store.states.setdefault(
            self.name, {"state": "RUNNING", "width": str(WIDTH), "height": str(HEIGHT)}
        )
        if state["state"] != "RUNNING":
            return
        state |= {"epoch": str(self.epoch), "fps": str(self.fps), "codec": "h264", "backend": "truth"}
        state |= {
            "latency_p50_ms": "60",
            "latency_p95_ms": "400",  # generous, so that a busy machine still shows boxes in step
            "ledger": '{"published": 1}',
        }
        if not self.frozen:
            state["last_frame_wall_ns"] = now

    def _result(self, truth: Truth, seq: int, pts: int) -> dict[str, Any]:
        thin = truth.instances[::MASK_STEP, ::MASK_STEP]
        masks = (rle_from_mask(np.asarray(thin == i)) for i in range(len(truth.ids)))
        objects = [
            {
                "id": int(track),
                "label": LABELS[int(label)],
                "score": 0.9,
                "box_xyxy": [float(x) for x in box],
                "age": seq,
                "mask": {"size_hw": list(mask.size_hw), "counts": list(mask.counts)},
            }
            for track, label, box, mask in zip(truth.ids, truth.labels, truth.boxes_xyxy, masks, strict=True)
        ]
        return {
            "schema": "sightline.result/1",
            "stream": self.name,
            "epoch": self.epoch,
            "seq": seq,
            "pts90k": pts,
            "wall_ns": time.time_ns(),
            "source_hw": [HEIGHT, WIDTH],
            "objects": objects,
            "timing_ms": {"total": self.lag_s * 1e3},
            "provenance": {"model": "truth"},
        }

    # ------------------------------------------------------------------------------------- the border of web.feed

    async def has_stream(self, stream: str) -> bool:
        return stream == self.name

    async def read_video(self, stream: str, after: str, block_ms: int, codec: str) -> Sequence[VideoPacket]:
        return await self._behind(self._packets[codec], after, block_ms, lambda packet: packet.id)

    async def tails(self, stream: str, codec: str) -> tuple[str, str]:
        packet = self._packets[codec][-1].id if self._packets[codec] else "0-0"
        return packet, self._results[-1][0] if self._results else "0-0"

    async def fresh_group(self, stream: str, codec: str) -> Sequence[VideoPacket]:
        kept = list(self._packets[codec])
        keys = [i for i, packet in enumerate(kept) if packet.key]
        return kept[keys[-1] :] if keys else []

    async def recent_results(self, stream: str, count: int) -> Sequence[tuple[str, bytes]]:
        return list(self._results)[-count:]

    async def read_results(self, stream: str, after: str, block_ms: int) -> Sequence[tuple[str, bytes]]:
        return await self._behind(self._results, after, block_ms, lambda entry: entry[0])

    async def _behind(self, kept: deque[Any], after: str, block_ms: int, entry_of: Any) -> list[Any]:
        deadline = time.monotonic() + block_ms / 1000
        while True:
            news = self._news
            found = [item for item in kept if _number(entry_of(item)) > _number(after)]
            left_s = deadline - time.monotonic()
            if found or left_s <= 0:
                return found
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), left_s)

    async def state(self, stream: str) -> Mapping[str, str]:
        return dict(self._store.states.get(stream, {}))

    async def streams(self) -> list[StreamConfig]:
        return await self._store.streams()

    async def keep_watched(self, stream: str, ttl_s: int, codec: str) -> None:
        self.watched = True
        if codec == "vp8" and codec not in self._encoders:
            self._encoders[codec] = _vp8_encoder(self.fps)

    async def request_keyframe(self, stream: str, codec: str) -> None:
        pass  # a key frame comes every two seconds anyway


def stamp_number(picture: np.ndarray[Any, Any], number: int) -> None:
    """Write the low 16 bits of `number` into the top left corner: 16 squares, white for one, in place."""
    for bit in range(16):
        picture[:SQUARE_PX, SQUARE_PX * bit : SQUARE_PX * (bit + 1)] = 255 if number >> bit & 1 else 0


def _number(entry: str) -> int:
    return int(entry.partition("-")[0])


def _encoder(fps: float) -> Any:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base = Fraction(1, TICKS_PER_S)
    encoder.framerate = Fraction(fps).limit_denominator(1000)
    encoder.gop_size = GROUP
    encoder.profile = "Baseline"
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
    return encoder


def _vp8_encoder(fps: float) -> Any:
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base = Fraction(1, TICKS_PER_S)
    encoder.framerate = Fraction(fps).limit_denominator(1000)
    encoder.gop_size = GROUP
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    return encoder
