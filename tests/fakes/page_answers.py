"""What the page asks of a server beside streams and events, answered from here: who am I, models, evidence, why.

Installed on a Playwright page, so that a test says what the server knows and reads what the page sent. Pictures are
of the synthetic street; what is not set up answers 404 in words, as the server does.
"""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image
from playwright.sync_api import Page, Route

from streamer.world import World, WorldConfig
from web.thumbnails import thumbnail

GRID_HW = (9, 16)
HEIGHT, WIDTH = 360, 640
TEXT = """# street-nano

Finds **people** and cars.

| | clear |
|---|---|
| AP50 | 0.877 |

- `sightline eval`
"""
CARD = {
    "name": "street-nano",
    "family": "street",
    "task": "track",
    "size_bytes": 6_100_000,
    "input_hw": [144, 256],
    "labels": ["person", "car"],
    "attention": True,
    "shown": {"AP50 clear": 0.877, "HOTA clear": 0.537, "mask IoU": 0.655},
    "data": "the training split",
    "text": TEXT,
}


def street_jpeg(seed: int = 7) -> bytes:
    """One picture of a street, HEIGHT x WIDTH."""
    picture, _ = World(
        WorldConfig(seed=seed, height=HEIGHT, width=WIDTH, fps=12.5, people=5, vehicles=3)
    ).step()
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=85)
    return out.getvalue()


def why_view(
    *, track_id: int = 7, picture: str | None = None, wall_ns: int = 1_700_000_000_000_000_000
) -> dict[str, Any]:
    """A why answer: heat about the middle, each cell of the picture looks at itself, similarity that falls a little."""
    rows, columns = GRID_HW
    y, x = np.mgrid[0:rows, 0:columns]
    heat = 255 * np.exp(-((x - columns / 2) ** 2 + (y - rows / 2) ** 2) / 6)
    looks = (np.eye(rows * columns) * 255).astype(np.uint8)
    return {
        "note": "attention, not cause",
        "model": "street-nano",
        "layer": 2,
        "wall_ns": wall_ns,
        "track_id": track_id,
        "query": {"size_hw": [rows, columns], "values": heat.astype(int).ravel().tolist()},
        "picture_attention": {"grid_hw": [rows, columns], "rows": base64.b64encode(looks.tobytes()).decode()},
        "similarity": [{"wall_ns": wall_ns - (20 - i) * 80_000_000, "value": 1 - i / 80} for i in range(21)],
        "picture": picture,
    }


@dataclass
class Answers:
    """`role` of who asks; `events` maps an id to the answer of GET /events/{id}; `patched` is what was sent."""

    role: str = "manage"
    models: list[dict[str, Any]] = field(default_factory=lambda: [CARD])
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    why: dict[str, Any] | None = None
    patched: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refuse_patch: str = ""
    asked_thumbnails: list[str] = field(default_factory=list)
    jpeg: bytes = b""

    def install(self, page: Page) -> None:
        page.route(re.compile(r"/api/v1/me$"), self._me)
        page.route(re.compile(r"/api/v1/models$"), lambda route: _json(route, {"models": self.models}))
        page.route(re.compile(r"/api/v1/events/(?!stream)[^?]+$"), self._event)
        page.route(re.compile(r"/api/v1/streams/[^/]+(/why)?$"), self._stream)

    def _me(self, route: Route) -> None:
        _json(route, {"name": "ada", "role": self.role, "open": False})

    def _event(self, route: Route) -> None:
        event, _, part = unquote(route.request.url.partition("/api/v1/events/")[2]).partition("/")
        found = self.events.get(event)
        part = part.partition("?")[0]
        if part == "thumbnail.jpg":
            self.asked_thumbnails.append(event)
        if found is None:
            _refuse(route, 404, f"{event}: no evidence of this event is kept")
        elif part == "picture.jpg" and found["picture"]:
            self.jpeg = self.jpeg or street_jpeg()
            route.fulfill(status=200, content_type="image/jpeg", body=self.jpeg)
        elif part == "thumbnail.jpg" and found["picture"]:
            self.jpeg = self.jpeg or street_jpeg()
            small = thumbnail(self.jpeg, found["event"], 104)
            route.fulfill(status=200, content_type="image/jpeg", body=small)
        elif part == "why" and self.why is not None:
            _json(route, self.why)
        elif part:
            _refuse(route, 404, f"{event}: there is no {part} of this event")
        else:
            _json(route, found)

    def _stream(self, route: Route) -> None:
        request = route.request
        if request.method == "POST":
            if self.why is None:
                _refuse(route, 409, "street-nano: this model has no attention to show")
            else:
                _json(route, self.why | {"picture": _data_url(street_jpeg())})
        elif request.method == "PATCH":
            name = unquote(request.url.rsplit("/", 1)[1])
            if self.refuse_patch:
                _refuse(route, 422, self.refuse_patch)
                return
            body = json.loads(request.post_data or "{}")
            self.patched.append((name, body))
            _json(route, {"name": name, **body})
        else:
            route.fallback()


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _json(route: Route, body: Any, status: int = 200) -> None:
    route.fulfill(status=status, content_type="application/json", body=json.dumps(body))


def _refuse(route: Route, status: int, detail: str) -> None:
    _json(route, {"title": "refused", "status": status, "detail": detail}, status)
