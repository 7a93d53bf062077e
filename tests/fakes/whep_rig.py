"""A whole WHEP session in one process: real encoder, packets, ICE, DTLS and SRTP; only the store is memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

import av
import httpx
import numpy as np
import orjson
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from fastapi import FastAPI, Request, Response

from streamer.client import VideoPacket
from streamer.clock import SystemClock
from streamer.network import WebRtcConfig
from streamer.sinks.video import VideoPublisher
from streamer.types import FrameRef
from web.audience import Audience
from web.ports import MediaLoop
from web.problems import Refused
from web.whep import WhepServer

HW = (144, 256)
STEP = 3600  # 25 fps in 90 kHz ticks


class MemoryStore:
    """A VideoStore of lists; the publisher's thread writes, the feed's loop reads."""

    def __init__(self) -> None:
        self.packets: dict[str, list[VideoPacket]] = {"h264": [], "vp8": []}
        self.results: list[tuple[str, bytes]] = []
        self.state_hash: dict[str, str] = {"state": "RUNNING"}
        self.watched: list[str] = []
        self.keys_asked = 0
        self.on_watch: Callable[[str], None] = lambda codec: None

    @property
    def video(self) -> list[VideoPacket]:
        """The H.264 packets."""
        return self.packets["h264"]

    def write_packet(
        self,
        stream: str,
        data: bytes,
        key: bool,
        pts90k: int,
        epoch: int,
        seq: int,
        wall_ns: int,
        codec: str = "h264",
    ) -> None:
        kept = self.packets[codec]
        kept.append(VideoPacket(str(len(kept) + 1), data, key, pts90k, epoch, seq, codec))

    async def has_stream(self, stream: str) -> bool:
        return stream == "gate"

    async def tails(self, stream: str, codec: str) -> tuple[str, str]:
        return str(len(self.packets[codec])), str(len(self.results))

    async def fresh_group(self, stream: str, codec: str) -> Sequence[VideoPacket]:
        return []

    async def read_video(self, stream: str, after: str, block_ms: int, codec: str) -> Sequence[VideoPacket]:
        return await _wait_for_more(lambda: self.packets[codec][int(after) :], block_ms)

    async def read_results(self, stream: str, after: str, block_ms: int) -> Sequence[tuple[str, bytes]]:
        return await _wait_for_more(lambda: self.results[int(after) :], block_ms)

    async def recent_results(self, stream: str, count: int) -> Sequence[tuple[str, bytes]]:
        return self.results[-count:]

    async def state(self, stream: str) -> Mapping[str, str]:
        return self.state_hash

    async def keep_watched(self, stream: str, ttl_s: int, codec: str) -> None:
        self.watched.append(f"{stream} {codec}")
        self.on_watch(codec)

    async def request_keyframe(self, stream: str, codec: str) -> None:
        self.keys_asked += 1


async def _wait_for_more(read: Callable[[], list[Any]], block_ms: int) -> list[Any]:
    end = time.monotonic() + block_ms / 1000
    while not (found := read()) and time.monotonic() < end:
        await asyncio.sleep(0.005)
    return found


class Camera:
    """Offers a moving picture at 25 fps of stream time, as fast as it is let, with a result for each picture."""

    def __init__(self, store: MemoryStore) -> None:
        self.publisher = VideoPublisher("gate", store, SystemClock())
        self.vp8: Any = None
        store.on_watch = self._watched
        self._store = store
        self._seq = 0
        self.epoch = 1

    def _watched(self, codec: str) -> None:
        if codec == "h264":
            self.publisher.set_watched(True)
        elif self.vp8 is None:
            self.vp8 = vp8_encoder()

    async def run(self) -> None:
        while True:
            if self.publisher.wanted or self.vp8 is not None:
                self.shoot()
            await asyncio.sleep(0.02)

    def shoot(self) -> None:
        # The left edge of the white bar tells which picture this is, through any codec.
        picture = np.full((*HW, 3), 60, np.uint8)
        at = self._seq * 4 % 200
        picture[:, at : at + 40] = 220
        ref = FrameRef("gate", self.epoch, self._seq, self._seq * STEP, Fraction(1, 90_000), 0, 0)
        self.publisher.offer(ref, picture)
        if self.vp8 is not None:
            self._encode_vp8(picture, ref.pts90k)
        data = orjson.dumps({"pts90k": ref.pts90k, "epoch": self.epoch, "seq": self._seq, "at": at})
        self._store.results.append((str(len(self._store.results) + 1), data))
        self._seq += 1

    def _encode_vp8(self, picture: np.ndarray[Any, Any], pts90k: int) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = pts90k, Fraction(1, 90_000)
        for packet in self.vp8.encode(frame):
            key = bool(packet.is_keyframe)
            self._store.write_packet("gate", bytes(packet), key, pts90k, self.epoch, self._seq, 0, "vp8")

    def reconnect(self) -> None:
        self.epoch += 1
        self._seq = 0


_player_asks: ContextVar[bool] = ContextVar("player_asks", default=False)


class ServersLoop(MediaLoop):
    """The server's loop, on which players live too; but their sockets are not the server's and take any port."""

    async def create_datagram_endpoint(self, *args: Any, **options: Any) -> Any:
        if _player_asks.get():
            return await asyncio.SelectorEventLoop.create_datagram_endpoint(self, *args, **options)
        return await super().create_datagram_endpoint(*args, **options)


class Player:
    """A WHEP player: offers, plays, keeps what it saw as (pts in RTP ticks, left edge of the bar)."""

    def __init__(
        self,
        *,
        channel: bool = True,
        protocol: str = "",
        audio: bool = False,
        codecs: Sequence[str] = (),
        ice: RTCConfiguration | None = None,
    ) -> None:
        self.pc = RTCPeerConnection(ice or RTCConfiguration(iceServers=[]))
        video = self.pc.addTransceiver("video", direction="recvonly")
        if codecs:
            known = RTCRtpReceiver.getCapabilities("video").codecs
            video.setCodecPreferences([c for c in known if c.mimeType in codecs])
        if audio:
            self.pc.addTransceiver("audio", direction="recvonly")
        self.pictures: list[tuple[int, int]] = []
        self.messages: list[dict[str, Any]] = []
        self.kinds: set[type] = set()  # of messages, as they came
        self.first_stamp: int | None = None
        self.reading: asyncio.Task[None] | None = None
        self.pc.on("track", self._on_track)
        if channel:
            self.pc.createDataChannel("results", protocol=protocol).on("message", self._on_message)

    def _on_message(self, message: str | bytes) -> None:
        self.kinds.add(type(message))
        text = inflated(message) if isinstance(message, bytes) else message
        self.messages.append(orjson.loads(text))

    def _on_track(self, track: Any) -> None:
        if track.kind == "video":
            self._note_first_stamp()
            self.reading = asyncio.create_task(self._read(track))

    def _note_first_stamp(self) -> None:
        """aiortc's receiver counts from its first packet; a browser shows the RTP time stamps themselves."""
        receiver = self.pc.getReceivers()[0]
        handle = receiver._handle_rtp_packet

        async def noting(packet: Any, arrival_time_ms: int) -> None:
            if self.first_stamp is None and packet.payload:
                self.first_stamp = packet.timestamp
            await handle(packet, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_packet = noting  # type: ignore[method-assign]

    async def _read(self, track: Any) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                row = frame.to_ndarray(format="gray")[frame.height // 2]
                assert self.first_stamp is not None
                stamp = (self.first_stamp + frame.pts) % 2**32
                self.pictures.append((stamp, int(np.argmax(row > 140))))

    async def offer(self) -> str:
        token = _player_asks.set(True)
        await self.pc.setLocalDescription(await self.pc.createOffer())
        _player_asks.reset(token)
        return self.pc.localDescription.sdp

    async def open(self, http: httpx.AsyncClient) -> httpx.Response:
        response = await http.post("/gate/whep", content=await self.offer(), headers=SDP)
        assert response.status_code == 201, response.text
        await self.pc.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        return response

    async def close(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
        await self.pc.close()

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["t"] == kind]


def inflated(message: bytes) -> bytes:
    """A compressed message by itself: raw deflate that was flushed and not ended."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(message)


def vp8_encoder() -> Any:
    """VP8 without delay, a key frame every second."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.height, encoder.width = HW
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 90_000), Fraction(25)
    encoder.gop_size = 25
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "1"}
    return encoder


SDP = {"Content-Type": "application/sdp"}


async def until(holds: Callable[[], object], what: str, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.01)


Scene = Callable[[httpx.AsyncClient, WhepServer, MemoryStore, Camera], Awaitable[None]]


def played(
    scene: Scene,
    *,
    network: WebRtcConfig | None = None,
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    audience: Audience | None = None,
) -> None:
    """Run `scene` against a server with a camera; everything is closed afterwards and no task may be left."""

    async def run() -> None:
        store = MemoryStore()
        camera = Camera(store)
        server = WhepServer(store, network=network, audience=audience)
        app = FastAPI()
        app.include_router(server.router)

        @app.exception_handler(Refused)
        async def refused(_: Request, error: Refused) -> Response:
            return error.response()

        shooting = asyncio.create_task(camera.run())
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
                await scene(http, server, store, camera)
        finally:
            shooting.cancel()
            await server.aclose()
            camera.publisher.close()
        names = {t.get_name() for t in asyncio.all_tasks()}
        assert not [n for n in names if "feed" in n or "whep" in n], names

    body: Coroutine[Any, Any, None] = run()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(body)
