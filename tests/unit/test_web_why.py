"""The API's whys: what was kept of an event, questions to a worker, refusals in words; and the models."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from streamer.config import StreamConfig
from streamer.errors import EngineError
from streamer.ports import Looks
from streamer.wire.answers import encode_refusal, encode_why
from tests.fakes.web_store import MemoryStore
from web.app import WebSettings, create_app
from web.problems import Refused
from web.why import why_router

EVENT = "gate:1:40:appear:7"
HERE = "http://127.0.0.1:7860"


def answer(jpeg: bytes | None = None) -> bytes:
    looks = Looks(np.array([[0.1, 0.4], [0.2, 0.3]], np.float32), None, None)
    return encode_why(
        looks, model="street-nano", layer="the last", wall_ns=10**18, track_id=7, similarity=[(1, 0.5)], jpeg=jpeg
    )  # fmt: skip


class Site:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.configs["gate"] = StreamConfig(name="gate", url="rtsp://10.0.0.7/ch1")
        self.client = TestClient(create_app(WebSettings(), self.store), base_url=HERE)

    def event(self, event: str = EVENT) -> Any:
        return self.client.get(f"/api/v1/events/{quote(event, safe='')}/why")

    def track(self, track_id: Any = 7, name: str = "gate") -> Any:
        return self.client.post(f"/api/v1/streams/{name}/why", json={"track_id": track_id})


@pytest.fixture
def site() -> Site:
    return Site()


def refusal(answered: Any, status: int) -> str:
    assert answered.status_code == status, answered.text
    return str(answered.json()["detail"])


def test_what_was_kept_of_an_event_is_given(site: Site) -> None:
    site.store.whys[EVENT] = answer()
    why = site.event().json()
    assert why == {
        "note": "attention, not cause",
        "model": "street-nano",
        "layer": "the last",
        "wall_ns": 10**18,
        "track_id": 7,
        "query": {"size_hw": [2, 2], "values": [64, 255, 128, 191]},
        "picture_attention": None,
        "similarity": [{"wall_ns": 1, "value": 0.5}],
        "picture": None,
    }


def test_an_event_that_was_skipped_is_asked_about(site: Site) -> None:
    asked: list[dict[str, Any]] = []

    def says(question: dict[str, Any]) -> bytes:
        asked.append(question)
        return answer()

    site.store.worker_says = says
    assert site.event().json()["track_id"] == 7
    assert asked == [{"stream": "gate", "event": EVENT}]


def test_a_track_is_asked_about_and_brings_its_picture(site: Site) -> None:
    asked: list[dict[str, Any]] = []

    def says(question: dict[str, Any]) -> bytes:
        asked.append(question)
        return answer(b"jpg")

    site.store.worker_says = says
    assert site.track().json()["picture"] == "data:image/jpeg;base64,anBn"
    assert asked == [{"stream": "gate", "track_id": 7}]


def test_the_workers_refusal_is_the_apis(site: Site) -> None:
    error = EngineError("model yolo has no attention to show", where="gate", mend="choose street-nano")
    site.store.worker_says = lambda question: encode_refusal(error, 409)
    assert refusal(site.track(), 409) == "gate: model yolo has no attention to show — choose street-nano"
    assert refusal(site.event(), 409).startswith("gate: model yolo has no attention")


def test_what_cannot_be_answered_is_said(site: Site) -> None:
    assert refusal(site.track(), 503) == "gate: no worker is there to ask — see GET /readyz"
    assert refusal(site.track(name="nobody"), 404).startswith("nobody: there is no such stream")
    assert refusal(site.event("away:1:2:appear:3"), 404).startswith("away: there is no such stream")
    assert refusal(site.event("gate:1:2:up:-"), 409).startswith("gate:1:2:up:-: the event is of no object")
    assert refusal(site.event("nonsense"), 404).startswith("nonsense: this is no id of an event")
    refusal(site.track("seven"), 422)
    refusal(site.track(-1), 422)
    site.store.broken = True
    refusal(site.track(), 503)


def test_an_answer_that_does_not_come_is_a_504() -> None:
    store = MemoryStore()
    store.configs["gate"] = StreamConfig(name="gate", url="rtsp://10.0.0.7/ch1")
    store.worker_says = lambda question: None
    app = FastAPI()
    app.include_router(why_router(store, answer_s=0))

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return error.response()

    late = TestClient(app).post("/api/v1/streams/gate/why", json={"track_id": 1})
    assert refusal(late, 504) == "gate: no answer came within 0 s — the worker is busy; ask again"


def test_the_models_are_listed(site: Site) -> None:
    assert site.client.get("/api/v1/models").json() == {"models": []}
    site.store.model_fields = [
        {"name": "street-nano", "family": "street", "task": "track", "size_bytes": 6, "input_hw": [144, 256],
         "labels": ["person"], "attention": True, "shown": {"AP50 clear": 0.9}, "text": "# street-nano"}
    ]  # fmt: skip
    [model] = site.client.get("/api/v1/models").json()["models"]
    assert (model["name"], model["shown"], model["text"]) == (
        "street-nano",
        {"AP50 clear": 0.9},
        "# street-nano",
    )
    assert model["attention"] is True and model["data"] is None
