"""Why an appear fired, through a real worker with shipped weights, a drawn street and a real Redis."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from streamer.client import Client, calls, why
from streamer.clock import SystemClock
from streamer.commands import worker
from streamer.config import StreamConfig
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.sinks.redis_why import WhyWriter
from streamer.types import Event, EventKind
from streamer.wire import keys
from tests.fakes.redis_rig import until

URL = "world://street?seed=900203&size=256x144&fps=5&people=7"
DEADLINE_S = 90.0
WANTED = 10  # objects


class Running:
    """A worker on one drawn street."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def ask(self, **about: str | int) -> dict[str, Any]:
        question = secrets.token_hex(8)
        found: list[dict[str, Any]] = []

        def answered() -> bool:
            if (data := self.client.run(why.why_answer("street", question))) is not None:
                found.append(orjson.loads(data))
            return bool(found)

        assert self.client.run(why.ask_why("street", question, **about)) == 1
        until(answered, f"an answer about {about}", DEADLINE_S)
        return found[0]

    def events(self) -> list[Event]:
        return self.client.list_events("street", limit=500, kinds=[EventKind.APPEAR])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("why")
    stop, clean = threading.Event(), list[bool]()

    def work() -> None:
        clean.append(
            worker.run(
                redis.url,
                folder,
                backend="openvino",
                precision="f32",
                max_batch_size=1,
                max_queue_delay_s=0.02,
                results_maxlen=300,
                events_maxlen=1000,
                drain_deadline_s=20.0,
                shares=worker.shares(1, 1),
                why=True,
                stop=stop,
            )
        )

    with EmbeddedRedis(folder) as redis, Client(redis.url) as client:
        client.add_stream(StreamConfig(name="street", url=URL, heads=()))
        thread = threading.Thread(target=work)
        thread.start()
        yield Running(client)
        stop.set()
        thread.join(DEADLINE_S)
        assert clean == [True]


def result_at(client: Client, wall_ns: int) -> dict[str, Any]:
    """The result of one frame: it is written behind the lane that answered it."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found.extend(one for one in results(client).values() if one["wall_ns"] == wall_ns)
        return bool(found)

    until(there, f"the result of {wall_ns}")
    return found[0]


def results(client: Client) -> dict[int, dict[str, Any]]:
    """Results by seq, as far as they are kept."""
    said = [orjson.loads(data) for _, data in client.run(calls.read_results("street", "0", 1))]
    return {one["seq"]: one for one in said}


def test_an_appear_gets_its_why_by_itself(running: Running) -> None:
    kept: dict[str, bytes] = {}

    def some() -> bool:
        for event in running.events():
            if (data := running.client.run(why.event_why("street", event.id))) is not None:
                kept[event.id] = data
        return bool(kept)

    until(some, "the attention of an appear", DEADLINE_S)
    [(ident, data), *_] = kept.items()
    said = orjson.loads(data)
    happened = next(event for event in running.events() if event.id == ident)
    assert said["track_id"] == happened.track_id and said["wall_ns"] == happened.wall_ns
    assert (said["model"], said["query"]["size_hw"], said["picture"]) == ("street-nano", [18, 32], None)
    assert max(said["query"]["values"]) == 255 and len(said["query"]["values"]) == 18 * 32
    cells = base64.b64decode(said["picture_attention"]["rows"])
    assert said["picture_attention"]["grid_hw"] == [9, 16] and len(cells) == 144 * 144
    assert len(said["picture_attention"]["rows"]) < 40_000 and np.frombuffer(cells, np.uint8).std() > 1
    assert said["similarity"][-1] == {"wall_ns": said["wall_ns"], "value": 1.0}
    assert len(said["similarity"]) == 3  # it appears with its third sighting


def test_the_heat_lies_on_the_object_for_most_of_ten(running: Running) -> None:
    inside = near = asked = 0
    ends_s = time.monotonic() + DEADLINE_S
    seen: set[tuple[int, int]] = set()
    while asked < WANTED:
        assert time.monotonic() < ends_s, f"{asked} objects in {DEADLINE_S} s"
        newest = max(results(running.client).values(), key=lambda one: one["seq"], default=None)
        for one in newest["objects"] if newest else []:
            # Another object, or the same some while later.
            if asked >= WANTED or (one["id"], newest["seq"] // 10) in seen:
                continue
            seen.add((one["id"], newest["seq"] // 10))
            said = running.ask(track_id=one["id"])
            if "refused" in said:
                assert said["refused"]["status"] == 409, said  # it left meanwhile
                continue
            told = result_at(running.client, said["wall_ns"])
            x1, y1, x2, y2 = next(o["box_xyxy"] for o in told["objects"] if o["id"] == one["id"])
            heat = np.array(said["query"]["values"], float).reshape(18, 32)
            x = (heat.sum(axis=0) @ (np.arange(32) + 0.5)) / heat.sum() * 8
            y = (heat.sum(axis=1) @ (np.arange(18) + 0.5)) / heat.sum() * 8
            asked += 1
            inside += x1 <= x <= x2 and y1 <= y <= y2
            w, h = (x2 - x1) / 2, (y2 - y1) / 2
            near += x1 - w <= x <= x2 + w and y1 - h <= y <= y2 + h
            assert said["picture"].startswith("data:image/jpeg;base64,/9j/")
    print(f"{inside} of {asked} centres inside the box, {near} within half a size of it")
    assert near >= 0.8 * WANTED and inside >= 0.5 * WANTED


def test_a_question_that_has_no_answer_has_words(running: Running) -> None:
    until(lambda: bool(results(running.client)), "a result", DEADLINE_S)
    refused = running.ask(track_id=99_999)["refused"]
    assert refused["status"] == 409 and refused["what"].startswith("track 99999 is in none of the last")


def test_the_worker_tells_its_models(running: Running) -> None:
    until(lambda: bool(running.client.run(why.models())), "the models")
    told = {model["name"]: model for model in running.client.run(why.models())}
    assert told["street-nano"]["shown"]["AP50 clear"] > 0.5 and told["street-nano"]["text"]


def test_only_the_newest_whys_are_kept_and_answers_end(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as redis, Client(redis.url) as client:
        writer = WhyWriter(redis.url, SystemClock(), keep=3)
        writer.open()
        idents = [f"door:1:{n}:appear:1" for n in range(5)]
        for ident in (*idents, idents[-1]):
            writer.keep_why("door", ident, b"{}")
        writer.answer_why("door", "q", b"[]")
        kept = [client.run(why.event_why("door", ident)) for ident in idents]
        assert kept == [None, None, b"{}", b"{}", b"{}"]
        assert client.run(why.why_answer("door", "q")) == b"[]"
        ttl = _asked(client, ("TTL", keys.why("door", "q")), ("TTL", keys.evidence("door", idents[4])))
        assert 0 < ttl[0] <= 60 and 0 < ttl[1] <= 86_400
        _asked(client, ("EXPIRE", keys.evidence("door", idents[4]), 500))  # set by who keeps the pictures
        writer.keep_why("door", idents[4], b"{1}")
        assert _asked(client, ("TTL", keys.evidence("door", idents[4])))[0] <= 500
        writer.close()
        writer.keep_why("door", idents[0], b"{}")
        assert writer.lost == 1


def _asked(client: Client, *commands: tuple[Any, ...]) -> list[Any]:
    def call() -> Any:
        return (yield list(commands))

    run: Callable[[Any], list[Any]] = client.run
    return run(call())
