"""From a publisher through a real Redis to frames and a viewer: aiortc, FFmpeg's own WHIP muxer, a second life."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
import redis

from streamer.client import AsyncClient, Client
from streamer.clock import SystemClock
from streamer.errors import SourceCode, SourceError
from streamer.sinks.redis_server import resolve_redis
from streamer.sources import open_source
from streamer.wire import keys
from tests.fakes.publishers import HW, Camera, bar_at, published, until
from tests.fakes.sources import Spec
from web.app import WebSettings, create_app
from web.serving import WebServer, bind
from web.whip import WhipServer


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = resolve_redis(tmp_path_factory.mktemp("redis"), None)
    yield address.url
    address.close()


class Reader:
    """What a worker does with a stream: connects, reads until it is lost, and connects again."""

    def __init__(self, url: str, name: str) -> None:
        self.epochs: list[list[int]] = []
        self.errors: list[SourceError] = []
        self._spec = Spec(f"whip://{name}", name=name)
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def frames(self) -> list[int]:
        return self.epochs[-1] if self.epochs else []

    def _run(self) -> None:
        while not self._stop.is_set():
            source = open_source(
                self._spec,
                epoch=len(self.epochs) + 1,
                input_hw=HW,
                clock=SystemClock(),
                publications=lambda: Client(self._url),
            )
            try:
                source.open()
                seen: list[int] = []
                self.epochs.append(seen)
                for frame in source.frames():
                    seen.append(bar_at(frame.image))
                    if self._stop.is_set():
                        break
            except SourceError as error:
                self.errors.append(error)
            finally:
                source.close()


def moves(found: list[int]) -> bool:
    """Whether the bar walks four pixels a picture."""
    steps = [(b - a) % 200 for a, b in pairwise(found)]
    return sum(abs(step - 4) <= 2 for step in steps) > 0.8 * len(steps)


@pytest.mark.parametrize("codec", ["video/H264", "video/VP8"])
def test_a_publisher_is_decoded_and_after_its_end_the_next_one_is_another_connection(
    redis_url: str, codec: str
) -> None:
    raw = redis.Redis.from_url(redis_url)
    raw.flushall()

    async def scene(http: Any, server: WhipServer) -> None:
        with Reader(redis_url, "desk") as reader:
            first = Camera(codec)
            await first.publish(http)
            await until(lambda: len(reader.frames) > 30, "frames", 20)
            refused = await http.post("/desk/whip", content=await Camera(codec).offer(), headers=_sdp())
            assert refused.status_code == 409
            await first.close()
            await until(lambda: any(e.code is SourceCode.LOST for e in reader.errors), "the end is seen", 5)
            second = Camera(codec)
            await second.publish(http)
            await until(lambda: len(reader.epochs) == 2 and len(reader.frames) > 30, "frames again", 20)
            await second.close()
        assert all(moves(found) for found in reader.epochs), reader.epochs

    published(scene, AsyncClient(redis_url))
    assert raw.get(keys.publication("desk")) == b"2"
    assert raw.pttl(keys.published("desk")) > 0, "what was published does not stay for ever"
    assert raw.get(keys.publisher("desk")) is None


def _sdp() -> dict[str, str]:
    return {"Content-Type": "application/sdp"}


def test_places_in_redis(redis_url: str) -> None:
    """Who holds a place, who does not, and who gets one that lapsed."""
    raw = redis.Redis.from_url(redis_url)
    raw.flushall()

    async def scene() -> None:
        async with AsyncClient(redis_url) as store:
            assert await store.claim_publication("desk", "a", 5000) == 1
            assert await store.claim_publication("desk", "b", 5000) == 0
            keep: dict[str, Any] = {"keep_from": None, "ttl_ms": 5000}
            assert (await store.publish("desk", "a", 1, [], **keep)).holds
            raw.delete(keys.publisher("desk"))  # three silent seconds
            assert (await store.publish("desk", "a", 1, [], keep_from=None, ttl_ms=None)).holds
            assert (await store.publish("desk", "a", 1, [], **keep)).holds, "nobody took it"
            raw.delete(keys.publisher("desk"))
            assert await store.claim_publication("desk", "b", 5000) == 2
            assert not (await store.publish("desk", "a", 1, [], **keep)).holds
            await store.end_publication("desk", "a", 1)
            assert raw.get(keys.publisher("desk")) == b"b", "the displaced one takes nothing with it"
            await store.request_keyframe("desk")
            assert (await store.publish("desk", "b", 2, [], **keep)).asked, (
                "a viewer's wish reaches the publisher"
            )
            assert not (await store.publish("desk", "b", 2, [], **keep)).asked

    asyncio.run(scene())


@contextmanager
def serving(redis_url: str) -> Iterator[str]:
    """The whole web process but for its viewers, on a port."""
    started = threading.Event()
    found: list[tuple[str, WebServer]] = []

    async def main() -> None:
        store = AsyncClient(redis_url)
        app = create_app(WebSettings(), store, whip=WhipServer(store))
        with bind("127.0.0.1", 0) as listener:
            server = WebServer(app)
            found.append((f"http://127.0.0.1:{listener.getsockname()[1]}", server))
            started.set()
            await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(20)
    yield found[0][0]
    found[0][1].should_exit = True
    thread.join(20)
    assert not thread.is_alive()


PUBLISH = """
import sys, time
from fractions import Fraction
import av, numpy as np
out = av.open(sys.argv[1], "w", format="whip", options={"handshake_timeout": "15000"})
video = out.add_stream("libx264", rate=25, options={"tune": "zerolatency", "preset": "ultrafast", "g": "25", "bf": "0"})
video.width, video.height, video.pix_fmt = 256, 144, "yuv420p"
began = time.monotonic()
for i in range(int(sys.argv[2])):
    picture = np.full((144, 256, 3), 60, np.uint8)
    picture[:, i * 4 % 200 : i * 4 % 200 + 40] = 220
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base = i, Fraction(1, 25)
    for packet in video.encode(frame):
        out.mux(packet)
    time.sleep(max(0.0, began + i / 25 - time.monotonic()))
out.close()
"""


@pytest.mark.skipif("whip" not in av.formats_available, reason="this build of FFmpeg has no WHIP muxer")
def test_ffmpegs_own_muxer_publishes(redis_url: str, tmp_path: Path) -> None:
    """The muxer that FFmpeg has since version 8, here the one in PyAV's wheel, in a process of its own."""
    raw = redis.Redis.from_url(redis_url)
    raw.flushall()
    script = tmp_path / "publish.py"
    script.write_text(PUBLISH)
    with serving(redis_url) as url, Reader(redis_url, "ffmpeg") as reader:
        done = subprocess.run(
            [sys.executable, str(script), f"{url}/ffmpeg/whip", "75"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(reader.epochs) == 1
        assert len(reader.frames) > 40
        assert moves(reader.frames), reader.frames
    assert raw.hexists(keys.STREAMS, "ffmpeg"), "with no token the stream is made"
