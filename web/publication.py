"""From a publisher to Redis: frames in batches, the place kept while they come, old groups of pictures forgotten.

One task a publication. Redis away costs pictures, never the session: what cannot be written is counted, and it goes on
with the next key frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from streamer.client import PublishedFrame, Receipt
from streamer.errors import StoreError
from web.encoded import EncodedFrame

log = logging.getLogger(__name__)

MAX_KEPT_BYTES: Final = 16 << 20
KEPT_GROUPS: Final = 2
PLACE_S: Final = 3.0
TICK_S: Final = 0.25


class FrameStore(Protocol):
    """Where packets go (`streamer.client.publishing`); every call raises StoreError while it is away."""

    async def publish(
        self,
        name: str,
        session: str,
        number: int,
        frames: Sequence[PublishedFrame],
        *,
        keep_from: str | None,
        ttl_ms: int | None,
    ) -> Receipt: ...

    async def end_publication(self, name: str, session: str, number: int) -> None: ...


class Publisher(Protocol):
    """The session that frames come from (`web.publishing.PublishingPeer`)."""

    session: str
    last_frame_s: float

    async def batch(self, within_s: float) -> list[EncodedFrame] | None: ...

    def store_lost(self) -> None: ...

    def want_key(self) -> None: ...

    async def ask_for_key(self) -> None: ...


@dataclass(slots=True)
class Kept:
    """What Redis still holds of a publication: two groups of pictures, less if they are large."""

    entries: deque[tuple[str, int, bool]] = field(default_factory=deque)  # id, bytes, key
    bytes: int = 0
    groups: int = 0
    _began: bool = False

    def add(self, ids: Sequence[str], frames: Sequence[PublishedFrame]) -> str | None:
        """Note these entries; the id before which all may be forgotten, None while that is nothing new."""
        for entry, frame in zip(ids, frames, strict=True):
            self.entries.append((entry, len(frame.data), frame.key))
            self.bytes += len(frame.data)
            self.groups += frame.key
        dropped = not self._began  # what an earlier publication left behind
        while self.entries and (
            self.groups > KEPT_GROUPS
            or self.bytes > MAX_KEPT_BYTES
            or (self._began and dropped and self.groups and not self.entries[0][2])
        ):
            _, size, key = self.entries.popleft()
            self.bytes -= size
            self.groups -= key
            dropped = True
        self._began = self._began or bool(self.entries)
        return self.entries[0][0] if dropped and self.entries else None


async def carry(
    publisher: Publisher,
    name: str,
    number: int,
    store: FrameStore,
    *,
    wall_ns: Callable[[], int],
    wrote: Callable[[Sequence[PublishedFrame]], None] = lambda frames: None,
) -> str:
    """Carry frames to the store until the end, and say it there; why it ended, in words."""
    loop = asyncio.get_running_loop()
    kept, index, keep_from = Kept(), 0, None
    away = False
    why = "the publisher ended it"
    try:
        while (batch := await publisher.batch(TICK_S)) is not None:
            await publisher.ask_for_key()
            frames = []
            for found in batch:
                frames.append(
                    PublishedFrame(found.data, found.key, found.pts90k, found.codec, index, wall_ns())
                )
                index += 1
            ttl_s = PLACE_S - (loop.time() - publisher.last_frame_s)
            ttl_ms = int(ttl_s * 1000) if ttl_s > 0 else None
            try:
                receipt = await store.publish(
                    name, publisher.session, number, frames, keep_from=keep_from, ttl_ms=ttl_ms
                )
            except StoreError as error:
                if not away:
                    log.warning("stream %s: what is published cannot be passed on: %s", name, error)
                away = True
                if frames:
                    publisher.store_lost()
                continue
            away = False
            if not receipt.holds:
                why = "another publisher took over"
                break
            if receipt.asked:
                publisher.want_key()
            if frames:
                wrote(frames)
            keep_from = kept.add(receipt.ids, frames)
    finally:
        with contextlib.suppress(StoreError):  # readers notice the silence
            await store.end_publication(name, publisher.session, number)
    return why
