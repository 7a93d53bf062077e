"""What viewers need of Redis, awaiting: packets, results as they are stored, and the wish to be shown something."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import TypeVar

from streamer.client import calls
from streamer.client.calls import Call, VideoPacket
from streamer.client.sync import BLOCK_MS
from streamer.wire import keys

T = TypeVar("T")


class Viewing(ABC):
    """The viewers' part of a client; ids are those of the stream's entries in Redis, `codec` is h264 or vp8."""

    @abstractmethod
    async def run(self, call: Call[T]) -> T:
        """Drive one call to its outcome. Raises StoreError while the server is away."""

    async def read_results(self, stream: str, after: str, block_ms: int) -> list[tuple[str, bytes]]:
        """(id, Result JSON) after the id, waiting up to `block_ms` for the first."""
        return await self.run(calls.read_results(stream, after, block_ms))

    async def recent_results(self, stream: str, count: int) -> list[tuple[str, bytes]]:
        """The newest `count` results as `read_results` gives them, oldest first."""
        return await self.run(calls.recent_results(stream, count))

    async def read_video(
        self, stream: str, after: str, block_ms: int, codec: str = "h264"
    ) -> list[VideoPacket]:
        """Packets after the id, waiting up to `block_ms` for the first."""
        return await self.run(calls.read_video(stream, after, block_ms, codec))

    async def fresh_group(self, stream: str, codec: str = "h264") -> list[VideoPacket]:
        """The packets since the last key frame, if they are of now; else none."""
        return await self.run(calls.fresh_group(stream, codec))

    async def video_from_last_key(self, stream: str, codec: str = "h264") -> AsyncIterator[VideoPacket]:
        """Packets from the last key frame on, while the stream is watched (see `watch`), as they come."""
        after = (await self.tails(stream, codec))[0]
        group = await self.fresh_group(stream, codec)
        started = bool(group)
        while True:
            for packet in group:
                started = started or packet.key
                after = packet.id
                if started:
                    yield packet
            group = await self.read_video(stream, after, BLOCK_MS, codec)

    async def tails(self, stream: str, codec: str = "h264") -> tuple[str, str]:
        """The ids of the newest packet and of the newest result (`0-0` where there are none)."""
        return await self.run(calls.tails(stream, codec))

    async def watch(self, stream: str, codec: str = "h264") -> None:
        """Say that somebody watches in this codec (h264, vp8); say it again within five seconds."""
        await self.keep_watched(stream, keys.WATCH_TTL_S, codec)

    async def keep_watched(self, stream: str, ttl_s: int, codec: str = "h264") -> None:
        """Say that somebody watches, for the next `ttl_s` seconds: only then are there packets."""
        await self.run(calls.keep_watched(stream, ttl_s, codec))

    async def request_keyframe(self, stream: str, codec: str = "h264") -> None:
        """Ask for a key frame soon; a camera whose packets pass through untouched cannot be asked."""
        await self.run(calls.request_keyframe(stream, codec))
