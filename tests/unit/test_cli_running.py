"""Commands that talk to a running server, against a real Redis of our own in the data folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from streamer.cli import run
from streamer.client import Client
from streamer.commands.services import seed
from streamer.config import StreamConfig
from streamer.regions import Line, Zone
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.types import Event, EventKind, event_id
from streamer.wire import encode_event, keys

ROOT = Path(__file__).parent.parent.parent
WALL_NS = 1_700_000_000_000_000_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Redis that `sightline` finds by itself: that of the data folder."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("SIGHTLINE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    with EmbeddedRedis(tmp_path / "data") as embedded:
        client = redis.Redis.from_url(embedded.url)
        yield client
        client.close()


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command in this process, which is quick; test_cli.py runs them in their own."""

    def run_it(*args: str) -> Done:
        code = run(args)
        return Done(code, *capsys.readouterr())

    return run_it


def happen(server: Any, stream: str, seq: int, kind: EventKind = EventKind.APPEAR) -> Event:
    track = seq if kind is EventKind.APPEAR else None
    event = Event(
        id=event_id(stream, 1, seq, kind, track),
        kind=kind,
        stream=stream,
        epoch=1,
        seq=seq,
        wall_ns=WALL_NS + seq,
        track_id=track,
        attrs={"label": "dog", "score": 0.9, "box_xyxy": [1.0, 2.0, 3.0, 4.0]} if track is not None else {},
    )
    fields = {"id": event.id, "kind": str(kind), "data": encode_event(event)}
    server.xadd(keys.events(stream), fields, id=f"{WALL_NS // 1_000_000 + seq}-{seq}")
    return event


def test_streams_are_added_listed_and_removed(server: Any, said: Callable[..., Done]) -> None:
    heard = server.pubsub()
    heard.subscribe(keys.CONTROL)
    assert heard.get_message(timeout=5)["type"] == "subscribe"

    added = said("streams", "add", "door", "rtsp://root:hunter2@cam/1", "--max-fps", "5")
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout == "door: added rtsp://***@cam/1\n"
    assert json.loads(heard.get_message(timeout=5)["data"]) == {"op": "streams"}
    kept = json.loads(server.hget(keys.STREAMS, "door"))
    assert (kept["url"], kept["max_fps"]) == ("rtsp://root:hunter2@cam/1", 5.0)

    server.hset(keys.state("door"), mapping={"state": "ERROR", "error_code": "STREAM_TIMEOUT", "epoch": "3"})
    listed = said("streams", "ls")
    assert listed.returncode == 0
    for shown in ("door", "ERROR STREAM_TIMEOUT", "rtsp://***@cam/1"):
        assert shown in listed.stdout
    rows = json.loads(said("streams", "ls", "--json").stdout)
    assert [(row["name"], row["url"], row["status"]["epoch"]) for row in rows] == [
        ("door", "rtsp://***@cam/1", "3")
    ]
    assert "hunter2" not in listed.stdout

    again = said("streams", "add", "door", "world://street")
    assert again.returncode == 1
    assert "there is a stream door already" in again.stderr

    assert said("streams", "pause", "door").stdout == "door: paused\n"
    assert json.loads(heard.get_message(timeout=5)["data"]) == {"op": "streams"}
    assert json.loads(server.hget(keys.STREAMS, "door")) == kept | {"paused": True}
    assert said("streams", "resume", "door").stdout == "door: resumed\n"
    assert json.loads(server.hget(keys.STREAMS, "door")) == kept
    nobody = said("streams", "pause", "gate")
    assert (nobody.returncode, nobody.stderr.count("\n")) == (1, 1)
    assert "there is no stream gate — the streams are: door" in nobody.stderr

    removed = said("streams", "rm", "door")
    assert removed.stdout == "door: removed\n"
    assert server.hlen(keys.STREAMS) == 0
    gone = said("streams", "rm", "door")
    assert gone.returncode == 1
    assert "there is no stream door" in gone.stderr


def test_another_file_takes_its_predecessors_streams_away_and_no_other(
    server: Any, said: Callable[..., Done]
) -> None:
    def streams(*names: str) -> list[StreamConfig]:
        return [StreamConfig(name=name, url="world://street") for name in names]

    url = f"unix://{server.connection_pool.connection_kwargs['path']}"
    seed(url, streams("noon", "rain"))
    assert said("streams", "add", "door", "world://street?seed=2").returncode == 0
    seed(url, streams("rain", "gate"))
    assert {name.decode() for name in server.hkeys(keys.STREAMS)} == {"door", "rain", "gate"}
    seed(url, [])
    assert server.hkeys(keys.STREAMS) == [b"door"]


