"""REST: streams, results, events, probes and metrics, against a store in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from streamer.clock import FakeClock
from streamer.config import StreamConfig
from streamer.metrics import Metrics
from tests.fakes.web_store import MemoryStore
from web import openapi
from web.app import WebSettings, create_app

SECRET = "hunter2"
HERE = "http://127.0.0.1:7860"


class Site:
    """An application over a store in memory, at a time that stands still."""

    def __init__(self, media_root: Path | None = None) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.app = create_app(WebSettings(media_root=media_root), self.store, clock=self.clock)
        self.client = TestClient(self.app, base_url=HERE, raise_server_exceptions=False)

    def beat(self) -> None:
        self.store.worker_fields = {"heartbeat_wall_ns": str(self.clock.wall_ns()), "metrics": "[]"}

    def add(self, name: str = "gate", url: str = f"rtsp://admin:{SECRET}@10.0.0.7/ch1") -> None:
        self.store.configs[name] = StreamConfig(name=name, url=url)


@pytest.fixture
def site() -> Site:
    return Site()


def event(seq: int, stream: str = "gate", kind: str = "appear") -> dict[str, Any]:
    return {
        "id": f"{stream}:1:{seq}:{kind}:7",
        "kind": kind,
        "stream": stream,
        "seq": seq,
        "wall_ns": 10**18 + seq,
    }


def refusal(answer: httpx.Response, status: int) -> str:
    """The one line of a problem document; checks its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert "\n" not in body["detail"] and body["detail"]
    assert SECRET not in answer.text
    return str(body["detail"])


# ------------------------------------------------------------------------------------------------------ streams


def test_a_stream_is_listed_with_its_state_as_numbers(site: Site) -> None:
    site.add()
    site.beat()
    site.store.states["gate"] = {
        "state": "RUNNING",
        "epoch": "3",
        "fps": "12.5",
        "width": "1920",
        "height": "1080",
        "codec": "h264",
        "last_frame_wall_ns": str(site.clock.wall_ns() - 1_500_000_000),
        "latency_p95_ms": "41.25",
        "ledger": json.dumps({"published": 90, "dropped": {"full": 3}}),
    }
    body = site.client.get("/api/v1/streams").json()
    (stream,) = body["streams"]
    assert body["worker"]["alive"] is True
    assert (stream["name"], stream["source"], stream["url"]) == ("gate", "rtsp", "rtsp://***@10.0.0.7/ch1")
    state = stream["state"]
    assert state["live"] is True
    assert (state["epoch"], state["fps"], state["width"], state["latency_p95_ms"]) == (3, 12.5, 1920, 41.25)
    assert state["last_frame_age_s"] == pytest.approx(1.5)
    assert state["ledger"] == {"published": 90, "dropped.full": 3}


def test_a_dead_worker_makes_no_stream_live(site: Site) -> None:
    site.add()
    site.store.states["gate"] = {"state": "RUNNING"}
    site.beat()
    site.clock.advance(6)
    body = site.client.get("/api/v1/streams").json()
    assert body["worker"]["alive"] is False
    assert body["streams"][0]["state"]["live"] is False
    assert site.client.get("/api/v1/streams/gate").json()["state"]["live"] is False


def test_a_stream_without_a_word_from_the_worker_is_initialising(site: Site) -> None:
    site.add()
    site.store.states["gate"] = {"ledger": "{broken", "fps": "x"}
    state = site.client.get("/api/v1/streams/gate").json()["state"]
    assert (state["state"], state["live"], state["fps"], state["ledger"]) == (
        "INITIALISING",
        False,
        None,
        None,
    )


def test_a_stream_is_added_read_and_removed(site: Site) -> None:
    answer = site.client.post(
        "/api/v1/streams", json={"name": "door", "url": f"rtsp://u:{SECRET}@10.0.0.7/x", "max_fps": 5}
    )
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/api/v1/streams/door"
    assert SECRET not in answer.text
    assert site.store.configs["door"].max_fps == 5
    assert SECRET in site.store.configs["door"].url
    assert site.client.get("/api/v1/streams/door").json()["name"] == "door"
    assert site.client.delete("/api/v1/streams/door").status_code == 204
    assert site.store.configs == {}
    assert "door" in refusal(site.client.delete("/api/v1/streams/door"), 404)
    assert "door" in refusal(site.client.get("/api/v1/streams/door"), 404)


