"""On a real Redis: pages and feeds by label and time, and two who change one stream at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from streamer.client import AsyncClient, Client, Cursor
from streamer.config import StreamConfig
from streamer.errors import ConfigError
from streamer.sinks.redis import RedisSink
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.types import EventKind
from streamer.wire import keys
from tests.fakes.redis_rig import event

START_S = 1_700_000_000
LABELS = ("car", "person", "dog")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def raw(server: EmbeddedRedis) -> redis.Redis:
    client: redis.Redis = redis.Redis.from_url(server.url)
    client.flushall()
    return client


@pytest.fixture
def client(raw: redis.Redis, server: EmbeddedRedis) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


@pytest.fixture
def happened(raw: redis.Redis, server: EmbeddedRedis, tmp_path: Path) -> list[Any]:
    """Sixty events of two streams, half a second apart, oldest first."""
    made = [
        replace(
            event(seq, ["door", "yard"][seq % 5 == 0], EventKind.LEAVE if seq % 2 else EventKind.APPEAR),
            wall_ns=START_S * 10**9 + seq * 500_000_000,
            attrs={"label": LABELS[seq % 3]},
        )
        for seq in range(60)
    ]
    with RedisSink(server.url, tmp_path) as sink:
        for one in made:
            sink.emit_events([one])
    return made


@pytest.mark.parametrize("label", [None, "person"])
@pytest.mark.parametrize("kind", [None, "leave"])
@pytest.mark.parametrize(
    ("since_s", "until_s"), [(None, None), (START_S + 3.0, START_S + 20.5), (None, START_S + 9)]
)
def test_pages_of_a_filter_cover_everything_once(
    client: Client,
    happened: list[Any],
    label: str | None,
    kind: str | None,
    since_s: float | None,
    until_s: float | None,
) -> None:
    wanted = [
        one.id
        for one in happened
        if kind in (None, one.kind)
        and label in (None, one.attrs["label"])
        and (since_s is None or one.wall_ns >= since_s * 1e9)
        and (until_s is None or one.wall_ns <= until_s * 1e9)
    ]
    what: dict[str, Any] = {"label": label, "since_s": since_s, "until_s": until_s}
    page = client.events_page(None, kind, limit=4, **what)
    down = [found["id"] for found in page.events]
    while page.previous is not None:
        page = client.events_page(None, kind, limit=4, before=page.previous, **what)
        down += [found["id"] for found in page.events]
    assert sorted(down) == sorted(wanted)
    for stream in ("door", "yard"):  # within a millisecond only one stream's events have an order
        assert [i for i in down if i.startswith(stream)] == [i for i in wanted[::-1] if i.startswith(stream)]
    kinds = None if kind is None else [kind]
    reader = client.events(cursor=Cursor.beginning(), kinds=kinds, block_s=0, **what)
    assert sorted(found.id for found in reader) == sorted(wanted)
    assert reader.missed == 0


def test_an_event_that_cannot_be_read_is_passed_over_by_a_filter(
    client: Client, happened: list[Any], raw: redis.Redis
) -> None:
    for data in (b"no json", b"[]", b'{"wall_ns": "late"}', b'{"wall_ns": 1, "attrs": 3}'):
        raw.xadd(keys.events("door"), {"id": "x", "kind": "appear", "data": data})
    page = client.events_page("door", label="car", limit=1000)
    assert len(page.events) == sum(e.stream == "door" and e.attrs["label"] == "car" for e in happened)


def test_a_feed_of_a_label_and_a_time(server: EmbeddedRedis, happened: list[Any]) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.url) as client:
            feed = client.follow_events(
                "door", "leave", after=Cursor.beginning().token, label="car", since_s=START_S + 5.0
            )
            token, first = await anext(feed)
            expected = [
                e.id
                for e in happened
                if (e.stream, str(e.kind), e.attrs["label"]) == ("door", "leave", "car") and e.seq >= 10
            ]
            assert first["id"] == expected[0]
            again = client.follow_events("door", "leave", after=token, label="car")
            assert (await anext(again))[1]["id"] == expected[1]

    asyncio.run(scenario())


def paused(config: StreamConfig) -> StreamConfig:
    return config.model_copy(update={"paused": True})


def test_two_who_change_a_stream_at_once_do_not_undo_each_other(
    client: Client, server: EmbeddedRedis
) -> None:
    client.add_stream(StreamConfig(name="door", url="rtsp://user:hunter2@camera/stream"))
    seen: list[bool] = []

    def slower(config: StreamConfig) -> StreamConfig:
        seen.append(config.paused)
        if len(seen) == 1:  # somebody else is quicker
            with Client(server.url) as other:
                assert other.change_stream("door", paused) is not None
        return config.model_copy(update={"max_fps": 5.0})

    after = client.change_stream("door", slower)
    assert seen == [False, True]
    assert after is not None and (after.paused, after.max_fps) == (True, 5.0)
    assert client.streams() == [after] and "hunter2" in after.url


def test_a_stream_that_is_removed_meanwhile_stays_removed(
    client: Client, server: EmbeddedRedis, raw: redis.Redis
) -> None:
    client.add_stream(StreamConfig(name="door", url="world://street"))

    def late(config: StreamConfig) -> StreamConfig:
        with Client(server.url) as other:
            other.remove_stream("door")
        return paused(config)

    assert client.change_stream("door", late) is None
    assert client.change_stream("door", paused) is None and raw.hlen(keys.STREAMS) == 0


def test_a_change_to_the_same_is_not_announced_and_one_that_fails_changes_nothing(
    client: Client, raw: redis.Redis
) -> None:
    client.add_stream(StreamConfig(name="door", url="world://street"))
    heard = raw.pubsub()
    heard.subscribe(keys.CONTROL)
    assert heard.get_message(timeout=5) is not None

    def broken(config: StreamConfig) -> StreamConfig:
        raise ConfigError("no", where="zones")

    assert client.change_stream("door", lambda config: config) is not None
    with pytest.raises(ConfigError, match="no"):
        client.change_stream("door", broken)
    assert client.change_stream("door", paused) is not None
    message = heard.get_message(timeout=5)
    assert message is not None and message["data"] == b'{"op":"streams"}'
    assert heard.get_message(timeout=0.05) is None
    assert client.streams()[0].paused
    heard.close()
