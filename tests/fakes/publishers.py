"""What the tests of publishing share: a store in memory, an aiortc publisher that draws a moving bar, a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from fastapi import FastAPI, Request, Response

from streamer.client import PublishedFrame, Receipt
from streamer.config import StreamConfig
from streamer.errors import StoreError
from tests.fakes.whep_rig import SDP, until
from web.problems import Refused
from web.whip import WhipServer

HW = (144, 256)


class PublishedMemory:
    """A PublishStore of lists. `broken` makes every call raise StoreError."""

    def __init__(self, *streams: str) -> None:
        self.configs = {name: StreamConfig(name=name, url="whip://") for name in streams}
        self.frames: list[tuple[int, PublishedFrame]] = []
        self.kept_from: list[str] = []
        self.ended: list[int] = []
        self.holder: str | None = None
        self.asked = False
        self.broken = False
        self.numbers = 0

    def _check(self) -> None:
        if self.broken:
            raise StoreError("Redis does not answer")

    async def streams(self) -> list[StreamConfig]:
        self._check()
        return list(self.configs.values())

    async def add_stream(self, config: StreamConfig) -> bool:
        return self.configs.setdefault(config.name, config) is config

    async def claim_publication(self, name: str, session: str, ttl_ms: int) -> int:
        self._check()
        if self.holder is not None:
            return 0
        self.holder = session
        self.numbers += 1
        return self.numbers

    async def publish(
        self,
        name: str,
        session: str,
        number: int,
        frames: Sequence[PublishedFrame],
        *,
        keep_from: str | None,
        ttl_ms: int | None,
    ) -> Receipt:
        self._check()
        first = len(self.frames)
        self.frames += [(number, frame) for frame in frames]
        if keep_from is not None:
            self.kept_from.append(keep_from)
        asked, self.asked = self.asked, False
        return Receipt([str(first + i) for i in range(len(frames))], self.holder == session, asked)

    async def end_publication(self, name: str, session: str, number: int) -> None:
        self._check()
        self.ended.append(number)
        if self.holder == session:
            self.holder = None


class Bar(VideoStreamTrack):
    """A white bar that walks over grey, 30 pictures a second."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = 0

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        picture = np.full((*HW, 3), 60, np.uint8)
        at = self.drawn * 4 % 200
        picture[:, at : at + 40] = 220
        self.drawn += 1
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Camera:
    """A WHIP publisher made of aiortc, which encodes what `Bar` draws."""

    def __init__(self, codec: str = "video/H264", *, audio: bool = False) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.bar = Bar()
        self.sender = self.pc.addTrack(self.bar)
        known = RTCRtpSender.getCapabilities("video").codecs
        self.pc.getTransceivers()[0].setCodecPreferences([c for c in known if c.mimeType == codec])
        if audio:
            self.pc.addTransceiver("audio", direction="sendonly")
        self.keys_asked = 0
        ask = self.sender._send_keyframe

        def counted() -> None:
            self.keys_asked += 1
            ask()

        self.sender._send_keyframe = counted  # type: ignore[method-assign]

    async def offer(self) -> str:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self.pc.localDescription.sdp

    async def publish(self, http: httpx.AsyncClient, stream: str = "desk") -> httpx.Response:
        response = await http.post(f"/{stream}/whip", content=await self.offer(), headers=SDP)
        assert response.status_code == 201, response.text
        await self.pc.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        return response

    async def close(self) -> None:
        await self.pc.close()


def bar_at(picture: np.ndarray[Any, Any]) -> int:
    """The left edge of the bar in an RGB or grey picture, in its own pixels."""
    row = picture[picture.shape[0] // 2]
    row = row if row.ndim == 1 else row[:, 1]
    return int(np.argmax(row > 140))


def decoded(frames: Sequence[PublishedFrame]) -> list[tuple[int, int]]:
    """(pts90k, left edge of the bar) of each picture, in order."""
    decoder: Any = av.CodecContext.create(frames[0].codec, "r")
    found = []
    for frame in frames:
        packet: Any = av.Packet(frame.data)
        packet.pts, packet.time_base = frame.pts90k, Fraction(1, 90_000)
        found += [
            (picture.pts, bar_at(picture.to_ndarray(format="gray"))) for picture in decoder.decode(packet)
        ]
    return found


Scene = Callable[[httpx.AsyncClient, WhipServer], Awaitable[None]]


def published(scene: Scene, store: Any) -> None:
    """Run `scene` against a WHIP server over `store`; all is closed afterwards and no task may be left."""

    async def run() -> None:
        server = WhipServer(store)
        app = FastAPI()
        app.include_router(server.router)

        @app.exception_handler(Refused)
        async def refused(_: Request, error: Refused) -> Response:
            return error.response()

        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
                await scene(http, server)
        finally:
            with contextlib.suppress(StoreError):
                await server.aclose()
        names = {t.get_name() for t in asyncio.all_tasks()}
        assert not [n for n in names if "whip" in n], names

    asyncio.run(run())


__all__ = ["HW", "Bar", "Camera", "PublishedMemory", "bar_at", "decoded", "published", "until"]