def test_a_taken_name_is_a_conflict_and_changes_nothing(site: Site) -> None:
    site.add()
    before = site.store.configs["gate"]
    answer = site.client.post("/api/v1/streams", json={"name": "gate", "url": "world://street?seed=1"})
    assert "gate" in refusal(answer, 409)
    assert site.store.configs["gate"] is before


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"name": "x"}, "url"),
        ({"name": "x y", "url": "world://street"}, "name"),
        ({"name": "x", "url": f"gopher://u:{SECRET}@h/"}, "scheme"),
        ({"name": "x", "url": "world://street", "loops": True}, "loops"),
        ({"name": "x", "url": "http://169.254.169.254/latest"}, "metadata"),
        ({"name": "x", "url": "/etc/passwd"}, "media_root"),
        ({"name": "x", "url": "world://street?seed=1", "model": "hf:///etc"}, "models ls"),
        ({"name": "x", "url": "world://street", "max_fps": f"{SECRET}"}, "max_fps"),
        ([], ""),
    ],
)
def test_a_bad_stream_is_refused_in_one_line(site: Site, body: Any, word: str) -> None:
    answer = site.client.post("/api/v1/streams", json=body)
    assert word in refusal(answer, 422)
    assert site.store.configs == {}


def test_only_json_is_taken(site: Site) -> None:
    body = json.dumps({"name": "x", "url": "world://street"})
    refusal(site.client.post("/api/v1/streams", content=body, headers={"Content-Type": "text/plain"}), 422)
    refusal(
        site.client.post("/api/v1/streams", content="{", headers={"Content-Type": "application/json"}), 422
    )
    assert site.store.configs == {}


def test_a_file_is_stored_by_its_full_path(tmp_path: Path) -> None:
    site = Site(media_root=tmp_path)
    (tmp_path / "a.mp4").touch()
    assert site.client.post("/api/v1/streams", json={"name": "a", "url": "a.mp4"}).status_code == 201
    assert site.store.configs["a"].url == str(tmp_path / "a.mp4")


def test_the_newest_result(site: Site) -> None:
    refusal(site.client.get("/api/v1/streams/gate/result"), 404)
    site.add()
    assert "seen" in refusal(site.client.get("/api/v1/streams/gate/result"), 404)
    site.store.results["gate"] = {"schema": "sightline.result/1", "seq": 9}
    assert site.client.get("/api/v1/streams/gate/result").json()["seq"] == 9


# ------------------------------------------------------------------------------------------------------- events


def seqs(body: dict[str, Any]) -> list[int]:
    return [each["seq"] for each in body["events"]]


def test_events_come_newest_first_and_can_be_paged_both_ways(site: Site) -> None:
    for i in range(10):
        site.store.happen(event(i))
    newest = site.client.get("/api/v1/events?limit=4").json()
    assert seqs(newest) == [9, 8, 7, 6]
    older = site.client.get(f"/api/v1/events?limit=4&before={newest['previous']}").json()
    assert seqs(older) == [5, 4, 3, 2]
    oldest = site.client.get(f"/api/v1/events?limit=4&before={older['previous']}").json()
    assert (seqs(oldest), oldest["previous"]) == ([1, 0], None)
    site.store.happen(event(10))
    assert seqs(site.client.get(f"/api/v1/events?after={newest['next']}").json()) == [10]


def test_events_of_a_stream_and_of_a_kind(site: Site) -> None:
    for i in range(6):
        site.store.happen(event(i, "gate" if i % 2 else "door", "leave" if i > 3 else "appear"))
    assert seqs(site.client.get("/api/v1/events?stream=gate").json()) == [5, 3, 1]
    assert seqs(site.client.get("/api/v1/events?stream=gate&kind=leave").json()) == [5]
    assert seqs(site.client.get("/api/v1/events?stream=&kind=").json()) == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("query", "status"), [("kind=boo", 422), ("limit=0", 422), ("limit=1001", 422), ("after=!", 400)]
)
def test_a_bad_question_is_refused(site: Site, query: str, status: int) -> None:
    refusal(site.client.get(f"/api/v1/events?{query}"), status)


def test_after_and_before_exclude_each_other(site: Site) -> None:
    refusal(site.client.get("/api/v1/events?after=1&before=2"), 400)


def feed(
    site: Site, query: str = "", last_event_id: str | None = None, then: Sequence[dict[str, Any]] = ()
) -> str:
    """The whole of a feed that the server ends after `then` has happened."""

    async def run() -> str:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            asking = asyncio.create_task(client.get(f"/api/v1/events/stream{query}", headers=headers))
            for _ in range(50):
                await asyncio.sleep(0)
            for each in then:
                site.store.happen(each)
            for _ in range(50):
                await asyncio.sleep(0)
            site.app.state.stopping.set()
            answer = await asyncio.wait_for(asking, 5)
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            return answer.text

    return asyncio.run(run())


