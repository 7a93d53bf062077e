"""The table of roles: every route of the application has its place, and each role gets what is written there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from starlette.routing import Mount
from starlette.testclient import TestClient

from streamer.access import Role, TokenConfig, hash_token, new_token
from streamer.clock import FakeClock
from streamer.config import MAX_STREAMS, StreamConfig
from tests.fakes.web_store import MemoryStore
from web import viewer
from web.app import WebSettings, create_app
from web.feed import VideoStore
from web.roles import ANYBODY, TABLE, VIEW, allowed, find
from web.whep import WhepServer

HERE = "http://127.0.0.1:7860"
MADE = {role: new_token() for role in Role}
TOKENS = tuple(TokenConfig(name=f"a-{role}", role=role, hash=hash_token(MADE[role])) for role in Role)
AUTH = {role: {"Authorization": f"Bearer {MADE[role]}"} for role in Role}


def application(store: MemoryStore | None = None, **settings: Any) -> Any:
    store = store or MemoryStore()
    whep = WhepServer(cast(VideoStore, store))
    return create_app(WebSettings(**settings), store, whep=whep, clock=FakeClock())


def walk(routes: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of every route below, those of routers that are kept as routers included."""
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(
            getattr(route, "original_router", None), "routes", None
        )
        if isinstance(route, Mount):
            yield "GET", prefix + route.path + "/{path:path}"
        elif getattr(route, "methods", None):
            yield from ((method, prefix + route.path) for method in route.methods)
        else:
            assert inner is not None, f"what is {route!r}?"
            yield from walk(inner, prefix)


def unnamed(path: str) -> str:
    """`/a/{name}/b/{rest:path}` as `/a/{}/b/{:path}`: what a part is called is the route's own matter."""
    return re.sub(r"\{\w+", "{", path)


def test_every_route_has_its_place_in_the_table() -> None:
    found = set(walk(application().routes))
    assert ("POST", "/api/v1/streams") in found and ("POST", "/{stream}/whep") in found
    listed = {(method, row.path) for row in TABLE for method in row.methods.split()}
    listed |= {("HEAD", path) for method, path in listed if method == "GET"}
    # what is mounted at "/" answers only these, which have rows of their own
    found.discard(("GET", "/{path:path}"))
    found |= {("GET", path) for path in viewer.PATHS}
    found |= {("GET", f"{prefix}{{path:path}}") for prefix in viewer.PREFIXES}
    listed = {(method, unnamed(path)) for method, path in listed}
    found = {(method, unnamed(path)) for method, path in found}
    assert found - listed == set(), "give each of these a row in web/roles.py"


def test_a_path_and_method_has_one_row() -> None:
    rows = [(method, row.path) for row in TABLE for method in row.methods.split()]
    assert len(rows) == len(set(rows))
    assert find("HEAD", "/metrics") is find("GET", "/metrics")
    assert find("DELETE", "/metrics") is None and allowed("/metrics") == {"GET"}
    assert find("GET", "/api/v1/streams/a/b") is None
    assert find("GET", "/ui/") is not None and find("GET", "/uix") is None
    whep = find("PATCH", "/gate/whep/abc")
    assert whep is not None and whep.foreign and whep.roles == VIEW


def test_only_these_are_open_to_anybody() -> None:
    assert {row.path for row in TABLE if row.roles == ANYBODY} == {"/healthz", "/readyz", "/login", "/logout"}


def changing() -> list[tuple[str, str]]:
    rows = [
        (method, row.path)
        for row in TABLE
        for method in row.methods.split()
        if method in ("POST", "PATCH", "DELETE") and row.roles != ANYBODY
    ]
    return rows


@pytest.mark.parametrize(("method", "path"), changing())
def test_view_changes_nothing_but_its_own_watching(method: str, path: str) -> None:
    row = find(method, path.replace("{", "").replace("}", ""))
    assert row is not None
    watching = "/whep" in path or path.endswith("/why")
    assert (Role.VIEW in row.roles) == watching
    assert (Role.PUBLISH in row.roles) == ("/whip" in path)
    assert Role.MANAGE in row.roles


def test_publish_has_nothing_but_whip_and_its_own_name() -> None:
    assert {row.path for row in TABLE if Role.PUBLISH in row.roles} == {
        "/api/v1/me",
        "/{stream}/whip",
        "/{stream}/whip/{session}",
    }


def test_me_says_name_and_role_and_never_the_token() -> None:
    client = TestClient(application(tokens=TOKENS), base_url=HERE)
    for role in Role:
        answer = client.get("/api/v1/me", headers=AUTH[role])
        assert answer.json() == {"name": f"a-{role}", "role": str(role), "open": False}
    assert client.get("/api/v1/me").status_code == 401
    open_ = TestClient(application(), base_url=HERE)
    assert open_.get("/api/v1/me").json() == {"name": "", "role": "manage", "open": True}
    plain = TestClient(application(token="plain"), base_url=HERE)
    headers = {"Authorization": "Bearer plain"}
    assert plain.get("/api/v1/me", headers=headers).json() == {
        "name": "token",
        "role": "manage",
        "open": False,
    }


def test_the_real_application_refuses_a_viewer_that_manages() -> None:
    store = MemoryStore()
    client = TestClient(application(store, tokens=TOKENS), base_url=HERE)
    body = {"name": "door", "url": "world://street"}
    answer = client.post("/api/v1/streams", json=body, headers=AUTH[Role.VIEW])
    assert answer.status_code == 403 and "role manage" in answer.json()["detail"]
    assert store.configs == {}
    assert client.post("/api/v1/streams", json=body, headers=AUTH[Role.MANAGE]).status_code == 201
    assert client.get("/api/v1/streams/door", headers=AUTH[Role.VIEW]).status_code == 200
    assert client.delete("/api/v1/streams/door", headers=AUTH[Role.PUBLISH]).status_code == 403


def test_a_stream_that_is_added_is_guarded_whatever_it_says_itself() -> None:
    store = MemoryStore()
    client = TestClient(application(store, stream_hosts=("127.0.0.1",)), base_url=HERE)
    for said in (None, ["10.0.0.0/8"]):
        body = {"name": f"s{bool(said)}", "url": "rtsp://127.0.0.1/x", "guard": said}
        assert client.post("/api/v1/streams", json=body).status_code == 201
    assert {config.guard for config in store.configs.values()} == {("127.0.0.1",)}
    refused = client.post("/api/v1/streams", json={"name": "x", "url": "rtsp://127.0.0.2/x"})
    assert refused.status_code == 422 and "stream_hosts" in refused.json()["detail"]


def test_streams_have_a_ceiling() -> None:
    store = MemoryStore()
    for i in range(MAX_STREAMS):
        store.configs[f"s{i}"] = StreamConfig(name=f"s{i}", url="world://street")
    answer = TestClient(application(store), base_url=HERE).post(
        "/api/v1/streams", json={"name": "one-more", "url": "world://street"}
    )
    assert answer.status_code == 409 and str(MAX_STREAMS) in answer.json()["detail"]
