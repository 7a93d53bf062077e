"""PATCH of a stream, what the API shows of its zones and lines, and events by label and time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamer.config import EventWishes, StreamConfig
from streamer.metrics import Metrics
from streamer.regions import Line, Zone
from tests.unit.test_web_api import HERE, SECRET, Site, event, refusal, seqs

YARD = {"name": "yard", "points": [[0, 0.5], [1, 0.5], [1, 1]], "labels": ["person"], "dwell_s": 3}
DOOR = {"name": "door", "start": [0.2, 0.5], "end": [0.8, 0.5]}
GATE = "/api/v1/streams/gate"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(media_root=tmp_path)
    site.add()
    return site


def test_what_is_named_changes_and_the_rest_stays(site: Site) -> None:
    before = site.store.configs["gate"]
    body = {"zones": [YARD], "lines": [DOOR], "events": {"actions": ["fall"]}}
    answer = site.client.patch(GATE, json=body)
    assert answer.status_code == 200 and SECRET not in answer.text
    shown = answer.json()
    assert shown["zones"] == [{**YARD, "forbidden": False}]
    assert shown["lines"] == [{**DOOR, "labels": [], "one_way": False}]
    assert (shown["events"], shown["heads"], shown["max_fps"]) == ({"actions": ["fall"]}, None, None)
    assert shown == site.client.get(GATE).json()
    after = site.store.configs["gate"]
    assert after == before.model_copy(
        update={
            "zones": (Zone.model_validate(YARD),),
            "lines": (Line.model_validate(DOOR),),
            "events": EventWishes(actions=("fall",)),
        }
    )
    assert SECRET in after.url and after.guard is None  # who wrote its address is still who did
    site.client.patch(GATE, json={"max_fps": 5, "heads": ["masks"], "zones": []})
    site.client.patch(GATE, json={"max_fps": None, "paused": True})
    now = site.store.configs["gate"]
    assert (now.max_fps, now.heads, now.zones, now.lines, now.paused) == (
        None,
        ("masks",),
        (),
        after.lines,
        True,
    )
    assert site.client.patch(GATE, json={}).status_code == 200 and site.store.configs["gate"] == now


def test_an_address_and_a_model_are_admitted_as_in_a_new_stream(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert site.client.patch(GATE, json={"url": "a.mp4", "model": "street-small"}).status_code == 200
    now = site.store.configs["gate"]
    assert (now.url, now.model, now.guard) == (str(tmp_path / "a.mp4"), "street-small", ())
    site.store.configs["other"] = StreamConfig(name="other", url="world://street", model="hf://owner/name")
    assert site.client.patch(GATE, json={"model": "hf://owner/name"}).status_code == 200  # it is in use


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"zones": [YARD, YARD]}, "zones.1.name: the name yard is taken"),
        ({"zones": [{**YARD, "points": [[0, 0], [1, 1], [1, 0], [0, 1]]}]}, "zones.0.points: the zone crosses itself"),
        ({"zones": [{**YARD, "points": [[0, 0], [640, 360], [1, 0]]}]}, "zones.0.points.1.0: not in the picture"),
        ({"lines": [{**DOOR, "end": [0.2, 0.5]}]}, "lines.0.end: the line has no length"),
        ({"lines": [{**DOOR, "name": "yard"}], "zones": [YARD]}, "lines.0.name: the name yard is taken"),
        ({"zones": None}, "zones: wrong type"),
        ({"events": {"action": []}}, "events.action: unknown key — did you mean actions?"),
        ({"max_fps": 0}, "max_fps: out of range"),
        ({"max_fps": SECRET}, "max_fps: wrong type — write a number"),
        ({"paused": None}, "paused: wrong type — write true or false"),
        ({"heads": ["mask"]}, "heads.0: not one of the choices"),
        ({"model": "hf:///etc"}, "model: files and addresses of models are not admitted"),
        ({"model": None}, "model: wrong type"),
        ({"url": "/etc/passwd"}, "url: the file lies outside the media folder"),
        ({"url": "http://169.254.169.254/latest"}, "url: link-local and metadata addresses"),
        ({"url": f"gopher://u:{SECRET}@h/"}, "url: gopher: is no scheme"),
        ({"url": "rtsp://***@10.0.0.7/ch1"}, "url: the address is a masked one — write it with its secrets"),
        ({"url": None}, "url: wrong type"),
        ({"loop": True}, "loop: this cannot be changed — remove the stream and add it as it shall be"),
        ({"name": "other"}, "name: this cannot be changed"),
        ({"guard": ["169.254.169.254"]}, "guard: this cannot be changed"),
        ({"zone": []}, "zone: unknown key — did you mean zones?"),
    ],
)  # fmt: skip
def test_a_bad_change_is_one_line_and_changes_nothing(site: Site, body: dict[str, Any], says: str) -> None:
    before = site.store.configs["gate"]
    assert refusal(site.client.patch(GATE, json=body), 422).startswith(says)
    assert site.store.configs["gate"] is before


def test_who_is_not_there_cannot_be_changed(site: Site) -> None:
    assert "door" in refusal(site.client.patch("/api/v1/streams/door", json={"paused": True}), 404)
    assert list(site.store.configs) == ["gate"]


def test_a_stream_that_goes_while_it_is_changed_is_not_brought_back(site: Site) -> None:
    kept = site.store.change_stream

    async def late(name: str, change: Any) -> Any:
        await site.store.remove_stream(name)
        return await kept(name, change)

    site.store.change_stream = late  # type: ignore[method-assign]
    assert "gate" in refusal(site.client.patch(GATE, json={"paused": True}), 404)
    assert site.store.configs == {}


def test_how_many_are_in_a_zone_and_went_over_a_line_is_shown(site: Site) -> None:
    site.store.states["gate"] = {
        "zone_objects": json.dumps({"yard": 2}),
        "line_crossings": json.dumps({"door": {"in": 3, "out": 1}}),
    }
    state = site.client.get(GATE).json()["state"]
    assert (state["zone_objects"], state["line_crossings"]) == ({"yard": 2}, {"door": {"in": 3, "out": 1}})
    site.store.states["gate"] = {"zone_objects": "{broken", "line_crossings": "[]"}
    state = site.client.get(GATE).json()["state"]
    assert (state["zone_objects"], state["line_crossings"]) == ({}, {})


def test_the_metrics_of_zones_and_lines_are_prometheus_text(site: Site) -> None:
    worker = Metrics()
    worker.show_zones("gate", {"yard": 2})
    assert worker.crossings("gate", "door") == {"in": 0, "out": 0}
    worker.line_crossings.add(1, "gate", "door", "in")
    site.store.worker_fields = {"metrics": json.dumps(worker.snapshot())}
    text = site.client.get("/metrics").text
    assert 'sightline_zone_objects{stream="gate",zone="yard"} 2' in text
    assert 'sightline_line_crossings_total{stream="gate",line="door",direction="in"} 1' in text
    worker.show_zones("gate", {})
    assert worker.zone_objects.snapshot()["samples"] == []
    worker.forget("gate")
    assert "gate" not in repr(worker.snapshot())


# ------------------------------------------------------------------------------------------------------- events


def happened(seq: int, label: str, at_s: float) -> dict[str, Any]:
    return {**event(seq), "attrs": {"label": label}, "wall_ns": round(at_s * 1e9)}


@pytest.fixture
def busy(site: Site) -> Site:
    for seq, (label, at_s) in enumerate(
        [("person", 100), ("car", 200.5), ("person", 200.5), ("person", 300)]
    ):
        site.store.happen(happened(seq, label, at_s))
    return site


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("label=person", [3, 2, 0]),
        ("label=", [3, 2, 1, 0]),
        ("since=200.5", [3, 2, 1]),
        ("until=200.5", [2, 1, 0]),
        ("since=150&until=250&label=car", [1]),
        ("label=dog", []),
    ],
)
def test_events_of_a_label_and_of_a_time(busy: Site, query: str, found: list[int]) -> None:
    assert seqs(busy.client.get(f"/api/v1/events?{query}").json()) == found

    async def feed() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(busy.app), base_url=HERE) as client:
            asking = asyncio.create_task(client.get(f"/api/v1/events/stream?after=0&{query}"))
            for _ in range(100):
                await asyncio.sleep(0)
            busy.app.state.stopping.set()
            return (await asyncio.wait_for(asking, 5)).text

    told = [
        json.loads(line[6:])["seq"] for line in asyncio.run(feed()).split("\n") if line.startswith("data: ")
    ]
    assert told == found[::-1]


@pytest.mark.parametrize("query", ["since=yesterday", "until=-1", "since=nan", "until=inf", "since=1e300"])
def test_a_bad_time_is_refused(busy: Site, query: str) -> None:
    refusal(busy.client.get(f"/api/v1/events?{query}"), 422)
