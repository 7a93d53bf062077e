"""From a file to a viewer's screen through a real Redis: source, encoder, packets, WHEP, and back to rest."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from fastapi import FastAPI

from streamer.client import AsyncClient
from streamer.clock import SystemClock
from streamer.config import StreamConfig
from streamer.sinks.redis import RedisSink
from streamer.sinks.redis_server import resolve_redis
from streamer.sinks.video import VideoPublisher
from streamer.sources import open_source
from tests.fakes.clips import ROUND, bar_index, write_clip
from web.whep import WhepServer


async def until(holds: Callable[[], object], what: str, deadline_s: float = 15.0) -> None:
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.01)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    address = resolve_redis(tmp_path, None)
    yield address.url
    address.close()


@contextmanager
def worker(url: str, clip: Path, data_dir: Path) -> Iterator[VideoPublisher]:
    """What a worker does for viewers: plays the clip, encodes while the watch key stands, hears the control line."""
    stop = threading.Event()
    with RedisSink(url, data_dir) as sink:
        publisher = VideoPublisher("gate", sink, SystemClock())

        def heard(message: Mapping[str, Any]) -> None:
            if message.get("op") == "keyframe":
                publisher.request_keyframe()
            publisher.set_watched("gate" in sink.watched(["gate"]))

        def play() -> None:
            config = StreamConfig(name="gate", url=str(clip), loop=True, realtime=True)
            source = open_source(config, epoch=1, input_hw=(48, 128), clock=SystemClock(), tap=publisher)
            source.open()
            for _ in source.frames():
                if stop.is_set():
                    source.close()

        def look() -> None:
            while not stop.wait(0.2):
                publisher.set_watched("gate" in sink.watched(["gate"]))

        listener = sink.listen(heard)
        assert listener.ready.wait(5)
        threads = [threading.Thread(target=play), threading.Thread(target=look)]
        for thread in threads:
            thread.start()
        try:
            yield publisher
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)
            publisher.close()


class Screen:
    """A standard WHEP player: no data channel, no own wishes for a codec."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pc.addTransceiver("video", direction="recvonly")
        self.shown: list[int] = []
        self.reading: asyncio.Task[None] | None = None
        self.pc.on("track", self._on_track)

    def _on_track(self, track: Any) -> None:
        self.reading = asyncio.create_task(self._read(track))

    async def _read(self, track: Any) -> None:
        try:
            while True:
                frame = await track.recv()
                self.shown.append(bar_index(frame.to_ndarray(format="rgb24")))
        except MediaStreamError:
            pass

    async def open(self, http: httpx.AsyncClient) -> str:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        offer = self.pc.localDescription.sdp
        response = await http.post("/gate/whep", content=offer, headers={"Content-Type": "application/sdp"})
        assert response.status_code == 201, response.text
        await self.pc.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        return response.headers["location"]

    async def close(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
        await self.pc.close()


@pytest.mark.parametrize(("b_frames", "encoders"), [(0, 0), (3, 1)], ids=["passed through", "encoded"])
def test_two_viewers_watch_and_then_nobody_pays(
    redis_url: str, tmp_path: Path, b_frames: int, encoders: int
) -> None:
    clip = write_clip(tmp_path / "bars.mp4", ROUND, b_frames=b_frames)

    async def watch(publisher: VideoPublisher) -> None:
        async with AsyncClient(redis_url) as store:
            await store.add_stream(StreamConfig(name="gate", url=str(clip)))
            server, app = WhepServer(store), FastAPI()
            app.include_router(server.router)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
                assert publisher.encoders_started == 0
                first = Screen()
                await first.open(http)
                await until(lambda: len(first.shown) >= 20, "20 pictures")
                late = Screen()
                location = await late.open(http)
                await until(lambda: len(late.shown) >= 20, "20 pictures for the late viewer")
                for screen in (first, late):
                    pairs = zip(screen.shown, screen.shown[1:], strict=False)
                    assert {(b - a) % ROUND for a, b in pairs} == {1}, screen.shown
                assert publisher.encoders_started == encoders
                assert server.viewers("gate") == 2
                assert (await http.delete(location)).status_code == 200
                await late.close()
                await first.close()
                await server.aclose()
        # The watch key runs out by itself within five seconds of the last viewer.
        await until(lambda: not publisher.watched, "the encoder to stop", 8)

    with worker(redis_url, clip, tmp_path / "data") as publisher:
        asyncio.run(watch(publisher))
        assert publisher.failures == 0
