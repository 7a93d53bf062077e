"""What a client may send and how long it may take, and how many long answers there are at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from streamer.clock import FakeClock
from tests.fakes.web_store import MemoryStore
from web import roles, serving
from web.app import WebSettings, create_app
from web.limits import MAX_BODY_BYTES, AtOnce, bounded
from web.problems import Refused
from web.serving import WebServer, bind

HERE = "http://127.0.0.1:7860"


def test_a_body_too_long_is_refused_whether_it_says_so_or_not() -> None:
    client = TestClient(create_app(WebSettings(), MemoryStore(), clock=FakeClock()), base_url=HERE)
    text = b"[" + b" " * MAX_BODY_BYTES + b"]"
    for content in (text, iter([text])):  # with Content-Length, and in chunks without
        answer = client.post("/api/v1/streams", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413, answer.text
        assert str(MAX_BODY_BYTES) in answer.json()["detail"]
    assert client.post("/api/v1/streams", content=b"[]").status_code == 422


def test_a_body_that_does_not_come_ends_and_a_client_that_stays_does_not() -> None:
    async def run() -> None:
        said = asyncio.Queue[dict[str, Any]]()
        read = bounded(said.get, declared=None, within_s=0.05)
        await said.put({"type": "http.request", "body": b"x", "more_body": True})
        assert (await read())["body"] == b"x"
        with pytest.raises(HTTPException) as refusal:
            await read()
        assert refusal.value.status_code == 408
        read = bounded(said.get, declared="1", within_s=0.0)
        await said.put({"type": "http.request", "body": b"x"})
        await read()
        leaves = asyncio.ensure_future(read())  # the feed's wait for the client to leave has no end
        for _ in range(5):
            await asyncio.sleep(0)
        assert not leaves.done()
        await said.put({"type": "http.disconnect"})
        assert (await leaves)["type"] == "http.disconnect"

    asyncio.run(asyncio.wait_for(run(), 10))


@pytest.mark.parametrize("declared", ["-1", "x", str(MAX_BODY_BYTES + 1), "9" * 400])
def test_a_declared_length_is_believed_at_once(declared: str) -> None:
    async def never() -> Any:
        raise AssertionError("the body was read")

    with pytest.raises(Refused) as refusal:
        bounded(never, declared=declared)
    assert refusal.value.status == 413


def test_what_is_under_way_is_counted_down_whatever_happens() -> None:
    at_once = AtOnce()
    with at_once.one("feed", 1):
        with pytest.raises(Refused), at_once.one("feed", 1):
            raise AssertionError("one too many")
        with at_once.one("other", 1):
            pass
    with pytest.raises(KeyError), at_once.one("feed", 1):
        raise KeyError
    with at_once.one("feed", 1):
        pass


@contextlib.asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[tuple[str, int]]:
    with bind("127.0.0.1", 0) as listener:
        server = WebServer(app)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[:2]
        finally:
            server.should_exit = True
            await task


def test_feeds_beyond_the_ceiling_are_refused_until_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    row = roles.find("GET", "/api/v1/events/stream")
    assert row is not None and row.at_once == roles.FEEDS

    few = tuple(
        roles.Row(r.methods, r.path, r.roles, r.foreign, 2 if r is row else r.at_once) for r in roles.TABLE
    )
    monkeypatch.setattr(roles, "TABLE", few)
    roles._compiled.cache_clear()

    async def run() -> None:
        async with served(create_app(WebSettings(), MemoryStore())) as (host, port):
            url = f"http://{host}:{port}/api/v1/events/stream"
            async with httpx.AsyncClient(timeout=10) as client, client.stream("GET", url) as first:
                assert first.status_code == 200
                async with client.stream("GET", url) as second:
                    assert second.status_code == 200
                    refused = await client.get(url)
                    assert refused.status_code == 503 and "2 of these" in refused.json()["detail"]
                for _ in range(500):  # the server hears of the end a moment later
                    async with client.stream("GET", url) as again:
                        if again.status_code == 200:
                            return
                    await asyncio.sleep(0.01)
                raise AssertionError("the place of a feed that ended stays taken")

    try:
        asyncio.run(asyncio.wait_for(run(), 60))
    finally:
        monkeypatch.undo()
        roles._compiled.cache_clear()


def test_a_head_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_WITHIN_S", 0.2)
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    async def run() -> None:
        async with served(create_app(WebSettings(), MemoryStore())) as (host, port):
            for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost: 127"):  # nothing, and half a head
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(begun)
                assert await reader.read() == b""  # the end came from the other side
                writer.close()
            # a head that comes whole is answered, on a kept connection too; there half a head ends it as well
            reader, writer = await asyncio.open_connection(host, port)
            for _ in range(2):
                writer.write(request)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                assert b"status" in await reader.readuntil(b"}")
            writer.write(request[:30])
            assert await reader.read() == b""
            writer.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_forwarded_addresses_are_believed_of_nobody_by_default() -> None:
    app = create_app(WebSettings(), MemoryStore())
    assert WebServer(app).config.proxy_headers is False
    trusting = WebServer(app, proxies=("10.0.0.1",)).config
    assert trusting.proxy_headers is True and trusting.forwarded_allow_ips == ["10.0.0.1"]
