"""Who may ask: loopback or a token, our own page and no foreign one, and headers that keep the page to itself.

`Guard` wraps the whole application as plain ASGI, so that REST, WHEP, metrics and the viewer share one door. Without a
token only loopback names are answered (a foreign page that rebinds its DNS name to 127.0.0.1 is refused); with one,
each request brings `Authorization: Bearer …` or the cookie of the sign-in page. A token never stands in a URL or a log.
"""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.addresses import is_loopback
from streamer.clock import Clock
from streamer.errors import ConfigError
from web.assets import read_static
from web.problems import problem

COOKIE = "sightline_session"
SESSION_S = 7 * 24 * 3600
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/login"})  # probes have no secrets and tell none
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_LOGIN_BYTES = 4096
LOGIN_TRIES = 10  # wrong tokens a minute, from anybody
LOGIN_WINDOW_NS = 60 * 10**9

# Gradio starts from inline scripts and compiles its templates with Function(); nothing foreign may load all the same.
_PAGE_CSP = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_DATA_CSP = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def check_bind(host: str, token: str | None) -> None:
    """Raises ConfigError if others could reach `host` and no token protects it."""
    if not is_loopback(host) and not token:
        raise ConfigError(
            f"{host} can be reached by others and no token is set",
            where="host",
            mend="set a token, or bind to 127.0.0.1",
        )


class Guard:
    """The door of the web process. `token` None means: loopback names only."""

    def __init__(self, app: ASGIApp, *, token: str | None, clock: Clock) -> None:
        self._app = app
        self._key = hashlib.sha256(token.encode()).digest() if token else None
        self._clock = clock
        self._wrong_at_ns: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":  # no part of the product speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        response = self._refusal(scope, headers)
        if response is None and scope["path"] == "/login":
            response = await self._login(scope, receive)
        await (response or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._key is None and not is_loopback(_hostname(host)):
            return problem(421, "this address answers loopback names only", mend="use 127.0.0.1 or localhost")
        origin = headers.get("origin")
        if scope["method"] not in SAFE_METHODS and origin is not None and urlsplit(origin).netloc != host:
            return problem(403, "a page of another origin may not do this")
        if self._key is None or scope["path"] in OPEN_PATHS or self._is_known(headers):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        refusal = problem(401, "a token is needed", mend="send Authorization: Bearer …")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(given.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._is_session(cookie.value)

    def _is_token(self, given: str) -> bool:
        digest = hashlib.sha256(given.encode()).digest()
        return self._key is not None and hmac.compare_digest(digest, self._key)

    def _session(self, until_s: int) -> str:
        """A cookie that any web process with the same token accepts until then; the token cannot be read from it."""
        assert self._key is not None
        return f"{until_s}.{hmac.new(self._key, f'session {until_s}'.encode(), 'sha256').hexdigest()}"

    def _is_session(self, value: str) -> bool:
        until, _, _ = value.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 16):
            return False
        known = hmac.compare_digest(value.encode(), self._session(int(until)).encode())
        return known and int(until) * 10**9 > self._clock.wall_ns()

    async def _login(self, scope: Scope, receive: Receive) -> Response:
        if self._key is None:
            return RedirectResponse("/", 303)
        if scope["method"] != "POST":
            return _login_page("")
        now = self._clock.monotonic_ns()
        self._wrong_at_ns = [at for at in self._wrong_at_ns if now - at < LOGIN_WINDOW_NS]
        if len(self._wrong_at_ns) >= LOGIN_TRIES:
            return _login_page("Too many wrong tokens. Wait a minute.", 429)
        form = parse_qs((await _body(receive, MAX_LOGIN_BYTES)).decode("utf-8", "replace"))
        if not self._is_token(form.get("token", [""])[0].strip()):
            self._wrong_at_ns.append(now)
            return _login_page("This is not the token.", 403)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            self._session(self._clock.wall_ns() // 10**9 + SESSION_S),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=scope["scheme"] == "https",
        )
        return response


def _login_page(refusal: str, status: int = 200) -> Response:
    page = read_static("login.html").replace(
        "<!--refusal-->", f'<p role="alert">{refusal}</p>' if refusal else ""
    )
    return HTMLResponse(page, status)


def _hostname(host: str) -> str:
    """The name in a Host header, without the port; brackets of IPv6 stay."""
    return host[: host.rindex("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]


async def _body(receive: Receive, limit: int) -> bytes:
    """The request's body up to `limit` bytes; the rest is not read."""
    body = b""
    while len(body) < limit:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return body[:limit]


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            is_page = headers.get("content-type", "").startswith("text/html")
            headers.setdefault("Content-Security-Policy", _PAGE_CSP if is_page else _DATA_CSP)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers
