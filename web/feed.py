"""One reader per stream and codec: packets, results and state are read from the store once, for every viewer.

While anybody watches, the feed keeps the worker's encoder running by renewing the stream's watch key. It holds the
packets since the last key frame and the results of their pictures, so a late viewer starts at once, with the original
time stamps; a viewer that lags is not allowed to fill memory but starts again from a key frame.

A viewer that says its picture is broken (PLI, FIR) needs a key frame. An encoder is asked for one. A camera whose
packets pass through cannot be asked: its viewer is given the group of pictures again from its key frame, with the
original time stamps, so that it catches up in fast-forward and the overlays still fit; once a group, as a second copy
did not help the first time and loads a link that is in trouble, and not when the next key frame is due anyway.
Measured in Chromium, groups of 6 s, 2 s without a network and too short a history: frozen 3.0 s, else 5.5 s.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import orjson

from streamer.client import VideoPacket
from streamer.errors import WireError
from web.results import ResultMessage
from web.sdp import Codec
from web.subscription import QUEUE_PACKETS, FeedPacket, Subscription

log = logging.getLogger(__name__)

WATCH_TTL_S = 5
WATCH_EVERY_S = 2.0
STATE_EVERY_S = 1.0
KEY_REQUEST_GAP_S = 0.5
# Results that are kept for viewers whose channel has yet to open: as many as they may be given pictures at once.
KEPT_RESULTS = QUEUE_PACKETS
# A key frame that comes within this is waited for; sending the group again would take as long.
KEY_IS_DUE_TICKS = 45_000
# Packets of a group of pictures that are kept for late viewers; a longer group is not worth the fast-forward.
GROUP_PACKETS = 300
# After a new epoch the picture goes on one nominal frame later on the viewers' time line.
_GAP_TICKS = 3600
_RETRY_S = 0.5
_CANCEL_AGAIN_S = 0.2
_BLOCK_MS = 1000


class VideoStore(Protocol):
    """What viewers need of `AsyncClient`. Calls raise while the store is away, and are tried again by the feed."""

    async def has_stream(self, stream: str, /) -> bool:
        """Whether a stream of this name is wanted (runs, or should)."""
        ...

    async def read_video(
        self, stream: str, after: str, block_ms: int, codec: str, /
    ) -> Sequence[VideoPacket]:
        """Packets after the id, waiting up to `block_ms` for the first."""
        ...

    async def tails(self, stream: str, codec: str, /) -> tuple[str, str]:
        """The ids of the newest packet and of the newest result (`0-0` where there are none)."""
        ...

    async def fresh_group(self, stream: str, codec: str, /) -> Sequence[VideoPacket]:
        """The packets since the last key frame, if they are of now (another process watches), else none."""
        ...

    async def read_results(self, stream: str, after: str, block_ms: int, /) -> Sequence[tuple[str, bytes]]:
        """(id, Result JSON) after the id, as `read_video`."""
        ...

    async def recent_results(self, stream: str, count: int, /) -> Sequence[tuple[str, bytes]]:
        """The newest `count` results as `read_results` gives them, oldest first."""
        ...

    async def state(self, stream: str, /) -> Mapping[str, str]:
        """The stream's state hash; empty if there is none."""
        ...

    async def keep_watched(self, stream: str, ttl_s: int, codec: str, /) -> None:
        """Say that somebody watches, for the next `ttl_s` seconds."""
        ...

    async def request_keyframe(self, stream: str, codec: str, /) -> None:
        """Ask the worker for a key frame soon."""
        ...


