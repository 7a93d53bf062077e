"""The one door of the web process: who asks, from which page, and may they?

`Guard` wraps the whole application as plain ASGI, so that REST, WHEP, metrics and the viewer share it. Without a token
only loopback names are answered (a foreign page that rebinds its DNS name to 127.0.0.1 is refused), and whoever reaches
them may do all. With tokens each request brings `Authorization: Bearer …` or the cookie of the sign-in page, and the
table in `web.roles` says what its role may do. A token never stands in a URL or a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from streamer.access import Role, TokenConfig, access_mistakes
from streamer.addresses import is_loopback
from streamer.clock import Clock
from streamer.errors import ConfigError
from web.headers import PREFLIGHT, uncompressed, with_headers
from web.limits import AtOnce, bounded
from web.login import Login, Tries, too_many
from web.problems import Refused, problem
from web.roles import ANYBODY, Row, allowed, find
from web.sessions import EVERYBODY, Grant, Keyring, cookie_value

GRANT = "sightline.grant"  # in the scope, for `web.me`
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_IN_QUERY = frozenset({"token", "access_token", "bearer", "authorization"})


def check_bind(host: str, token: str | None, tokens: Sequence[TokenConfig] = ()) -> None:
    """Raises ConfigError if others could reach `host` and no token protects it, or none may manage it."""
    data = {"host": host, "token": token, "tokens": [dict(each) for each in tokens]}
    for path, what, mend in access_mistakes(data):
        raise ConfigError(what, where=".".join(map(str, path)), mend=mend)


class Guard:
    """The door. No token at all means: loopback names only. `secret` signs cookies (None: one of this process)."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        clock: Clock,
        tokens: Sequence[TokenConfig] = (),
        secret: str | None = None,
    ) -> None:
        self._app = app
        self._keyring = Keyring(token, tokens, secret=secret)
        self._clock = clock
        self._tries = Tries(self._keyring, clock)
        self._login = Login(self._keyring, self._tries, clock)
        self._at_once = AtOnce()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":  # no part of the product speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        row = find(scope["method"], scope["path"])
        foreign = bool(self._keyring) and row is not None and row.foreign and "origin" in headers
        send = with_headers(send, https=scope["scheme"] == "https", foreign=foreign)
        try:
            receive = bounded(receive, declared=headers.get("content-length"))
            answer = self._refusal(scope, headers, row) or await self._own(scope, headers, receive)
            if answer is not None:
                await answer(scope, receive, send)
                return
            with self._at_once.one(scope["path"], row.at_once if row else None):
                await self._app(uncompressed(scope) if scope["path"] == "/" else scope, receive, send)
        except Refused as refused:
            await refused.response()(scope, receive, send)
        except HTTPException as error:  # of `bounded`, where our own pages read
            await problem(error.status_code, error.detail)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers, row: Row | None) -> Response | None:
        """An answer instead of the application's; None: go on."""
        if not self._keyring and not is_loopback(_hostname(headers.get("host", ""))):
            return problem(421, "this address answers loopback names only", mend="use 127.0.0.1 or localhost")
        if any(
            name.lower() in TOKEN_IN_QUERY for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))
        ):
            mend = "send Authorization: Bearer …; if that was a real token, replace it"
            return problem(400, "a token has no place in a URL, which is logged and shown", mend=mend)
        bearer = _bearer(headers)
        may_be_foreign = row is not None and row.foreign and bool(self._keyring)
        if may_be_foreign and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            return Response(status_code=204, headers=PREFLIGHT)  # a browser asks it without credentials
        changes = scope["method"] not in SAFE_METHODS
        if changes and _is_foreign(headers) and not (may_be_foreign and bearer is not None):
            return problem(403, "a page of another origin may not do this")
        if row is not None and row.roles == ANYBODY:
            return None
        grant = self._granted(scope, headers, bearer, changes=changes)
        if isinstance(grant, Response):
            return grant
        if row is None:
            return _nothing_here(scope["method"], scope["path"])
        if grant.role not in row.roles:
            wanted = " or ".join(role for role in Role if role in row.roles)
            what = f"the token {grant.name} has the role {grant.role}, which may not do this"
            return problem(403, what, mend=f"use a token with the role {wanted}")
        scope[GRANT] = grant
        return None

    def _granted(
        self, scope: Scope, headers: Headers, bearer: str | None, *, changes: bool
    ) -> Grant | Response:
        """Who asks, or the refusal. With a Bearer token no cookie is looked at."""
        if not self._keyring:
            return EVERYBODY
        if bearer is not None:
            grant, wait_s = self._tries.look_at(bearer, _client(scope))
            return grant or (too_many(wait_s) if wait_s else _unknown("this is not a token of this server"))
        cookie = cookie_value(headers.get("cookie", ""))
        if cookie is not None and (found := self._keyring.by_cookie(cookie, self._clock.wall_ns() // 10**9)):
            if changes and "origin" not in headers and "sec-fetch-site" not in headers:
                mend = "send Origin, or Authorization: Bearer … in place of the cookie"
                return problem(403, "nothing says which page asks for this", mend=mend)
            return found
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return _unknown("a token is needed")

    async def _own(self, scope: Scope, headers: Headers, receive: Receive) -> Response | None:
        """The answer to what the door itself answers."""
        if scope["path"] == "/login":
            return await self._login.sign_in(scope, receive, _client(scope))
        if scope["path"] == "/logout":
            to_page = "text/html" in headers.get("accept", "")
            return self._login.sign_out(scope, cookie_value(headers.get("cookie", "")), to_page=to_page)
        return None


def _bearer(headers: Headers) -> str | None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _is_foreign(headers: Headers) -> bool:
    """Whether a page of another origin asks, by what browsers say of it; a program says neither."""
    origin, site, host = headers.get("origin"), headers.get("sec-fetch-site"), headers.get("host", "")
    if site is not None and site != "same-origin":
        return True
    return origin is not None and (not host or urlsplit(origin).netloc.lower() != host.lower())


def _client(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else "an unnamed place"


def _unknown(what: str) -> Response:
    refusal = problem(401, what, mend="send Authorization: Bearer …")
    refusal.headers["WWW-Authenticate"] = "Bearer"
    return refusal


def _nothing_here(method: str, path: str) -> Response:
    if methods := allowed(path):
        refusal = problem(405, f"{method} is nothing to do here", where=path)
        refusal.headers["Allow"] = ", ".join(sorted(methods))
        return refusal
    return problem(404, "there is nothing here", where=path)


def _hostname(host: str) -> str:
    """The name in a Host header, without the port; brackets of IPv6 stay."""
    return host[: host.rindex("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
