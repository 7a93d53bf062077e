"""The door of the web process: binding, tokens, sessions, foreign pages, headers."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from streamer.clock import FakeClock
from streamer.errors import ConfigError
from tests.fakes.web_store import MemoryStore
from web.app import WebSettings, create_app
from web.security import COOKIE, LOGIN_TRIES, SESSION_S, Guard, check_bind

TOKEN = "correct horse battery staple"


def guarded(
    token: str | None = TOKEN, *, clock: FakeClock | None = None, host: str = "127.0.0.1:7860"
) -> TestClient:
    async def page(_: object) -> HTMLResponse:
        return HTMLResponse("<p>page</p>")

    async def data(_: object) -> PlainTextResponse:
        return PlainTextResponse("data")

    inner = Starlette(
        routes=[Route("/", page), Route("/data", data, methods=["GET", "POST"]), Route("/healthz", data)]
    )
    app = Guard(inner, token=token, clock=clock or FakeClock())
    return TestClient(app, base_url=f"http://{host}", follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_loopback_needs_no_token(host: str) -> None:
    check_bind(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "camera.example"])
def test_any_other_address_needs_a_token(host: str) -> None:
    check_bind(host, TOKEN)
    for empty in (None, ""):
        with pytest.raises(ConfigError) as refusal:
            create_app(WebSettings(host=host, token=empty), MemoryStore())
        assert str(refusal.value).count("\n") == 0
        assert "token" in str(refusal.value)


def test_the_right_token_opens_and_everything_else_does_not() -> None:
    client = guarded()
    assert client.get("/data", headers={"Authorization": f"Bearer {TOKEN}"}).text == "data"
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer café"):
        answer = client.get("/data", headers={"Authorization": wrong.encode()})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    assert client.get(f"/data?token={TOKEN}&access_token={TOKEN}").status_code == 401


def test_probes_stay_open_and_a_browser_is_led_to_the_sign_in() -> None:
    client = guarded()
    assert client.get("/healthz").status_code == 200
    answer = client.get("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use() -> None:
    clock = FakeClock()
    client = guarded(clock=clock)
    answer = client.post("/login", data={"token": TOKEN})
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert TOKEN not in answer.headers["Set-Cookie"]
    assert client.get("/data").status_code == 200
    clock.advance(SESSION_S + 1)
    assert client.get("/data").status_code == 401


@pytest.mark.parametrize(
    "forged", ["", "1", "9999999999.", "9999999999.abc", "x.y", "99999999999999999999.00", "²."]
)
def test_a_forged_session_is_refused(forged: str) -> None:
    headers = {"Cookie": f"{COOKIE}={forged}".encode()}
    assert guarded().get("/data", headers=headers).status_code == 401


def test_a_session_cannot_be_prolonged() -> None:
    client = guarded()
    client.post("/login", data={"token": TOKEN})
    until, _, mac = client.cookies[COOKIE].partition(".")
    client.cookies.clear()
    headers = {"Cookie": f"{COOKIE}={int(until) + 1}.{mac}"}
    assert client.get("/data", headers=headers).status_code == 401


def test_guessing_is_braked_and_the_brake_lets_go() -> None:
    clock = FakeClock()
    client = guarded(clock=clock)
    for _ in range(LOGIN_TRIES):
        assert client.post("/login", data={"token": "guess"}).status_code == 403
    assert client.post("/login", data={"token": TOKEN}).status_code == 429
    clock.advance(61)
    assert client.post("/login", data={"token": TOKEN}).status_code == 303


def test_a_huge_sign_in_is_not_read() -> None:
    assert guarded().post("/login", data={"token": "x" * 100_000}).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "10.0.0.1:7860", ""])
def test_without_a_token_only_loopback_names_are_answered(host: str) -> None:
    answer = guarded(None).get("/data", headers={"Host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860", "[::1]"])
def test_loopback_names_are_answered(host: str) -> None:
    assert guarded(None).get("/data", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_a_foreign_page_cannot_change_anything(token: str | None, origin: str) -> None:
    headers = {"Origin": origin, "Authorization": f"Bearer {TOKEN}"}
    assert guarded(token).post("/data", headers=headers).status_code == 403
    headers["Origin"] = "http://127.0.0.1:7860"
    assert guarded(token).post("/data", headers=headers).status_code == 200


def test_headers_keep_the_page_to_itself() -> None:
    client = guarded(None)
    page, data = client.get("/").headers, client.get("/data").headers
    for headers in (page, data):
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "default-src 'self'" in page["Content-Security-Policy"]
    assert "http" not in page["Content-Security-Policy"]
    assert data["Content-Security-Policy"].startswith("default-src 'none'")


def test_settings_do_not_show_the_token() -> None:
    assert TOKEN not in repr(WebSettings(token=TOKEN))
