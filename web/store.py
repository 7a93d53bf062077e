"""What the web tier needs of Redis, as a border: `streamer.client.AsyncClient` keeps it, tests keep it in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from streamer.client import Evidence, Page
from streamer.config import StreamConfig


class Store(Protocol):
    """Every method raises StoreError while Redis cannot be reached. Cursors are opaque tokens; a bad one: WireError."""

    async def ping(self) -> None: ...

    async def streams(self) -> list[StreamConfig]:
        """The desired streams, by name."""
        ...

    async def add_stream(self, config: StreamConfig) -> bool:
        """False, and nothing changed, if the name is taken."""
        ...

    async def change_stream(
        self, name: str, change: Callable[[StreamConfig], StreamConfig]
    ) -> StreamConfig | None:
        """What `change` made of the stream, in its place; None if there is no such stream.

        `change` may be called more than once, and may raise: nothing is changed then.
        """
        ...

    async def remove_stream(self, name: str) -> bool:
        """False if there is no such stream."""
        ...

    async def state(self, name: str) -> Mapping[str, str]:
        """The state hash as it is; empty before the worker's first word."""
        ...

    async def latest_result(self, name: str) -> Mapping[str, Any] | None: ...

    async def worker(self) -> Mapping[str, str]:
        """The worker's hash; empty if none ever ran."""
        ...

    async def events_page(
        self,
        stream: str | None,
        kind: str | None,
        *,
        limit: int,
        after: str | None,
        before: str | None,
        label: str | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> Page:
        """The newest `limit` events; with `after` the first `limit` behind it; with `before` the last ones before.

        `since_s` and `until_s`, Unix seconds, bound the events' own time.
        """
        ...

    def follow_events(
        self,
        stream: str | None,
        kind: str | None,
        *,
        after: str | None,
        label: str | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """(cursor behind it, event) from `after` (None: from now) for ever, streams that are added later included."""
        ...

    async def event_why(self, stream: str, event: str) -> bytes | None: ...

    async def ask_why(self, stream: str, question: str, **about: str | int) -> int: ...

    async def why_answer(self, stream: str, question: str) -> bytes | None: ...

    async def models(self) -> list[dict[str, Any]]: ...

    async def evidence(self, event_id: str) -> Evidence | None:
        """An event by its id and what is kept of it; None if there is no such event (any more)."""
        ...

    async def evidence_picture(self, event_id: str) -> bytes | None: ...

    async def evidence_clip(self, event_id: str) -> bytes | None: ...

    async def aclose(self) -> None: ...
