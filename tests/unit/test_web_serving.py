"""The web process' port, its feeds' wire form and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from streamer.errors import ConfigError, StoreError
from web.serving import bind
from web.sse import sse

Messages = AsyncGenerator[tuple[str, bytes], None]


def test_a_port_in_use_is_one_line() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(ConfigError) as refusal:
        bind("127.0.0.1", taken.getsockname()[1])
    assert "in use" in str(refusal.value) and "--port" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_address_of_another_machine_is_one_line() -> None:
    for host in ("203.0.113.7", "no.such.host.invalid"):
        with pytest.raises(ConfigError):
            bind(host, 0)


def read_feed(
    messages: Callable[[asyncio.Event], Messages], *, keep_alive_s: float = 60.0
) -> tuple[list[bytes], Messages]:
    """All that a feed gives until it ends by itself or `messages` sets the stop it is given."""

    async def run() -> tuple[list[bytes], Messages]:
        stopping = asyncio.Event()
        source = messages(stopping)
        feed = sse(source, stopping=stopping, keep_alive_s=keep_alive_s)
        chunks = [chunk async for chunk in feed]
        return chunks, source

    return asyncio.run(asyncio.wait_for(run(), 10))


def test_each_message_has_its_cursor() -> None:
    async def two(_: asyncio.Event) -> Messages:
        yield "c1", b'{"a":1}'
        yield "c2", b'{"a":2}'

    chunks, _ = read_feed(two)
    assert b"".join(chunks) == b'retry: 1500\n\nid: c1\ndata: {"a":1}\n\nid: c2\ndata: {"a":2}\n\n'


def test_a_quiet_feed_is_kept_open_without_losing_what_comes_then() -> None:
    async def late(_: asyncio.Event) -> Messages:
        for _ in range(3):
            await asyncio.sleep(0.02)  # the feed's keep-alive is far shorter
        yield "c1", b"{}"

    chunks, _ = read_feed(late, keep_alive_s=0.001)
    assert chunks[1].startswith(b":")
    assert chunks[-1] == b"id: c1\ndata: {}\n\n"


def test_a_lost_redis_ends_the_feed_so_that_the_reader_comes_back() -> None:
    async def lost(_: asyncio.Event) -> Messages:
        yield "c1", b"{}"
        raise StoreError("gone")

    chunks, _ = read_feed(lost)
    assert len(chunks) == 2


def test_stopping_ends_a_feed_that_waits_and_closes_its_source() -> None:
    closed: list[Any] = []

    async def forever(stopping: asyncio.Event) -> Messages:
        try:
            yield "c1", b"{}"
            stopping.set()
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    chunks, source = read_feed(forever)
    assert len(chunks) == 2
    assert closed == [True]
    assert source.ag_running is False
