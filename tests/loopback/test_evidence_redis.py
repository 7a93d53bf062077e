"""Evidence in a real Redis: trimmed to the newest, also after a restart, gone after a day, and read by event id."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import redis

from streamer.client import Client
from streamer.clock import FakeClock, SystemClock
from streamer.sinks.evidence_redis import KEPT_S, EvidenceRedis
from streamer.sinks.redis import RedisSink
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.types import EventKind
from streamer.wire import encode_event, keys
from tests.fakes.redis_rig import event, until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


def opened(server: EmbeddedRedis, records: int = 3, clips: int = 2) -> EvidenceRedis:
    keeper = EvidenceRedis(server.url, SystemClock(), records=records, clips=clips)
    keeper.open()
    return keeper


def record(seq: int, **more: bytes | str) -> dict[str, bytes | str]:
    return {"event": encode_event(event(seq)), "path": b"[]", "jpg": b"picture %d" % seq, **more}


def ident(seq: int) -> str:
    return event(seq).id


def test_the_newest_are_kept_and_clips_for_those_who_refer_to_them(server: EmbeddedRedis) -> None:
    keeper, client, raw = opened(server), Client(server.url), redis.Redis.from_url(server.url)
    for seq in range(6):
        words = {"clip_of": ident(1)} if seq in (2, 5) else {}
        assert keeper.keep("door", ident(seq), record(seq, **words))
        if seq in (0, 1, 4):
            assert keeper.keep_clip("door", ident(seq), {"clip": b"film %d" % seq, "clip_span": b"[3,9]"})
    assert [client.evidence_picture(ident(seq)) for seq in range(6)] == [None] * 3 + [
        b"picture %d" % seq for seq in (3, 4, 5)
    ]
    # The record of event 1 is gone, its clip is not: event 5 refers to it.
    assert [client.evidence_clip(ident(seq)) for seq in range(6)] == [
        *(None, b"film 1", None, None, b"film 4", b"film 1")
    ]
    seen = client.evidence(ident(5))
    assert seen is not None and seen.recorded and seen.picture and seen.clip
    assert seen.clip_span_ns == (3, 9) and seen.event["id"] == ident(5)
    assert keeper.keep_clip("door", ident(5), {"clip": b"film 5", "clip_span": b"[3,9]"})
    assert raw.exists(keys.evidence("door", ident(1))) == 0, "nothing of it is left"
    for key in raw.keys("sl:{door}:evidence*"):  # type: ignore[union-attr]
        assert 0 < raw.ttl(key) <= KEPT_S, key  # type: ignore[operator]
    keeper.close()
    client.close()


def test_a_worker_that_starts_anew_trims_what_the_last_one_left(server: EmbeddedRedis) -> None:
    keeper, client = opened(server, 10, 10), Client(server.url)
    for seq in range(10):
        keeper.keep("door", ident(seq), record(seq))
        keeper.keep_clip("door", ident(seq), {"clip": b"film", "clip_span": b"[1,2]"})
    keeper.close()
    keeper = opened(server, 4, 1)
    assert keeper.trim("door")
    assert [client.evidence_picture(ident(seq)) is not None for seq in range(10)] == [False] * 6 + [True] * 4
    assert [client.evidence_clip(ident(seq)) is not None for seq in range(10)] == [False] * 9 + [True]
    keeper.close()
    client.close()


def test_what_is_older_than_a_day_leaves_the_index(server: EmbeddedRedis) -> None:
    clock, raw = FakeClock(), redis.Redis.from_url(server.url)
    keeper = EvidenceRedis(server.url, clock, records=100, clips=100)
    keeper.open()
    keeper.keep("door", ident(1), record(1))
    clock.advance(KEPT_S + 1)
    keeper.keep("door", ident(2), record(2))
    assert raw.zrange(keys.evidence_index("door"), 0, -1) == [ident(2).encode()]
    keeper.close()


def test_redis_away_is_told_at_once_and_it_goes_on_when_it_is_back(server: EmbeddedRedis) -> None:
    keeper, client = opened(server), Client(server.url)
    assert keeper.keep("door", ident(1), record(1))
    server.stop()
    assert not keeper.keep("door", ident(2), record(2))
    began_s = time.monotonic()
    assert not any(keeper.keep("door", ident(seq), record(seq)) for seq in range(3, 500))
    assert time.monotonic() - began_s < 5
    server.restart()
    until(lambda: keeper.keep("door", ident(3), record(3)), "redis is back")
    assert client.evidence_picture(ident(3)) == b"picture 3"
    assert keeper.add("door", ident(3), {"no_clip": "failed"}) and keeper.add("door", ident(9), {"x": "y"})
    seen = client.evidence(ident(3))
    assert seen is not None and seen.no_clip == "failed" and client.evidence(ident(9)) is None
    keeper.close()
    client.close()


def test_an_event_without_a_record_is_found_in_its_stream(server: EmbeddedRedis, tmp_path: Path) -> None:
    with RedisSink(server.url, tmp_path / "data") as sink, Client(server.url) as client:
        sink.emit_events([event(seq, epoch=epoch) for epoch in (1, 2) for seq in range(700)])
        for seq, epoch in ((0, 1), (699, 1), (350, 2), (699, 2)):
            wanted = event(seq, epoch=epoch)
            found = client.evidence(wanted.id)
            assert found is not None and not found.recorded and not found.picture
            assert found.event == orjson.loads(encode_event(wanted))
        for nobody in (event(900), event(3, epoch=3), event(3, kind=EventKind.LEAVE), event(3, stream="x")):
            assert client.evidence(nobody.id) is None
        for no_id in ("", "door", "door:1:x:appear:3", "door:1:2:enter:3:a:b", ":1:2:appear:3"):
            assert client.evidence(no_id) is client.evidence_picture(no_id) is None
            assert client.evidence_clip(no_id) is None
