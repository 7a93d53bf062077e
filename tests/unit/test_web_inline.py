"""The inline scripts of a page and the policy that names them."""

from __future__ import annotations

import base64
import hashlib

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from streamer.clock import FakeClock
from web.inline import inline_hashes
from web.security import Guard


def named(body: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'"


def test_inline_scripts_are_named_in_their_order_and_sources_are_not() -> None:
    page = """<script>one()</script><SCRIPT type="module" data-x>
two()\r\n</SCRIPT ><script src="/x.js"></script><script>one()</script><scripty>no</scripty>"""
    assert inline_hashes(page.encode()) == f"{named('one()')} {named(chr(10) + 'two()' + chr(10))}"
    assert inline_hashes(b"<p>") == ""


def test_the_policy_names_the_page_that_is_sent_even_in_pieces_and_asks_for_it_uncompressed() -> None:
    asked: list[str | None] = []

    async def page(request: Request) -> Response:
        asked.append(request.headers.get("accept-encoding"))
        pieces = iter([b"<script>a", b"()</script>", b"<p onclick='b()'>"])
        return StreamingResponse(pieces, media_type="text/html")

    app = Guard(Starlette(routes=[Route("/", page)]), token=None, clock=FakeClock())
    answer = TestClient(app, base_url="http://127.0.0.1").get("/", headers={"Accept-Encoding": "gzip"})
    policy = answer.headers["Content-Security-Policy"]
    assert f"script-src 'self' 'unsafe-eval' {named('a()')};" in policy
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]
    assert answer.text == "<script>a()</script><p onclick='b()'>"
    assert asked == [None]
