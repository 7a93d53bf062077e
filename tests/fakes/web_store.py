"""The web's store in memory: the same border, no Redis. Cursors are the number of events behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from streamer.client import Evidence, Page
from streamer.config import StreamConfig
from streamer.errors import StoreError, WireError


class MemoryStore:
    """`broken` makes every call raise StoreError, as a lost Redis does."""

    def __init__(self) -> None:
        self.configs: dict[str, StreamConfig] = {}
        self.states: dict[str, dict[str, str]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.kept: dict[str, Evidence] = {}
        self.pictures: dict[str, bytes] = {}
        self.clips: dict[str, bytes] = {}
        self.worker_fields: dict[str, str] = {}
        self.broken = False
        self.closed = False
        self._grown = asyncio.Event()

    def happen(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self._grown.set()
        self._grown = asyncio.Event()

    def _check(self) -> None:
        if self.broken:
            raise StoreError("Redis does not answer", where="unix:/nowhere", mend="start it")

    async def ping(self) -> None:
        self._check()

    async def streams(self) -> list[StreamConfig]:
        self._check()
        return [self.configs[name] for name in sorted(self.configs)]

    async def add_stream(self, config: StreamConfig) -> bool:
        self._check()
        return self.configs.setdefault(config.name, config) is config

    async def remove_stream(self, name: str) -> bool:
        self._check()
        return self.configs.pop(name, None) is not None

    async def state(self, name: str) -> Mapping[str, str]:
        self._check()
        return self.states.get(name, {})

    async def latest_result(self, name: str) -> Mapping[str, Any] | None:
        self._check()
        return self.results.get(name)

    async def worker(self) -> Mapping[str, str]:
        self._check()
        return self.worker_fields

    async def events_page(
        self, stream: str | None, kind: str | None, *, limit: int, after: str | None, before: str | None
    ) -> Page:
        self._check()
        low, high = _place(after, 0), _place(before, len(self.events))
        fits = [i for i in range(low, high) if _fits(self.events[i], stream, kind)]
        chosen = fits[:limit] if after else fits[-limit:]
        newest = chosen[-1] + 1 if chosen else (low if after else high)
        older = bool(chosen) and chosen[0] > 0
        return Page(
            [self.events[i] for i in reversed(chosen)], str(newest), str(chosen[0]) if older else None
        )

    async def follow_events(
        self, stream: str | None, kind: str | None, *, after: str | None
    ) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        at = _place(after, len(self.events))
        while True:
            self._check()
            grown = self._grown
            while at < len(self.events):
                event = self.events[at]
                at += 1
                if _fits(event, stream, kind):
                    yield str(at), event
            await grown.wait()

    async def evidence(self, event_id: str) -> Evidence | None:
        self._check()
        return self.kept.get(event_id)

    async def evidence_picture(self, event_id: str) -> bytes | None:
        self._check()
        return self.pictures.get(event_id)

    async def evidence_clip(self, event_id: str) -> bytes | None:
        self._check()
        return self.clips.get(event_id)

    async def aclose(self) -> None:
        self.closed = True


def _place(cursor: str | None, default: int) -> int:
    if cursor is None:
        return default
    if not cursor.isdigit():
        raise WireError("not a cursor", where=cursor[:40], mend="use one that the server gave")
    return int(cursor)


def _fits(event: Mapping[str, Any], stream: str | None, kind: str | None) -> bool:
    return stream in (None, event["stream"]) and kind in (None, event["kind"])