class StreamFeed:
    """The reader of one stream in one codec, for all viewers of this process; from first `join` to last `leave`.

    `strange` counts packets of another codec than its own, and results that cannot be read, which are let go.
    """

    def __init__(self, stream: str, store: VideoStore, codec: Codec = "h264") -> None:
        self.stream = stream
        self.codec = codec
        self.strange = 0
        self._store = store
        self._passes_through = False
        self._subscriptions: set[Subscription] = set()
        self._group: list[FeedPacket] = []
        self._results: deque[ResultMessage] = deque(maxlen=KEPT_RESULTS)
        self._began = asyncio.Event()  # it is known whether there was a group to begin with
        self._state: str | None = None
        self._offset = 0
        self._last: FeedPacket | None = None
        self._group_ticks = 0  # how long the last whole group was, 90 kHz
        self._key_asked_s = float("-inf")
        self._asking: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def viewers(self) -> int:
        return len(self._subscriptions)

    def join(self) -> Subscription:
        """A place for one more viewer, beginning at the last key frame if there is one."""
        if not self._tasks:
            self._forget()  # what those before are still being freed of
        group = self._group if len(self._group) < QUEUE_PACKETS else []
        subscription = Subscription(self.request_keyframe, group)
        self._subscriptions.add(subscription)
        if not self._tasks:
            loops = (self._keep_watched, self._read_video, self._read_results, self._read_state)
            self._tasks = [
                asyncio.create_task(self._forever(loop), name=f"{self.stream} feed") for loop in loops
            ]
        elif not group:
            self.request_keyframe()
        return subscription

    async def leave(self, subscription: Subscription) -> None:
        """Give the place back; the last one to leave stops the reader (the watch key then runs out by itself)."""
        subscription.end()
        self._subscriptions.discard(subscription)
        if not self._subscriptions:
            await self.aclose()

    async def aclose(self) -> None:
        """End every viewer's place and stop reading."""
        for subscription in self._subscriptions:
            subscription.end()
        self._subscriptions.clear()
        tasks, self._tasks = {*self._tasks, *self._asking}, []
        while tasks:
            for task in tasks:
                task.cancel()
            # A store may swallow the cancelling: asyncio.wait_for of Python 3.11 does, when its answer comes in the
            # same turn. So it is said again until it was heard.
            _, tasks = await asyncio.wait(tasks, timeout=_CANCEL_AGAIN_S)
        if not self._tasks:  # else somebody joined meanwhile, and it began anew
            self._forget()

    def _forget(self) -> None:
        self._group = []
        self._results.clear()
        self._began.clear()
        self._last = None
        self._group_ticks = 0

    def replay(self, subscription: Subscription) -> list[ResultMessage]:
        """The results so far of the pictures that this viewer was given; older ones would only hold up those."""
        begins = subscription.begins
        return [] if begins is None else [one for one in self._results if one.at >= begins]

    @property
    def told_state(self) -> str | None:
        """The newest message of the stream's state, None before the first."""
        return self._state

    def picture_lost(self, subscription: Subscription) -> None:
        """This viewer's picture is broken: see the module's docstring."""
        if not self._passes_through:
            self.request_keyframe()
            return
        group = self._group
        if not group or len(group) >= QUEUE_PACKETS:
            return
        played = group[-1].out_pts90k - group[0].out_pts90k
        if self._group_ticks and self._group_ticks - played < KEY_IS_DUE_TICKS:
            return
        if subscription.again(group):
            log.info("stream %s: a viewer lost its picture and is given the last group again", self.stream)

    def request_keyframe(self) -> None:
        """Ask for a key frame; at most one request per half second leaves this process, and none to a camera."""
        if self._passes_through:
            return
        now_s = asyncio.get_running_loop().time()
        if now_s - self._key_asked_s < KEY_REQUEST_GAP_S:
            return
        self._key_asked_s = now_s
        task = asyncio.create_task(self._ask_keyframe())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask_keyframe(self) -> None:
        try:
            await self._store.request_keyframe(self.stream, self.codec)
        except Exception as error:
            log.info("stream %s: the request for a key frame was lost: %s", self.stream, error)

    # ------------------------------------------------------------------------------------------------ the loops

    async def _forever(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a reading loop again after each failure of the store: viewers stay, and go on when it is back."""
        quiet = False
        while True:
            try:
                await loop()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if not quiet:
                    log.warning("stream %s: %s", self.stream, error)
                quiet = True
                await asyncio.sleep(_RETRY_S)

    async def _keep_watched(self) -> None:
        while True:
            await self._store.keep_watched(self.stream, WATCH_TTL_S, self.codec)
            await asyncio.sleep(WATCH_EVERY_S)

    async def _read_video(self) -> None:
        after = (await self._store.tails(self.stream, self.codec))[0]
        if (
            self._last is None
        ):  # else there is a hole behind a failure of the store, and only a new key frame helps
            for packet in await self._store.fresh_group(self.stream, self.codec):
                self._accept(packet)
                after = packet.id
        else:
            self._broken()
        self._began.set()
        while True:
            for packet in await self._store.read_video(self.stream, after, _BLOCK_MS, self.codec):
                self._accept(packet)
                after = packet.id

    def _broken(self) -> None:
        """Packets are missing: nobody may go on but from a key frame."""
        self._group = []
        for subscription in self._subscriptions:
            subscription.skip_to_key()
        self.request_keyframe()

    def _accept(self, packet: VideoPacket) -> None:
        if packet.codec != self.codec:
            if not self.strange:
                log.error("stream %s: a %s packet among those of %s", self.stream, packet.codec, self.codec)
            self.strange += 1
            return
        last = self._last
        if last is not None and (packet.epoch != last.packet.epoch or packet.pts90k <= last.packet.pts90k):
            self._offset = last.out_pts90k + _GAP_TICKS - packet.pts90k
        item = FeedPacket(packet, self._offset)
        self._last = item
        if packet.key:
            if self._group:
                self._group_ticks = item.out_pts90k - self._group[0].out_pts90k
                # who began with the group that ends now may still wait for its channel
                while self._results and self._results[0].at < self._group[0].at:
                    self._results.popleft()
            self._group = [item]
        elif self._group and len(self._group) < GROUP_PACKETS:
            self._group.append(item)
        else:
            self._group = []
        for subscription in self._subscriptions:
            subscription.put(item)

    async def _read_results(self) -> None:
        await self._began.wait()
        after = (await self._store.tails(self.stream, self.codec))[1]
        if self._group and not self._results:
            # Its pictures were analysed before anybody came; they cannot have more results than there are of them.
            for entry, data in await self._store.recent_results(self.stream, len(self._group)):
                self._take_result(data)
                after = entry
        while True:
            for entry, data in await self._store.read_results(self.stream, after, _BLOCK_MS):
                self._take_result(data)
                after = entry

    def _take_result(self, data: bytes) -> None:
        try:
            result = ResultMessage(data)
        except WireError as error:
            if not self.strange:
                log.error("stream %s: %s", self.stream, error)
            self.strange += 1
            return
        self._results.append(result)
        self._tell(result)

    async def _read_state(self) -> None:
        while True:
            state = await self._store.state(self.stream)
            self._passes_through = self.codec == "h264" and state.get("viewer_video") == "pass-through"
            text = orjson.dumps({"t": "state", "data": dict(state)}).decode()
            if text != self._state:
                self._state = text
                self._tell(text)
            await asyncio.sleep(STATE_EVERY_S)

    def _tell(self, message: str | ResultMessage) -> None:
        for subscription in self._subscriptions:
            if subscription.on_message is not None:
                subscription.on_message(message)
