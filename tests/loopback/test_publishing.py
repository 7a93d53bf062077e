"""From a publisher through a real Redis to frames: what aiortc sends, and its second life."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
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
from tests.unit.test_sources_packets import Tap
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


@pytest.mark.parametrize("codec", ["video/H264", "video/VP8"])
def test_h264_that_is_published_passes_to_viewers_and_vp8_does_not(redis_url: str, codec: str) -> None:
    redis.Redis.from_url(redis_url).flushall()
    tap, frames = Tap(), []

    def read() -> None:
        spec = Spec("whip://desk", name="desk")
        source = open_source(
            spec, epoch=1, input_hw=HW, clock=SystemClock(), tap=tap, publications=lambda: Client(redis_url)
        )
        try:
            source.open()
            frames.extend(frame.ref for frame, _ in zip(source.frames(), range(30), strict=False))
        finally:
            source.close()

    async def scene(http: Any, server: WhipServer) -> None:
        camera = Camera(codec)
        await camera.publish(http)
        await asyncio.wait_for(asyncio.to_thread(read), 20)
        await camera.close()

    published(scene, AsyncClient(redis_url))
    assert len(frames) == 30
    if codec == "video/VP8":
        assert not tap.offered and "vp8" in tap.whys[0]
        return
    assert not tap.whys and tap.offered[0][2], "it begins with a key frame"
    assert {ref.pts90k for ref in frames} <= {ref.pts90k for ref, _, _ in tap.offered}
    decoder = av.CodecContext.create("h264", "r")
    pictures = [f for _, data, _ in tap.offered for f in decoder.decode(av.Packet(data))] + decoder.decode(
        None
    )
    assert len(pictures) == len(tap.offered)


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
