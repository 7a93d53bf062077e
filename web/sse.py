"""Server-sent events: messages with a resume cursor, comments that keep the line open, an end that comes at once.

The source of messages is read by a task of its own, so that a keep-alive never cancels a read half way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from streamer.errors import SightlineError

KEEP_ALIVE_S = 10.0
RETRY_MS = 1500  # what the browser waits before it comes back


async def sse(
    messages: AsyncGenerator[tuple[str, bytes], None],
    *,
    stopping: asyncio.Event,
    keep_alive_s: float = KEEP_ALIVE_S,
) -> AsyncGenerator[bytes, None]:
    """Encode (cursor, one-line data) as text/event-stream until the reader leaves, `stopping` is set or Redis is lost.

    After a loss the browser comes back with its last cursor, so nothing is missed.
    """
    yield f"retry: {RETRY_MS}\n\n".encode()
    stop = asyncio.ensure_future(stopping.wait())
    pull: asyncio.Future[tuple[str, bytes]] | None = None
    try:
        while True:
            pull = pull or asyncio.ensure_future(anext(messages))
            either: set[asyncio.Future[Any]] = {pull, stop}
            await asyncio.wait(either, timeout=keep_alive_s, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                return
            if not pull.done():
                yield b": still here\n\n"
                continue
            try:
                cursor, data = pull.result()
            except (StopAsyncIteration, SightlineError):
                return
            pull = None
            yield b"id: " + cursor.encode() + b"\ndata: " + data + b"\n\n"
    finally:
        await _cancelled(stop, pull)
        await messages.aclose()


async def _cancelled(*futures: asyncio.Future[Any] | None) -> None:
    for future in futures:
        if future is not None:
            future.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, SightlineError):
                await future