def data(text: str) -> list[int]:
    return [json.loads(line[6:])["seq"] for line in text.split("\n") if line.startswith("data: ")]


def test_a_feed_begins_now(site: Site) -> None:
    site.store.happen(event(0))
    text = feed(site, then=[event(1), event(2)])
    assert data(text) == [1, 2]
    assert text.startswith("retry: ")


def test_a_feed_resumes_behind_the_last_event_id(site: Site) -> None:
    for i in range(3):
        site.store.happen(event(i))
    text = feed(site, last_event_id="1", then=[event(3)])
    assert data(text) == [1, 2, 3]
    assert "id: 4\n" in text
    # what the browser was told last outranks the address it first asked for
    site = Site()
    for i in range(3):
        site.store.happen(event(i))
    assert data(feed(site, "?after=0", last_event_id="2")) == [2]


def test_a_feed_keeps_to_its_stream_and_kind(site: Site) -> None:
    then = [event(0, "door"), event(1), event(2, kind="leave")]
    assert data(feed(site, "?stream=gate&kind=leave", then=then)) == [2]


def test_a_feed_with_a_bad_cursor_is_refused_before_it_begins(site: Site) -> None:
    refusal(site.client.get("/api/v1/events/stream", headers={"Last-Event-ID": "nonsense"}), 400)


# ------------------------------------------------------------------------------------------------------- probes


def test_alive_does_not_ask_redis(site: Site) -> None:
    site.store.broken = True
    assert site.client.get("/healthz").json()["status"] == "ok"


def test_ready_needs_redis_and_a_fresh_worker(site: Site) -> None:
    assert "worker" in refusal(site.client.get("/readyz"), 503)
    site.beat()
    assert site.client.get("/readyz").json() == {"status": "ready"}
    site.clock.advance(6)
    assert "6 s old" in refusal(site.client.get("/readyz"), 503)
    site.beat()
    site.store.broken = True
    assert "Redis" in refusal(site.client.get("/readyz"), 503)


def test_metrics_are_prometheus_text_with_the_workers_in_it(site: Site) -> None:
    worker = Metrics()
    worker.frames.add(5, "gate", "published")
    worker.latency.observe(0.02, "gate")
    site.beat()
    site.store.worker_fields["metrics"] = json.dumps(worker.snapshot())
    site.client.get("/healthz")
    answer = site.client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = {
        (sample.name, sample.labels.get("stream") or sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["sightline_frames_total", "gate"] == 5
    assert samples["sightline_latency_seconds_count", "gate"] == 1
    assert samples["sightline_web_requests_total", "200"] == 1


def test_a_lost_redis_is_a_plain_503_everywhere(site: Site) -> None:
    site.store.broken = True
    for path in ("/api/v1/streams", "/api/v1/events", "/api/v1/events/stream", "/metrics", "/readyz"):
        assert "Redis" in refusal(site.client.get(path), 503)


# ---------------------------------------------------------------------------------------------------------- page


def test_our_own_files_are_served_and_nothing_beside_them(site: Site) -> None:
    player = site.client.get("/ui/player.js")
    # Gradio registers the older name for the whole process when it is loaded; browsers take both.
    kind = player.headers["Content-Type"].partition(";")[0]
    assert kind in ("text/javascript", "application/javascript")
    assert site.client.get("/ui/../app.py").status_code == 404
    assert site.client.get("/ui/%2e%2e/app.py").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/proxy=http://example.com"),
        ("POST", "/gradio_api/queue/join"),
        ("GET", "/config"),
        ("GET", "/docs"),
        ("POST", "/login"),
    ],
)
def test_no_route_of_gradio_that_the_page_does_not_need(site: Site, method: str, path: str) -> None:
    assert site.client.request(method, path, follow_redirects=False).status_code in (303, 404)


def test_until_the_page_is_built_it_says_so(site: Site) -> None:
    answer = site.client.get("/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert site.client.get("/healthz").json()["viewer"] == "starting"


def test_the_openapi_document_is_current() -> None:
    kept = (Path(__file__).parents[2] / "docs" / "openapi.json").read_text("utf-8")
    assert kept == openapi.text(), "run: python -m web.openapi docs/openapi.json"
    paths = json.loads(kept)["paths"]
    assert {"/api/v1/streams", "/api/v1/events/stream", "/{stream}/whep", "/readyz"} <= paths.keys()
