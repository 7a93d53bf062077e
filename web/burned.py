"""Pictures with the result burned in, for players that cannot draw: one decoder and one drawer per stream, for all.

They run on a thread of the stream's own from the first `join` to the last `leave`, and read the same packets and
results as the page does. A picture waits for the result that was made from it (by epoch and time stamp) for at most
`HOLD_S`. The newest picture that is ready is drawn, older ones are let go and counted; a viewer has one place, where
the newest wins. Each look (width, layers, quality) is encoded once, however many want it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import av
import cv2
import numpy as np
import orjson
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamer.config import StreamConfig
from streamer.errors import SightlineError
from streamer.types import TICKS_90K, U8
from web.drawing import Drawer, Scene
from web.feed import StreamFeed, VideoStore
from web.looks import Look
from web.results import ResultMessage
from web.strokes import Trails, Xy
from web.subscription import FeedPacket, Subscription

log = logging.getLogger(__name__)

HOLD_S = 1.0
WIDEST_PX = 1920
KEPT_RESULTS = 256
KEPT_STAMPS = 256
WAITING_PICTURES = 32
TRAIL_S = 1.5
REGIONS_EVERY_S = 1.0
_NEAR = (0, 1, -1, 2, -2)  # encoders may round a stamp by a tick or two
_BLANK_HW = (360, 640)

Stamp = tuple[int, int]  # epoch, pts90k


class PictureStore(VideoStore, Protocol):
    """What burned-in pictures need of `AsyncClient`: what all viewers do, and where the zones are."""

    async def streams(self) -> list[StreamConfig]: ...


@dataclass(frozen=True, slots=True)
class Burned:
    """One JPEG; `stamp` (epoch, pts90k) of its picture, `arrived_s` (loop time) of its packet, `seq` of the result
    drawn into it (None: none). `fresh` False: it may be of before somebody watched."""

    jpeg: bytes
    stamp: Stamp
    arrived_s: float
    fresh: bool
    seq: int | None


@dataclass(slots=True)
class _Picture:
    frame: VideoFrame
    stamp: Stamp
    arrived_s: float
    fresh: bool


class Place:
    """One viewer's place: the newest picture in its look, at most `fps` a second."""

    def __init__(self, look: Look, fps: float) -> None:
        self.look = look
        self.overwritten = 0
        self._gap_s = 1 / fps
        self._due_s = float("-inf")
        self._newest: Burned | None = None
        self._came = asyncio.Event()

    def is_due(self, now_s: float) -> bool:
        return now_s >= self._due_s

    def put(self, burned: Burned, now_s: float) -> None:
        self.overwritten += self._newest is not None
        self._newest = burned
        # half a picture's grace, so that 12.5 of 25 pictures are every second one
        self._due_s = max(self._due_s + self._gap_s, now_s + self._gap_s / 2)
        self._came.set()

    async def next(self, timeout_s: float) -> Burned | None:
        """The next picture; None if none came in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), timeout_s)
        self._came.clear()
        burned, self._newest = self._newest, None
        return burned


class BurnedStream:
    """The decoder and the drawer of one stream. `counts`: decoded, drawn, unmatched, and pictures let go by reason."""

    def __init__(self, stream: str, store: PictureStore) -> None:
        self.stream = stream
        self._store = store
        self._config: StreamConfig | None = None
        self.counts: Counter[str] = Counter()
        self.state: Mapping[str, str] = {}
        self.places: set[Place] = set()
        self._loop = asyncio.get_running_loop()
        self._feed = StreamFeed(stream, store)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"burn {stream}")
        self._tasks: list[asyncio.Task[None]] = []
        self._results: OrderedDict[Stamp, Mapping[str, Any]] = OrderedDict()
        self._packets: OrderedDict[int, tuple[Stamp, float, bool]] = OrderedDict()  # by out_pts90k
        self._waiting: deque[_Picture] = deque()
        self._news = asyncio.Event()
        self._last: VideoFrame | None = None
        # of the thread alone
        self._decoder: VideoCodecContext | None = None
        self._decoder_epoch = -1
        self._drawer: Drawer | None = None

    def join(self, look: Look, fps: float) -> Place:
        """A place for one more viewer; the first starts the decoder."""
        place = Place(look, fps)
        self.places.add(place)
        if not self._tasks:
            loops = (self._read(), self._draw(), self._follow_config())
            self._tasks = [asyncio.create_task(loop, name=f"{self.stream} burn") for loop in loops]
        return place

    async def aclose(self) -> None:
        """Stop the decoder and the drawer, and end their thread."""
        self.places.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._feed.aclose()
        await asyncio.to_thread(self._thread.shutdown)
        self._waiting.clear()
        self._decoder = self._last = None

    async def note(self, look: Look, title: str, text: str) -> bytes:
        """A JPEG of the last picture (black, if there was none) that says in words why there is no newer one."""
        return await self._loop.run_in_executor(self._thread, self._noted, look, title, text)

    # ------------------------------------------------------------------------------------------- packets to pictures

    async def _read(self) -> None:
        subscription = self._feed.join()
        subscription.on_message = self._on_message
        for message in (self._feed.told_state, *self._feed.replay(subscription)):
            if message is not None:
                self._on_message(message)
        try:
            n = 0
            while True:
                item, waited = await self._next(subscription)
                if item is None:
                    return
                # What comes without waiting was there before: the group that a late viewer is given.
                await self._take(item, fresh=waited and n > 0)
                n += 1
        finally:
            await self._feed.leave(subscription)

    @staticmethod
    async def _next(subscription: Subscription) -> tuple[FeedPacket | None, bool]:
        """The next packet, and whether it had to be waited for."""
        coming = asyncio.ensure_future(subscription.next())
        try:
            await asyncio.sleep(0)
            waited = not coming.done()
            return await coming, waited
        finally:
            coming.cancel()

    async def _take(self, item: FeedPacket, *, fresh: bool) -> None:
        stamp = (item.packet.epoch, item.packet.pts90k)
        self._packets[item.out_pts90k] = (stamp, self._loop.time(), fresh)
        if len(self._packets) > KEPT_STAMPS:
            self._packets.popitem(last=False)
        for frame in await self._loop.run_in_executor(self._thread, self._decode, item):
            known = self._packets.pop(frame.pts or 0, None)
            if known is None:
                self.counts["nameless"] += 1
                continue
            self.counts["decoded"] += 1
            self._waiting.append(_Picture(frame, *known))
            if len(self._waiting) > WAITING_PICTURES:
                self._waiting.popleft()
                self.counts["overflow"] += 1
        self._news.set()

    def _decode(self, item: FeedPacket) -> list[VideoFrame]:
        """On the thread: what one packet gives; nothing where it cannot be decoded (the next key frame mends it)."""
        if self._decoder is None or item.packet.epoch != self._decoder_epoch:
            self._decoder = av.CodecContext.create("h264", "r")
            self._decoder.thread_count = 1
            self._decoder.options = {"flags": "low_delay"}
            self._decoder_epoch = item.packet.epoch
        packet: Packet[Any] = Packet(item.packet.data)
        packet.pts = packet.dts = item.out_pts90k
        try:
            return self._decoder.decode(packet)
        except av.FFmpegError as error:
            if not self.counts["undecodable"]:
                log.warning("stream %s: a packet cannot be decoded for burning in: %s", self.stream, error)
            self.counts["undecodable"] += 1
            return []

    def _on_message(self, message: str | ResultMessage) -> None:
        if isinstance(message, ResultMessage):
            self._results[message.at] = message.data
            if len(self._results) > KEPT_RESULTS:
                self._results.popitem(last=False)
            self._news.set()
        elif (said := orjson.loads(message))["t"] == "state":
            self.state = said["data"]

    # -------------------------------------------------------------------------------------------- pictures to JPEGs

    async def _draw(self) -> None:
        while True:
            picture, result = self._ready()
            if picture is None:
                self._news.clear()
                timeout_s = None if not self._waiting else HOLD_S / 8
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), timeout_s)
                continue
            self._last = picture.frame
            now_s = self._loop.time()
            due = [place for place in self.places if place.is_due(now_s)]
            if not due:
                self.counts["not_due"] += 1
                continue
            looks = {place.look for place in due}
            scene = self._scene(picture.stamp, result, looks)
            made = await self._loop.run_in_executor(self._thread, self._render, picture, scene, looks)
            self.counts["drawn"] += 1
            self.counts["unmatched"] += result is None and any(look.of_results for look in looks)
            for place in due:
                place.put(made[place.look], now_s)

    def _ready(self) -> tuple[_Picture | None, Mapping[str, Any] | None]:
        """The newest picture that may be drawn, with its result; all older ones are let go."""
        plain = not any(place.look.of_results for place in self.places)
        now_s = self._loop.time()
        for at in range(len(self._waiting) - 1, -1, -1):
            picture = self._waiting[at]
            result = self._result_of(picture.stamp)
            if result is not None or plain or now_s - picture.arrived_s >= HOLD_S:
                self.counts["newer_was_ready"] += at
                for _ in range(at + 1):
                    self._waiting.popleft()
                return picture, result
        return None, None

    def _result_of(self, stamp: Stamp) -> Mapping[str, Any] | None:
        epoch, pts90k = stamp
        found = (self._results.get((epoch, pts90k + off)) for off in _NEAR)
        return next((result for result in found if result is not None), None)

    def _scene(self, stamp: Stamp, result: Mapping[str, Any] | None, looks: set[Look]) -> Scene:
        """What is known to draw into the picture with this stamp."""
        wanted = frozenset[str]().union(*(look.layers for look in looks))
        trails = self._trails(stamp) if "trails" in wanted and result is not None else {}
        if self._config is None or "zones" not in wanted:
            return Scene(result, trails)
        inside = orjson.loads(self.state.get("zone_objects") or "{}")
        return Scene(result, trails, self._config.zones, self._config.lines, inside)

    def _trails(self, stamp: Stamp) -> Trails:
        """Where each object stood on the ground in the last seconds up to this stamp."""
        epoch, now = stamp
        paths: dict[int, list[Xy]] = {}
        for (of, pts90k), result in self._results.items():
            if of == epoch and -_NEAR[-1] <= now - pts90k <= TRAIL_S * TICKS_90K:
                for thing in result["objects"]:
                    x1, _, x2, y2 = thing["box_xyxy"]
                    paths.setdefault(thing["id"], []).append(((x1 + x2) / 2, y2))
        return paths

    async def _follow_config(self) -> None:
        """Zones and lines as they are changed; those of before while the store is away."""
        while True:
            with contextlib.suppress(SightlineError):
                streams = await self._store.streams()
                self._config = next((one for one in streams if one.name == self.stream), None)
            await asyncio.sleep(REGIONS_EVERY_S)

    def _render(self, picture: _Picture, scene: Scene, looks: set[Look]) -> dict[Look, Burned]:
        """On the thread: the picture in each look; looks that differ in quality only are drawn once."""
        drawn: dict[tuple[int, frozenset[str]], U8] = {}
        made: dict[Look, Burned] = {}
        for look in looks:
            kind = (look.width, look.layers)
            if kind not in drawn:
                drawn[kind] = _pixels(picture.frame, look.width)
                if look.layers:
                    self._own_drawer().draw(drawn[kind], scene, look.layers)
            seq = int(scene.result["seq"]) if look.of_results and scene.result is not None else None
            jpeg = _jpeg(drawn[kind], look.quality)
            made[look] = Burned(jpeg, picture.stamp, picture.arrived_s, picture.fresh, seq)
        return made

    def _noted(self, look: Look, title: str, text: str) -> bytes:
        blank = np.zeros((*_BLANK_HW, 3), np.uint8)
        picture = blank if self._last is None else _pixels(self._last, look.width)
        self._own_drawer().say(picture, title, text)
        return _jpeg(picture, look.quality)

    def _own_drawer(self) -> Drawer:
        self._drawer = self._drawer or Drawer()
        return self._drawer


def _pixels(frame: VideoFrame, width: int) -> U8:
    """The frame as u8 (h, w, 3) BGR, no wider than asked for (0: than WIDEST_PX) nor than it is."""
    w = min(width or WIDEST_PX, frame.width)
    h = max(2, round(frame.height * w / frame.width))
    return np.ascontiguousarray(frame.reformat(w, h, "bgr24").to_ndarray())


def _jpeg(picture_bgr: U8, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", picture_bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        raise ValueError(f"a picture {picture_bgr.shape} cannot be written as JPEG")
    return bytes(data)
