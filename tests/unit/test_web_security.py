"""The door of the web process: binding, tokens, foreign pages, headers, signing in and out."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from streamer.access import Role, TokenConfig, hash_token, new_token
from streamer.clock import FakeClock
from streamer.errors import ConfigError
from tests.fakes.web_store import MemoryStore
from web.app import WebSettings, create_app
from web.security import Guard, check_bind
from web.sessions import COOKIE, SESSION_S
from web.throttle import FREE_TRIES, IN_ALL

TOKEN = "correct horse battery staple"
MADE = {role: new_token() for role in Role}
TOKENS = tuple(TokenConfig(name=f"a-{role}", role=role, hash=hash_token(MADE[role])) for role in Role)
DATA = "/api/v1/streams"  # to be read by view and changed by manage
HERE = "http://127.0.0.1:7860"


def guarded(
    token: str | None = TOKEN,
    tokens: tuple[TokenConfig, ...] = (),
    *,
    clock: FakeClock | None = None,
    base: str = HERE,
    secret: str = "s" * 64,
    client: str = "10.1.1.1",
) -> TestClient:
    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse("<p>page</p>")

    async def data(_: Request) -> PlainTextResponse:
        return PlainTextResponse("data")

    async def watch(request: Request) -> Response:
        return Response("sdp", 201, {"Location": "/gate/whep/1", "Link": "<turn:x>; credential=y"})

    inner = Starlette(
        routes=[
            Route("/", page),
            Route(DATA, data, methods=["GET", "POST"]),
            Route("/healthz", data),
            Route("/unlisted", data),
            Route("/{stream}/whep", watch, methods=["POST", "OPTIONS"]),
            Route("/{stream}/whip", watch, methods=["POST", "OPTIONS"]),
        ]
    )
    app = Guard(inner, token=token, tokens=tokens, secret=secret, clock=clock or FakeClock())
    return TestClient(app, base_url=base, follow_redirects=False, client=(client, 5000))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_loopback_needs_no_token(host: str) -> None:
    check_bind(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "camera.example"])
def test_any_other_address_needs_a_token_that_manages(host: str) -> None:
    check_bind(host, TOKEN)
    check_bind(host, None, TOKENS)
    viewers_only = tuple(token for token in TOKENS if token.role is not Role.MANAGE)
    for empty, tokens in ((None, ()), ("", ()), (None, viewers_only)):
        with pytest.raises(ConfigError) as refusal:
            create_app(WebSettings(host=host, token=empty, tokens=tokens), MemoryStore())
        assert str(refusal.value).count("\n") == 0
        assert "token" in str(refusal.value)


def test_the_right_token_opens_and_everything_else_does_not() -> None:
    client = guarded()
    assert client.get(DATA, headers=bearer(TOKEN)).text == "data"
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer café"):
        answer = client.get(DATA, headers={"Authorization": wrong.encode()})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in answer.text


@pytest.mark.parametrize("name", ["token", "access_token", "Token"])
def test_a_token_in_a_url_is_refused_and_not_repeated(name: str) -> None:
    for path in (DATA, "/login", "/healthz"):
        answer = guarded().get(path, params={name: TOKEN}, headers=bearer(TOKEN))
        assert answer.status_code == 400
        assert "replace it" in answer.json()["detail"] and "horse" not in answer.text


def test_probes_stay_open_and_a_browser_is_led_to_the_sign_in() -> None:
    client = guarded()
    assert client.get("/healthz").status_code == 200
    answer = client.get("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


def test_a_path_without_a_row_is_answered_by_nobody() -> None:
    client = guarded()
    assert client.get("/unlisted").status_code == 401
    assert client.get("/unlisted", headers=bearer(TOKEN)).status_code == 404
    answer = client.put(DATA, headers=bearer(TOKEN))
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
    assert guarded(None).get("/unlisted").status_code == 404


def test_each_role_does_its_own_and_is_told_in_words_what_it_lacks() -> None:
    client = guarded(None, TOKENS)
    may = {
        Role.VIEW: {("GET", "/"), ("GET", DATA), ("POST", "/gate/whep")},
        Role.PUBLISH: {("POST", "/gate/whip")},
    }
    asked = {("GET", "/"), ("GET", DATA), ("POST", DATA), ("POST", "/gate/whep"), ("POST", "/gate/whip")}
    may[Role.MANAGE] = asked
    for role in Role:
        for method, path in sorted(asked):
            answer = client.request(method, path, headers=bearer(MADE[role]))
            if (method, path) in may[role]:
                assert answer.status_code in (200, 201), (role, method, path)
            else:
                assert answer.status_code == 403, (role, method, path)
                assert f"role {role}" in answer.json()["detail"] and MADE[role] not in answer.text


def sign_in(client: TestClient, token: str = TOKEN) -> str:
    answer = client.post("/login", data={"token": token})
    assert answer.status_code == 303, answer.text
    return answer.headers["Set-Cookie"]


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use() -> None:
    clock = FakeClock()
    client = guarded(clock=clock)
    cookie = sign_in(client)
    assert "httponly" in cookie.lower() and "samesite=strict" in cookie.lower()
    assert "secure" not in cookie.lower() and TOKEN not in cookie
    assert client.get(DATA).status_code == 200
    clock.advance(SESSION_S + 1)
    assert client.get(DATA).status_code == 401


def test_https_makes_the_cookie_secure_and_pins_the_browser_to_it() -> None:
    client = guarded(base="https://127.0.0.1:7860")
    assert "; secure" in sign_in(client).lower()
    assert client.get("/healthz").headers["Strict-Transport-Security"].startswith("max-age=")
    assert "Strict-Transport-Security" not in guarded().get("/healthz").headers


def test_a_cookie_of_view_only_views_and_publish_opens_no_page() -> None:
    client = guarded(None, TOKENS)
    sign_in(client, MADE[Role.VIEW])
    assert client.get(DATA).status_code == 200
    assert client.post(DATA, headers={"Origin": HERE}).status_code == 403
    assert client.post("/login", data={"token": MADE[Role.PUBLISH]}).status_code == 403


def test_changes_by_cookie_need_a_page_of_ours() -> None:
    client = guarded()
    sign_in(client)
    for headers, status in (
        ({}, 403),
        ({"Origin": HERE}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": HERE, "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ):
        assert client.post(DATA, headers=headers).status_code == status, headers
    # with a Bearer token, no cookie is looked at: neither its rights nor its rules
    assert client.post(DATA, headers=bearer(TOKEN)).status_code == 200
    assert client.get(DATA, headers=bearer("wrong")).status_code == 401


def test_signing_out_ends_the_cookie_here_and_in_the_browser() -> None:
    client = guarded()
    sign_in(client)
    kept = client.cookies[COOKIE]
    assert client.post("/logout", headers={"Origin": "http://evil.example"}).status_code == 403
    answer = client.post("/logout", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert COOKIE not in client.cookies
    assert client.get(DATA, headers={"Cookie": f"{COOKIE}={kept}"}).status_code == 401
    assert client.post("/logout").status_code == 204


def test_guessing_waits_longer_and_longer_and_is_told_how_long() -> None:
    clock = FakeClock()
    client = guarded(clock=clock)
    waits = []
    for i in range(FREE_TRIES + 4):
        assert client.post("/login", data={"token": f"guess {i}"}).status_code == 403
        if i >= FREE_TRIES - 1:
            answer = client.post("/login", data={"token": TOKEN})
            assert answer.status_code == 429
            waits.append(int(answer.headers["Retry-After"]))
            assert client.get(DATA, headers=bearer(TOKEN)).status_code == 429  # the same brake
            clock.advance(waits[-1])
    assert waits == [1, 2, 4, 8, 16]
    assert client.post("/login", data={"token": TOKEN}).status_code == 303


def test_wrong_bearer_tokens_count_and_others_are_not_held_up() -> None:
    clock = FakeClock()
    app = guarded(clock=clock).app
    guesser = TestClient(app, base_url=HERE, client=("10.9.9.9", 1))
    other = TestClient(app, base_url=HERE, client=("10.1.1.1", 1))
    statuses = [guesser.get(DATA, headers=bearer(f"guess {i}")).status_code for i in range(9)]
    assert statuses == [401] * FREE_TRIES + [429] * 4
    assert other.get(DATA, headers=bearer(TOKEN)).status_code == 200


def test_a_program_with_an_old_token_locks_nobody_out() -> None:
    client = guarded(clock=FakeClock())
    for _ in range(50):
        assert client.get(DATA, headers=bearer("an old token")).status_code == 401
    assert client.get(DATA, headers=bearer(TOKEN)).status_code == 200


def test_many_addresses_together_have_a_ceiling_that_made_tokens_pass() -> None:
    clock = FakeClock()
    app = guarded(TOKEN, TOKENS, clock=clock).app
    for i in range(IN_ALL):
        guesser = TestClient(app, base_url=HERE, client=(f"10.{i}.0.1", 1))
        assert guesser.get(DATA, headers=bearer(f"guess {i}")).status_code == 401
    fresh = TestClient(app, base_url=HERE, client=("10.200.0.1", 1), follow_redirects=False)
    assert fresh.post("/login", data={"token": TOKEN}).status_code == 429
    assert fresh.get(DATA, headers=bearer(MADE[Role.VIEW])).status_code == 200
    clock.advance(61)
    assert fresh.post("/login", data={"token": TOKEN}).status_code == 303


def test_a_huge_sign_in_is_not_read() -> None:
    assert guarded().post("/login", data={"token": "x" * 100_000}).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "10.0.0.1:7860", ""])
def test_without_a_token_only_loopback_names_are_answered(host: str) -> None:
    assert guarded(None).get(DATA, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860", "[::1]"])
def test_loopback_names_are_answered(host: str) -> None:
    assert guarded(None).get(DATA, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_a_foreign_page_cannot_change_anything(token: str | None, origin: str) -> None:
    headers = {"Origin": origin, **bearer(TOKEN)}
    assert guarded(token).post(DATA, headers=headers).status_code == 403
    headers["Origin"] = HERE
    assert guarded(token).post(DATA, headers=headers).status_code == 200


PREFLIGHT = {"Origin": "https://player.example", "Access-Control-Request-Method": "POST"}


@pytest.mark.parametrize("path", ["/gate/whep", "/gate/whip"])
def test_a_player_on_another_page_watches_with_its_token_and_never_with_a_cookie(path: str) -> None:
    client = guarded()
    preflight = client.options(path, headers=PREFLIGHT)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, "*")
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Link" not in preflight.headers  # it may hold credentials of a TURN server
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    assert client.options(path).status_code == 401
    answer = client.post(path, headers={"Origin": "https://player.example", **bearer(TOKEN)})
    assert answer.status_code == 201 and "Location" in answer.headers["Access-Control-Expose-Headers"]
    sign_in(client)
    answer = client.post(path, headers={"Origin": "https://player.example"})
    assert answer.status_code == 403


def test_no_other_path_and_no_open_server_has_foreign_pages() -> None:
    for client, path in ((guarded(), DATA), (guarded(None), "/gate/whep")):
        answer = client.options(path, headers=PREFLIGHT)
        assert "Access-Control-Allow-Origin" not in answer.headers
    foreign = guarded(None).post("/gate/whep", headers={"Origin": "https://x.example", **bearer("any")})
    assert foreign.status_code == 403


def test_headers_keep_the_page_to_itself() -> None:
    client = guarded(None)
    page, data = client.get("/").headers, client.get(DATA).headers
    for headers in (page, data):
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "camera=(self)" in headers["Permissions-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "connect-src 'self'" in page["Content-Security-Policy"]
    assert "http" not in page["Content-Security-Policy"]
    assert data["Content-Security-Policy"].startswith("default-src 'none'")
    assert "script-src" not in guarded().get("/login").headers["Content-Security-Policy"]


def test_settings_do_not_show_secrets() -> None:
    settings = WebSettings(token=TOKEN, tokens=TOKENS, secret="x" * 64)
    assert TOKEN not in repr(settings) and "x" * 64 not in repr(settings)
    assert all(token.hash not in repr(settings) for token in TOKENS)