def test_what_was_changed_at_run_time_stays_until_the_file_says_otherwise(
    server: Any, said: Callable[..., Done]
) -> None:
    url = f"unix://{server.connection_pool.connection_kwargs['path']}"
    yard = Zone(name="yard", points=((0, 0), (1, 0), (1, 1)))

    def kept() -> StreamConfig:
        return StreamConfig.model_validate_json(server.hget(keys.STREAMS, "door"))

    filed = StreamConfig(name="door", url="world://street", max_fps=5)
    seed(url, [filed])
    changed = filed.model_copy(update={"zones": (yard,), "paused": True, "max_fps": 9.0})
    with Client(url) as client:
        assert client.change_stream("door", lambda now: changed) == changed
    seed(url, [filed])  # a restart
    assert kept() == changed
    seed(url, [filed.model_copy(update={"max_fps": 2.0})])  # the file was changed in one place
    assert kept() == changed.model_copy(update={"max_fps": 2.0})
    clash = filed.model_copy(update={"lines": (Line(name="yard", start=(0, 0), end=(1, 1)),)})
    seed(url, [clash])
    assert kept() == clash
    seed(url, [])
    seed(url, [filed])  # a stream of that name, but not that one
    assert kept() == filed
    assert said("streams", "rm", "door").returncode == 0
    seed(url, [filed])
    assert kept() == filed


def test_a_wrong_stream_changes_nothing(server: Any, said: Callable[..., Done]) -> None:
    for name, url, why in (
        ("a b", "world://street", "name: not a name"),
        ("a", "rtps://cam", "did you mean rtsp://?"),
        ("a", "gone.mp4", "there is no file"),
    ):
        done = said("streams", "add", name, url)
        assert done.returncode == 1
        assert why in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert server.hlen(keys.STREAMS) == 0


def test_tail_gives_what_redis_holds(server: Any, said: Callable[..., Done]) -> None:
    happened = [happen(server, "door", seq) for seq in range(1, 6)]
    happened.append(happen(server, "gate", 9, EventKind.UP))
    raw = [fields[b"data"].decode() for _, fields in server.xrange(keys.events("door"))]

    done = said("events", "tail", "--json", "--no-follow", "--from", "start", "--stream", "door")
    assert done.stdout.splitlines() == raw

    newest = said("events", "tail", "--json", "--no-follow", "-n", "2")
    assert [json.loads(line)["id"] for line in newest.stdout.splitlines()] == [e.id for e in happened[-2:]]

    ups = said("events", "tail", "--no-follow", "--kind", "up")
    assert [line.split()[1:] for line in ups.stdout.splitlines()] == [["gate", "up"]]

    crossed = event_id("yard", 1, 4, EventKind.CROSS, 7, "kerb")
    attrs = {"label": "dog", "line": "kerb", "direction": "in", "score": 0.5}
    event = Event(crossed, EventKind.CROSS, "yard", 1, 4, WALL_NS, track_id=7, attrs=attrs)
    server.xadd(keys.events("yard"), {"id": crossed, "kind": "cross", "data": encode_event(event)})
    told = said("events", "tail", "--no-follow", "--stream", "yard").stdout
    assert told.split()[2:] == ["cross", "dog", "#7", "kerb", "in", "score", "0.50", "box"]

    told = said("events", "tail", "--no-follow", "--stream", "door", "-n", "1").stdout
    assert told.split()[1:] == ["door", "appear", "dog", "#5", "score", "0.90", "box", "1,2,3,4"]


def test_tail_goes_on_where_it_ended(server: Any, said: Callable[..., Done]) -> None:
    for seq in (1, 2):
        happen(server, "door", seq)
    first = said("events", "tail", "--json", "--no-follow", "--from", "start")
    assert len(first.stdout.splitlines()) == 2
    cursor = first.stderr.split("--from ")[1].strip()
    third = happen(server, "door", 3)
    second = said("events", "tail", "--json", "--no-follow", "--from", cursor)
    assert [json.loads(line)["id"] for line in second.stdout.splitlines()] == [third.id]

    entry, _ = server.xrange(keys.events("door"))[0]
    behind = said("events", "tail", "--json", "--no-follow", "--stream", "door", "--from", entry.decode())
    assert [json.loads(line)["seq"] for line in behind.stdout.splitlines()] == [2, 3]


def test_a_wrong_cursor_or_kind_is_one_line(server: Any, said: Callable[..., Done]) -> None:
    done = said("events", "tail", "--from", "yesterday")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "not a place in the events" in done.stderr
    assert said("events", "tail", "--kind", "explode").returncode == 2


def test_tail_follows_and_ends_quietly_when_the_reader_does(server: Any) -> None:
    happen(server, "door", 1)
    command = [sys.executable, "-c", "from streamer.cli import main; main()", "events", "tail", "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["seq"] == 1
        happen(server, "door", 2)
        assert json.loads(process.stdout.readline())["seq"] == 2
        process.stdout.close()  # as `head` does
        happen(server, "door", 3)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
