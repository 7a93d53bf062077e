"""The feed: read once, hand to all, bounded, and whole again after the store was away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import orjson
import pytest

from streamer.client import VideoPacket
from web.feed import GROUP_PACKETS, KEPT_RESULTS, StreamFeed
from web.results import ResultMessage
from web.subscription import QUEUE_PACKETS, Subscription


def packet(n: int, *, key: bool = False, epoch: int = 1, pts90k: int | None = None) -> VideoPacket:
    return VideoPacket(str(n), b"x", key, n * 3600 if pts90k is None else pts90k, epoch, n)


class Script:
    """A VideoStore that says what it is told to."""

    def __init__(self) -> None:
        self.video: asyncio.Queue[VideoPacket | Exception] = asyncio.Queue()
        self.results: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.group: list[VideoPacket] = []
        self.before: list[tuple[str, bytes]] = []  # results that were there before anybody watched
        self.state_hash: dict[str, str] = {}
        self.reads: list[str] = []
        self.codecs: set[str] = set()
        self.watches = self.keys = self.failing_watches = 0

    async def has_stream(self, stream: str) -> bool:
        return True

    async def tails(self, stream: str, codec: str) -> tuple[str, str]:
        return "tail", "0-0"

    async def fresh_group(self, stream: str, codec: str) -> Sequence[VideoPacket]:
        return self.group

    async def read_video(self, stream: str, after: str, block_ms: int, codec: str) -> Sequence[VideoPacket]:
        self.reads.append(after)
        self.codecs.add(codec)
        item = await self.video.get()
        if isinstance(item, Exception):
            raise item
        return [item]

    async def read_results(self, stream: str, after: str, block_ms: int) -> Sequence[tuple[str, bytes]]:
        return [await self.results.get()]

    async def recent_results(self, stream: str, count: int) -> Sequence[tuple[str, bytes]]:
        return self.before[-count:]

    async def state(self, stream: str) -> Mapping[str, str]:
        return self.state_hash

    async def keep_watched(self, stream: str, ttl_s: int, codec: str) -> None:
        self.watches += 1
        if self.failing_watches:
            self.failing_watches -= 1
            raise ConnectionError("away")

    async def request_keyframe(self, stream: str, codec: str) -> None:
        self.keys += 1


def fed(scene: Callable[[StreamFeed, Script], Awaitable[None]]) -> None:
    async def run() -> None:
        script = Script()
        feed = StreamFeed("gate", script)
        try:
            await asyncio.wait_for(scene(feed, script), 10)
        finally:
            await feed.aclose()

    asyncio.run(run())


async def take(subscription: Subscription, n: int) -> list[int]:
    found = []
    for _ in range(n):
        item = await subscription.next()
        assert item is not None
        found.append(item.packet.seq)
    return found


async def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


def test_a_viewer_begins_at_a_key_frame_and_a_late_one_at_the_last() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        first = feed.join()
        for n in range(6):
            script.video.put_nowait(packet(n, key=n in (1, 4)))
        assert await take(first, 5) == [1, 2, 3, 4, 5]
        late = feed.join()
        assert await take(late, 2) == [4, 5]
        script.video.put_nowait(packet(6))
        assert (await take(first, 1), await take(late, 1)) == ([6], [6])
        assert script.reads[:2] == ["tail", "0"], "read once for both, on from the last"

    fed(scene)


def test_a_group_that_another_process_watches_is_used_at_once() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        script.group = [packet(7, key=True), packet(8)]
        viewer = feed.join()
        assert await take(viewer, 2) == [7, 8]
        await until(lambda: script.reads == ["8"])

    fed(scene)


def test_a_viewer_that_lags_goes_on_at_a_key_frame_and_holds_nobody_up() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        slow, quick = feed.join(), feed.join()
        script.video.put_nowait(packet(0, key=True))
        assert await take(quick, 1) == [0]
        for n in range(1, QUEUE_PACKETS + 20):
            script.video.put_nowait(packet(n))
            await take(quick, 1)
        assert slow.dropped == QUEUE_PACKETS + 20
        await until(lambda: script.keys >= 1)
        script.video.put_nowait(packet(900, key=True))
        script.video.put_nowait(packet(901))
        assert await take(slow, 2) == [900, 901]

    fed(scene)


def test_an_endless_group_is_not_kept() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        viewer = feed.join()
        script.video.put_nowait(packet(0, key=True))
        for n in range(1, GROUP_PACKETS + 5):
            script.video.put_nowait(packet(n))
            await take(viewer, 1)
        before = script.keys
        late = feed.join()
        await until(lambda: script.keys > before)
        script.video.put_nowait(packet(5000, key=True))
        assert await take(late, 1) == [5000]

    fed(scene)


def test_the_viewers_time_line_goes_on_over_an_epoch() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        viewer = feed.join()
        sent = [packet(100, key=True), packet(101), packet(0, key=True, epoch=2), packet(1, epoch=2)]
        for item in sent:
            script.video.put_nowait(item)
        out = []
        for _ in sent:
            item = await viewer.next()
            assert item is not None
            out.append((item.out_pts90k, item.out_pts90k - item.packet.pts90k))
        assert [pts for pts, _ in out] == [360_000, 363_600, 367_200, 370_800]
        assert [offset for _, offset in out] == [0, 0, 367_200, 367_200]

    fed(scene)


def test_a_store_that_was_away_leaves_no_viewer_in_the_middle_of_a_group() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        viewer = feed.join()
        script.video.put_nowait(packet(0, key=True))
        assert await take(viewer, 1) == [0]
        script.video.put_nowait(ConnectionError("away"))
        script.video.put_nowait(packet(5))
        script.video.put_nowait(packet(6, key=True))
        assert await take(viewer, 1) == [6]
        assert script.keys >= 1

    fed(scene)


def test_watching_is_kept_up_over_failures_and_ends_with_the_last_viewer() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        script.failing_watches = 1
        one, two = feed.join(), feed.join()
        await until(lambda: script.watches >= 2)
        await feed.leave(one)
        assert (feed.viewers, one.ended, await one.next()) == (1, True, None)
        await feed.leave(two)
        watches = script.watches
        assert not [t for t in asyncio.all_tasks() if "feed" in t.get_name()]
        # It can be watched again afterwards.
        again = feed.join()
        await until(lambda: script.watches > watches)
        script.video.put_nowait(packet(50, key=True))
        assert await take(again, 1) == [50]

    fed(scene)


def result(n: int, *, epoch: int = 1) -> tuple[str, bytes]:
    """The result of `packet(n)` as the store keeps it."""
    return f"{n}-0", orjson.dumps({"seq": n, "epoch": epoch, "pts90k": n * 3600})


def seqs(messages: Sequence[str | ResultMessage]) -> list[int]:
    return [message.data["seq"] for message in messages if isinstance(message, ResultMessage)]


def test_results_and_state_reach_every_viewer() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        script.state_hash = {"state": "RUNNING"}
        heard: list[list[str | ResultMessage]] = [[], []]
        for messages in heard:
            feed.join().on_message = messages.append
        for n in range(100):
            script.results.put_nowait(result(n))
        for messages in heard:
            await until(lambda messages=messages: len(messages) >= 101)
            assert seqs(messages) == list(range(100))
            assert [m for m in messages if isinstance(m, str)] == ['{"t":"state","data":{"state":"RUNNING"}}']
        assert heard[0][-1] is heard[1][-1], "made once for all"

    fed(scene)


def test_a_viewer_is_told_again_what_belongs_to_its_pictures() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        script.group = [packet(n, key=n == 40) for n in range(40, 50)]
        script.before = [result(n) for n in range(20, 45)]
        first = feed.join()
        await take(first, 10)
        await until(lambda: feed.replay(first))
        assert seqs(feed.replay(first)) == [40, 41, 42, 43, 44], (
            "analysed before it came, of its group and no other"
        )
        script.video.put_nowait(packet(50, key=True))
        await take(first, 1)
        late = feed.join()
        await take(late, 1)
        for n in range(45, 120):
            script.results.put_nowait(result(n))
        await until(lambda: seqs(feed.replay(late))[-1:] == [119])
        assert seqs(feed.replay(late)) == list(range(50, 120))
        assert seqs(feed.replay(first)) == list(range(40, 120)), "its channel may still be opening"
        for n in (51, 52):
            script.video.put_nowait(packet(n, key=True))
        await take(late, 2)
        assert seqs(feed.replay(first)) == list(range(51, 120)), "no more is kept than a late viewer needs"
        for n in range(120, 600):
            script.results.put_nowait(result(n))
        script.results.put_nowait(result(3, epoch=2))
        await until(lambda: seqs(feed.replay(late))[-1:] == [3])
        assert seqs(feed.replay(late)) == [*range(600 - KEPT_RESULTS + 1, 600), 3], "bounded"

    fed(scene)


def test_a_viewer_without_a_picture_is_told_no_result_again() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        script.before = [result(n) for n in range(20)]
        heard: list[str | ResultMessage] = []
        viewer = feed.join()
        viewer.on_message = heard.append
        script.results.put_nowait(result(20))
        await until(lambda: seqs(heard) == [20])
        assert feed.replay(viewer) == []
        script.video.put_nowait(packet(20, key=True))
        await take(viewer, 1)
        assert seqs(feed.replay(viewer)) == [20]

    fed(scene)


def test_who_joins_while_the_last_one_leaves_begins_anew() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        script.group = [packet(n, key=n == 40) for n in range(40, 43)]
        script.before = [result(n) for n in range(40, 43)]
        first = feed.join()
        await until(lambda: len(feed.replay(first)) == 3)
        leaving = asyncio.create_task(feed.leave(first))
        await asyncio.sleep(0)
        second = feed.join()
        await leaving
        assert await take(second, 3) == [40, 41, 42]
        await until(lambda: len(feed.replay(second)) == 3)

    fed(scene)


def test_bytes_that_are_no_result_are_counted_and_let_go(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        heard: list[str | ResultMessage] = []
        feed.join().on_message = heard.append
        for data in (b"{", b"[]", b'{"epoch":1}', b'{"epoch":1,"pts90k":"late"}'):
            script.results.put_nowait(("1-0", data))
        script.results.put_nowait(result(7))
        await until(lambda: seqs(heard))
        assert (seqs(heard), feed.strange) == ([7], 4)

    fed(scene)
    assert [record.getMessage()[:30] for record in caplog.records] == ["stream gate: result: cannot be"]


def test_a_store_that_swallows_a_cancelling_does_not_hold_the_end_up() -> None:
    async def scene(feed: StreamFeed, script: Script) -> None:
        swallowed = 0

        async def deaf(stream: str, after: str, block_ms: int, codec: str) -> Sequence[VideoPacket]:
            nonlocal swallowed
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise
            return []

        script.read_video = deaf  # type: ignore[method-assign]
        viewer = feed.join()
        await asyncio.sleep(0)
        await until(lambda: script.watches)
        await feed.leave(viewer)
        assert swallowed == 2

    fed(scene)


def test_a_broken_picture_asks_an_encoder_and_gives_a_cameras_group_again_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("web.feed.KEY_REQUEST_GAP_S", 0.0)

    async def scene(feed: StreamFeed, script: Script) -> None:
        viewer, other = feed.join(), feed.join()
        script.video.put_nowait(packet(0, key=True))
        assert (await take(viewer, 1), await take(other, 1)) == ([0], [0])
        asked = script.keys
        feed.picture_lost(viewer)
        await until(lambda: script.keys == asked + 1)

        script.state_hash = {"viewer_video": "pass-through"}
        heard: list[str] = []
        viewer.on_message = heard.append
        await until(lambda: any("pass-through" in text for text in heard))
        for n in range(1, 50):
            script.video.put_nowait(packet(n, key=n in (25, 26)))
        assert await take(viewer, 49) == list(range(1, 50))
        assert await take(other, 49) == list(range(1, 50))
        # 23 pictures into a group where the last one had one picture: a key frame is overdue.
        feed.picture_lost(viewer)
        script.video.put_nowait(packet(50, key=True))
        script.video.put_nowait(packet(51))
        assert await take(viewer, 2) == [50, 51]
        assert await take(other, 2) == [50, 51]
        # Two into a group of 24: far from the next, so from the key frame again, and then on; for this viewer only.
        feed.picture_lost(viewer)
        script.video.put_nowait(packet(52))
        assert (await take(viewer, 3), await take(other, 1)) == ([50, 51, 52], [52])
        feed.picture_lost(viewer)
        script.video.put_nowait(packet(53))
        assert await take(viewer, 1) == [53], "once a group"
        # 17 into it: the next key frame is near.
        for n in range(54, 67):
            script.video.put_nowait(packet(n))
        await take(other, 14)
        feed.picture_lost(other)
        script.video.put_nowait(packet(67))
        assert await take(other, 1) == [67]
        assert script.keys == asked + 1, "a camera is not asked"

    fed(scene)


def test_each_codec_has_its_packets_and_a_packet_of_another_is_let_go() -> None:
    async def run() -> None:
        script = Script()
        feed = StreamFeed("gate", script, "vp8")
        viewer = feed.join()
        script.video.put_nowait(packet(0, key=True))
        script.video.put_nowait(replace(packet(1, key=True), codec="vp8"))
        assert await take(viewer, 1) == [1]
        assert (feed.strange, script.codecs) == (1, {"vp8"})
        await feed.aclose()

    asyncio.run(asyncio.wait_for(run(), 10))
