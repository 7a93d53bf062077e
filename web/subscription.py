"""One viewer's place at a feed: a bounded queue of packets that begins, and after a loss goes on, at a key frame."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamer.client import VideoPacket
from web.results import ResultMessage

# What a viewer may lag behind: about two groups of pictures at 30 fps.
QUEUE_PACKETS = 150


@dataclass(frozen=True, slots=True)
class FeedPacket:
    """A packet on the viewers' time line: `out_pts90k` = the packet's own pts90k + `offset`, growing over epochs."""

    packet: VideoPacket
    offset: int

    @property
    def out_pts90k(self) -> int:
        return self.packet.pts90k + self.offset

    @property
    def at(self) -> tuple[int, int]:
        """(epoch, pts90k) of the picture, as its result bears them too."""
        return self.packet.epoch, self.packet.pts90k


class Subscription:
    """One viewer's place at the feed: a bounded queue of packets, and a callback for messages (JSON text, or a result).

    `begins` is (epoch, pts90k) of the packet that it began with, None before.
    """

    def __init__(self, wants_key: Callable[[], None], group: Sequence[FeedPacket]) -> None:
        self._wants_key = wants_key
        self._queue: deque[FeedPacket] = deque(group)
        self._filled = asyncio.Event()
        self._needs_key = not group
        self.begins = group[0].at if group else None
        self._given = group[0].packet.id if group else ""  # the key frame of the group that was given whole
        self.ended = False
        self.dropped = 0
        self.on_message: Callable[[str | ResultMessage], None] | None = None
        if group:
            self._filled.set()

    def put(self, item: FeedPacket) -> None:
        """Queue a packet; one that overflows the queue empties it, and the viewer goes on at the next key frame."""
        if len(self._queue) >= QUEUE_PACKETS:
            self.skip_to_key()
            self._wants_key()
        if self._needs_key and not item.packet.key:
            self.dropped += 1
            return
        self._needs_key = False
        self.begins = self.begins or item.at
        self._queue.append(item)
        self._filled.set()

    def again(self, group: Sequence[FeedPacket]) -> bool:
        """Go back to the group's key frame; False, and nothing changed, if this viewer was given that group before."""
        key = group[0].packet.id
        if key == self._given:
            return False
        self._given = key
        self.dropped += len(self._queue)
        self._queue = deque(group)
        self._needs_key = False
        self._filled.set()
        return True

    def skip_to_key(self) -> None:
        """Forget what is queued and take nothing until a key frame comes."""
        self.dropped += len(self._queue)
        self._queue.clear()
        self._needs_key = True

    async def next(self) -> FeedPacket | None:
        """The next packet, waited for; None when the feed or the viewer has ended."""
        while not self._queue and not self.ended:
            self._filled.clear()
            await self._filled.wait()
        return None if self.ended else self._queue.popleft()

    def end(self) -> None:
        """Nothing more comes out."""
        self.ended = True
        self._filled.set()
