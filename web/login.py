"""The sign-in page: a token in, a cookie out; and the way out again."""

from __future__ import annotations

import logging
import math
from html import escape
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from streamer.access import Role
from streamer.clock import Clock
from web.assets import read_static
from web.headers import LOGIN_CSP
from web.problems import problem
from web.sessions import COOKIE, SESSION_S, Grant, Keyring
from web.throttle import Throttle

log = logging.getLogger(__name__)

MAX_LOGIN_BYTES = 4096


class Tries:
    """Tokens that are shown to the server, one client address at a time, with the brakes of `Throttle`."""

    def __init__(self, keyring: Keyring, clock: Clock) -> None:
        self._keyring = keyring
        self._clock = clock
        self._throttle = Throttle()

    def look_at(self, given: str, client: str) -> tuple[Grant | None, float]:
        """(whose token it is, seconds to wait before the next try). A wait without a grant: it was not looked at."""
        now_s = self._clock.monotonic_ns() / 1e9
        grant = self._keyring.by_token(given)
        wait_s = self._throttle.wait_s(client, now_s)
        if grant is not None and (not grant.guessable or not wait_s):
            return grant, 0.0
        if wait_s:
            return None, wait_s
        if self._throttle.failed(client, given, now_s):
            log.warning("a wrong token came from %s", client)
        return None, 0.0


class Login:
    """`/login` and `/logout`. `tries` is shared with whoever else looks at tokens."""

    def __init__(self, keyring: Keyring, tries: Tries, clock: Clock) -> None:
        self._keyring = keyring
        self._tries = tries
        self._clock = clock

    async def sign_in(self, scope: Scope, receive: Receive, client: str) -> Response:
        """The page for GET; for POST the cookie, or the page again with a reason."""
        if not self._keyring:
            return RedirectResponse("/", 303)
        if scope["method"] != "POST":
            return _page("")
        form = parse_qs((await _body(receive, MAX_LOGIN_BYTES)).decode("utf-8", "replace"))
        grant, wait_s = self._tries.look_at(form.get("token", [""])[0].strip(), client)
        if wait_s:
            wait = max(1, math.ceil(wait_s))
            page = _page(f"Too many wrong tokens. Wait {wait} s.", 429)
            page.headers["Retry-After"] = str(wait)
            return page
        if grant is None:
            return _page("This is not a token of this server.", 403)
        if grant.role is Role.PUBLISH:
            return _page(f"The token {grant.name} only publishes video; it opens no page.", 403)
        log.info("%s signed in from %s", grant.name, client)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            self._keyring.cookie_for(grant, self._clock.wall_ns() // 10**9),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=scope["scheme"] == "https",
        )
        return response

    def sign_out(self, scope: Scope, cookie: str | None, *, to_page: bool) -> Response:
        """End the cookie here and in the browser."""
        if cookie is not None:
            self._keyring.end(cookie, self._clock.wall_ns() // 10**9)
        response = RedirectResponse("/login", 303) if to_page else Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=scope["scheme"] == "https")
        return response


def too_many(wait_s: float) -> Response:
    """The refusal to a client that must wait, with Retry-After in whole seconds."""
    wait = max(1, math.ceil(wait_s))
    refusal = problem(429, "too many wrong tokens", mend=f"wait {wait} s")
    refusal.headers["Retry-After"] = str(wait)
    return refusal


def _page(refusal: str, status: int = 200) -> Response:
    told = f'<p role="alert">{escape(refusal)}</p>' if refusal else ""
    page = read_static("login.html").replace("<!--refusal-->", told)
    return HTMLResponse(page, status, headers={"Content-Security-Policy": LOGIN_CSP})


async def _body(receive: Receive, limit: int) -> bytes:
    """The request's body up to `limit` bytes; the rest is not read."""
    body = b""
    while len(body) < limit:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return body[:limit]
