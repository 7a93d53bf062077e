"""Players of other origins: WHEP and WHIP for a page that is not ours, if it brings a token of its own.

The Guard refuses what a foreign page changes, as a browser would send our cookies along. That does not hold for a page
that says `Authorization: Bearer …` itself: no browser does that of its own accord. So, where tokens are set, such a
request loses its cookies and its origin and goes to the Guard, which judges the token; the answer may be read by
anybody (`*`, never with credentials). The browser's question beforehand carries no token; it is answered here and
tells nothing. Without tokens, when only this machine may watch, a foreign page may not.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PATH = re.compile(r"/[^/]+/(whep|whip)(/[^/]+)?")
_ASKED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "DELETE, OPTIONS, PATCH, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Max-Age": "600",
}
_READ = "Accept-Patch, Accept-Post, ETag, Link, Location, Retry-After"


class ForeignPlayers:
    """Wraps the Guard. `open_` is whether the server runs without tokens."""

    def __init__(self, app: ASGIApp, *, open_: bool) -> None:
        self._app = app
        self._open = open_

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._open or scope["type"] != "http" or not _PATH.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "origin" not in headers:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=204, headers=_ASKED)(scope, receive, send)
        elif headers.get("authorization", "").lower().startswith("bearer "):
            kept = [(name, value) for name, value in scope["headers"] if name not in (b"origin", b"cookie")]
            await self._app({**scope, "headers": kept}, receive, _readable(send))
        else:
            await self._app(scope, receive, send)


def _readable(send: Send) -> Send:
    async def send_readable(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = "*"
            headers["Access-Control-Expose-Headers"] = _READ
        await send(message)

    return send_readable
