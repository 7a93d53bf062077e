"""A real worker on a real Redis, changed through the API while it runs: zones move, and the camera never notices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from streamer.client import AsyncClient
from streamer.config import StreamConfig
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.types import Event
from tests.fault.test_worker_process import Rig, until
from web.app import WebSettings, create_app

# One who walks out to the right in its first seconds, others who stay on the left, and people on both sides.
STREET = "world://street?seed=6&size=256x144&fps=10&people=6&vehicles=0&dogs=0"
LEFT = {"name": "pavement", "points": [[0, 0.2], [0.6, 0.2], [0.6, 1], [0, 1]]}
RIGHT = {"name": "pavement", "points": [[0.62, 0.2], [1, 0.2], [1, 1], [0.62, 1]]}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with EmbeddedRedis(tmp_path / "data") as redis:
        rig = Rig(redis, tmp_path / "data", main="tests.fakes.worker_truth")
        rig.client.add_stream(StreamConfig.model_validate({"name": "street", "url": STREET, "zones": [LEFT]}))
        rig.thread.start()
        try:
            yield rig
        finally:
            rig.end()
            assert not rig.process.alive()
            rig.client.close()


def ask(rig: Rig, method: str, path: str, **what: Any) -> Any:
    """One request to an application over the same Redis."""

    async def once() -> Any:
        async with AsyncClient(rig.redis.url) as store:
            transport = httpx.ASGITransport(create_app(WebSettings(), store))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
                answer = await client.request(method, f"/api/v1{path}", **what)
                assert answer.status_code == 200, answer.text
                return answer.json()

    return asyncio.run(once())


def foot_x(event: Event) -> float:
    """Where it stood, a fraction of the picture's width."""
    left, _, right, _ = event.attrs["box_xyxy"]
    return float(left + right) / 2 / 256


def test_a_zone_moves_while_the_stream_runs_on(rig: Rig) -> None:
    until(lambda: rig.events("street", "enter") and rig.events("street", "exit"))
    answer = ask(rig, "PATCH", "/streams/street", json={"zones": [RIGHT], "events": {"actions": ["fall"]}})
    assert answer["zones"][0]["points"] == RIGHT["points"] and answer["events"] == {"actions": ["fall"]}
    until(lambda: any(foot_x(event) > 0.61 for event in rig.events("street", "enter")))
    # Those on the left are out of it without having moved, and the page sees who is in it now.
    until(lambda: any(foot_x(event) < 0.6 for event in rig.events("street", "exit")))
    until(lambda: ask(rig, "GET", "/streams/street")["state"]["zone_objects"].get("pavement", 0) >= 1)
    left, right = [], []
    for event in rig.events("street", "enter"):
        (left if foot_x(event) <= 0.6 + 0.01 else right).append(event.seq)
        assert event.attrs["zone"] == "pavement" and event.id.endswith(f":enter:{event.track_id}:pavement")
    assert left and right and max(left) < min(right)

    ask(rig, "PATCH", "/streams/street", json={"zones": []})
    until(lambda: balance(rig) == 0)
    assert ask(rig, "GET", "/streams/street")["state"]["epoch"] == 1
    assert [str(event.kind) for event in rig.events("street", "up", "down")] == ["up"]
    assert rig.epochs("street") == {1}

    # What is more than rules starts the stream anew; its zones come along.
    ask(rig, "PATCH", "/streams/street", json={"zones": [LEFT], "max_fps": 5})
    until(lambda: any(event.epoch == 2 for event in rig.events("street", "enter")))
    assert rig.events("street", "down")[0].attrs["code"] == "STREAM_CHANGED"
    ask(rig, "PATCH", "/streams/street", json={"paused": True})
    until(lambda: rig.state("street").get("state") == "PAUSED")
    assert balance(rig) == 0 and orjson.loads(rig.state("street")["zone_objects"]) == {"pavement": 0}
    assert rig.end() == 0


def balance(rig: Rig) -> int:
    """Enters that have no exit yet."""
    return len(rig.events("street", "enter")) - len(rig.events("street", "exit"))
