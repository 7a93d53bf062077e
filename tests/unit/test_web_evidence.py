"""One event over HTTP: what is kept of it, its picture, its clip in parts, and words for all that is not there."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from streamer.client import Evidence
from streamer.clock import FakeClock
from streamer.commands.services import worker_service
from streamer.commands.steps import Steps
from streamer.commands.web_wishes import WebWishes, web_wishes
from streamer.config import Config
from streamer.evidence import EvidenceConfig
from tests.fakes.web_store import MemoryStore
from web.app import WebSettings, create_app
from web.ranges import wanted_part

ID = "gate:1:60:appear:7"
AT = f"/api/v1/events/{ID.replace(':', '%3A')}"
JPG, MP4 = b"\xff\xd8 a picture", bytes(range(256)) * 4
PATH = [{"wall_ns": 10**18, "box_xyxy": [1.0, 2.0, 3.5, 4.0], "score": 0.5}]


class Site:
    def __init__(self, config: EvidenceConfig | None = None) -> None:
        self.clock, self.store = FakeClock(), MemoryStore()
        settings = WebSettings(evidence=config or EvidenceConfig())
        app = create_app(settings, self.store, clock=self.clock)
        self.client = TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)

    def keep(self, **fields: Any) -> None:
        self.store.kept[ID] = Evidence({"id": ID, "kind": "appear"}, **{"recorded": True, **fields})

    def get(self, what: str = "", **headers: str) -> httpx.Response:
        return self.client.get(AT + what, headers=headers)

    def refused(self, what: str) -> str:
        answer = self.get(what)
        assert answer.status_code == 404 and answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "application/problem+json"
        return str(answer.json()["detail"])


@pytest.fixture
def site() -> Site:
    site = Site()
    site.keep(picture=True, clip=True, path=PATH, clip_span_ns=(5, 9))
    site.store.pictures[ID], site.store.clips[ID] = JPG, MP4
    return site


def test_an_event_and_what_is_kept_of_it(site: Site) -> None:
    assert site.get().json() == {
        "event": {"id": ID, "kind": "appear"},
        "picture": True,
        "clip": True,
        "clip_pending": False,
        "clip_span_ns": [5, 9],
        "path": PATH,
        "why": False,
        "no_picture": None,
        "no_clip": None,
    }


def test_a_picture_may_be_kept_by_the_browser_for_ever(site: Site) -> None:
    answer = site.get("/picture.jpg")
    assert (answer.status_code, answer.content) == (200, JPG)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"] == "private, max-age=86400, immutable"
    tag = answer.headers["ETag"]
    again = site.get("/picture.jpg", **{"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert site.get("/picture.jpg", **{"If-None-Match": '"other"'}).status_code == 200


def test_a_clip_in_parts(site: Site) -> None:
    whole = site.get("/clip.mp4")
    assert (whole.status_code, whole.content) == (200, MP4)
    assert whole.headers["Accept-Ranges"] == "bytes" and whole.headers["Content-Type"] == "video/mp4"
    tag = whole.headers["ETag"]
    for asked, body, said in (
        ("bytes=0-", MP4, "bytes 0-1023/1024"),
        ("bytes=10-19", MP4[10:20], "bytes 10-19/1024"),
        ("bytes=1000-5000", MP4[1000:], "bytes 1000-1023/1024"),
        ("bytes=-24", MP4[-24:], "bytes 1000-1023/1024"),
    ):
        part = site.get("/clip.mp4", Range=asked)
        assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, body, said)
        assert part.headers["Content-Length"] == str(len(body)) and part.headers["ETag"] == tag
    beyond = site.get("/clip.mp4", Range="bytes=1024-")
    assert beyond.status_code == 416 and beyond.headers["Content-Range"] == "bytes */1024"
    assert site.get("/clip.mp4", Range="bytes=0-9", **{"If-Range": tag}).status_code == 206
    assert site.get("/clip.mp4", Range="bytes=0-9", **{"If-Range": '"old"'}).content == MP4
    assert site.get("/clip.mp4", **{"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-0", (0, 0)),
        ("bytes=5-", (5, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-30", (0, 9)),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=10-", ValueError),
        ("bytes=-0", ValueError),
    ],
)
def test_range_headers(header: str | None, part: Any) -> None:
    if part is ValueError:
        with pytest.raises(ValueError):
            wanted_part(header, 10)
    else:
        assert wanted_part(header, 10) == part


def test_what_is_not_there_is_told_in_words(site: Site) -> None:
    site.store.kept.clear()
    site.store.pictures.clear()
    site.store.clips.clear()
    for what in ("", "/picture.jpg", "/clip.mp4"):
        assert "there is no such event" in site.refused(what)
    site.keep(recorded=False)
    assert "no picture is kept any more" in site.refused("/picture.jpg")
    assert "the newest 50 are" in site.refused("/clip.mp4")
    site.keep(no_picture="gone", no_clip="soon")
    assert "its frame had left the memory" in site.refused("/picture.jpg")
    assert "less than 5 s before" in site.refused("/clip.mp4")
    seen = site.get().json()
    assert "its frame had left the memory" in seen["no_picture"] and "5 s" in seen["no_clip"]
    site.keep(clip_due_ns=site.clock.wall_ns() + 10**9)
    assert "not ready yet" in site.refused("/clip.mp4") and "ask again" in site.refused("/clip.mp4")
    assert site.get().json()["clip_pending"] is True and site.get().json()["no_clip"] is None
    site.clock.advance(2)
    assert "not ready" not in site.refused("/clip.mp4") and site.get().json()["clip_pending"] is False


def test_off_is_said_as_off() -> None:
    site = Site(EvidenceConfig(pictures=0, clips=0))
    site.keep(recorded=False)
    assert "evidence.pictures is 0" in site.refused("/picture.jpg")
    assert "evidence.clips is 0" in site.refused("/clip.mp4")


def test_the_feed_is_no_event(site: Site) -> None:
    site.store.broken = True
    assert site.client.get("/api/v1/events/stream").status_code == 503
    assert site.get().status_code == 503


def test_what_the_configuration_wishes_reaches_both_processes() -> None:
    config = Config(evidence=EvidenceConfig(pictures=7, clips=3))
    assert WebWishes.model_validate_json(web_wishes(config)).evidence == config.evidence
    worker = worker_service(config, "auto", "redis://nowhere", {}, FakeClock(), Steps())
    for option, number in (("--evidence-pictures", "7"), ("--evidence-clips", "3")):
        assert worker._argv[worker._argv.index(option) + 1] == number
