"""What each role may do: one table of every route and method. What has no row in it is answered by nobody.

A role is asked for by path and method alone, before any code of a route runs. A test walks all routes of the
application and fails for one that has no row here, so a new route cannot be open by accident: without a row it answers
404 to everybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from streamer.access import Role

ANYBODY: frozenset[Role] = frozenset()  # no token is asked for
VIEW = frozenset({Role.VIEW, Role.MANAGE})
PUBLISH = frozenset({Role.PUBLISH, Role.MANAGE})
MANAGE = frozenset({Role.MANAGE})
EACH = frozenset(Role)

FEEDS = 256  # event feeds of one process at once
PICTURES = 64  # burned-in streams at once: each is an encoder's work


@dataclass(frozen=True, slots=True)
class Row:
    """Who may use these methods of a path. `{name}` stands for one part of it, `{name:path}` for all the rest.

    `foreign`: pages of other origins may, with a Bearer token (CORS). `at_once`: how many answers may be under way.
    """

    methods: str
    path: str
    roles: frozenset[Role]
    foreign: bool = False
    at_once: int | None = None


TABLE = (
    # probes tell no secrets; signing in and out comes before any role
    Row("GET", "/healthz", ANYBODY),
    Row("GET", "/readyz", ANYBODY),
    Row("GET POST", "/login", ANYBODY),
    Row("POST", "/logout", ANYBODY),
    Row("GET", "/metrics", VIEW),
    # the page
    Row("GET", "/", VIEW),
    Row("GET", "/theme.css", VIEW),
    Row("GET", "/favicon.ico", VIEW),
    Row("GET", "/assets/{path:path}", VIEW),
    Row("GET", "/static/{path:path}", VIEW),
    Row("GET", "/ui/{path:path}", VIEW),
    # the API
    Row("GET", "/api/v1/openapi.json", VIEW),
    Row("GET", "/api/v1/me", EACH),
    Row("GET", "/api/v1/ice", VIEW),
    Row("GET", "/api/v1/models", VIEW),
    Row("GET", "/api/v1/streams", VIEW),
    Row("POST", "/api/v1/streams", MANAGE),
    Row("GET", "/api/v1/streams/{name}", VIEW),
    Row("PATCH DELETE", "/api/v1/streams/{name}", MANAGE),
    Row("GET", "/api/v1/streams/{name}/result", VIEW),
    Row("GET", "/api/v1/streams/{name}/snapshot.jpg", VIEW),
    Row("POST", "/api/v1/streams/{name}/why", VIEW),  # a question: it changes nothing
    Row("GET", "/api/v1/events", VIEW),
    Row("GET", "/api/v1/events/stream", VIEW, at_once=FEEDS),
    Row("GET", "/api/v1/events/{id}", VIEW),
    Row("GET", "/api/v1/events/{id}/why", VIEW),
    Row("GET", "/api/v1/events/{id}/picture.jpg", VIEW),
    Row("GET", "/api/v1/events/{id}/thumbnail.jpg", VIEW),
    Row("GET", "/api/v1/events/{id}/clip.mp4", VIEW),
    # media
    Row("GET", "/{stream}/mjpeg", VIEW, at_once=PICTURES),
    Row("POST OPTIONS", "/{stream}/whep", VIEW, foreign=True),
    Row("PATCH DELETE OPTIONS", "/{stream}/whep/{session}", VIEW, foreign=True),
    Row("POST OPTIONS", "/{stream}/whip", PUBLISH, foreign=True),
    Row("PATCH DELETE OPTIONS", "/{stream}/whip/{session}", PUBLISH, foreign=True),
)


def find(method: str, path: str) -> Row | None:
    """The row for a request; HEAD is judged as GET. None: nobody answers this."""
    method = "GET" if method == "HEAD" else method
    for row, methods, pattern in _compiled():
        if method in methods and pattern.fullmatch(path):
            return row
    return None


def allowed(path: str) -> set[str]:
    """The methods that `path` has at all."""
    return {m for _, methods, pattern in _compiled() if pattern.fullmatch(path) for m in methods}


@cache
def _compiled() -> tuple[tuple[Row, frozenset[str], re.Pattern[str]], ...]:
    return tuple((row, frozenset(row.methods.split()), _pattern(row.path)) for row in TABLE)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", path)
    made = [".*" if p.endswith(":path}") else "[^/]+" if p.startswith("{") else re.escape(p) for p in parts]
    return re.compile("".join(made), re.DOTALL)
