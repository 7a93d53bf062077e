"""How much a client may send, how long it may take over it, and how many long answers are under way at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from web.problems import Refused

MAX_BODY_BYTES = 256 * 1024  # a stream with 32 zones and an SDP offer are both far smaller
BODY_WITHIN_S = 20.0


def bounded(receive: Receive, *, declared: str | None, within_s: float = BODY_WITHIN_S) -> Receive:
    """`receive` for a body of at most `MAX_BODY_BYTES` that comes whole within `within_s`.

    Raises HTTPException 413 or 408 where the body is read; `declared` is the Content-Length. After the body it only
    waits for the client to leave, which may take as long as it likes.
    """
    if declared is not None and (not declared.isdigit() or int(declared) > MAX_BODY_BYTES):
        raise Refused(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
    seen, whole, until_s = 0, False, 0.0

    async def read() -> Message:
        nonlocal seen, whole, until_s
        if whole:
            return await receive()
        until_s = until_s or asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(until_s):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {within_s:g} s") from None
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
        if seen > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
        return message

    return read


class AtOnce:
    """Counts what is under way, by name."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def one(self, name: str, most: int | None) -> Iterator[None]:
        """One more of `name` for the length of the block; raises Refused 503 if there are `most` already."""
        if most is None:
            yield
            return
        if self._under_way[name] >= most:
            raise Refused(503, f"{most} of these are open, which is all this process serves", where=name)
        self._under_way[name] += 1
        try:
            yield
        finally:
            self._under_way[name] -= 1
