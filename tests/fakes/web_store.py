"""The web's store in memory: the same border, no Redis. Cursors are the number of events behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
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
        self.whys: dict[str, bytes] = {}  # by event
        self.model_fields: list[dict[str, Any]] = []
        self.worker_says: Callable[[dict[str, Any]], bytes | None] | None = None  # None: no worker hears
        self._answers: dict[str, bytes | None] = {}
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

    async def change_stream(
        self, name: str, change: Callable[[StreamConfig], StreamConfig]
    ) -> StreamConfig | None:
        self._check()
        if name not in self.configs:
            return None
        self.configs[name] = change(self.configs[name])
        return self.configs[name]

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
        self._check()
        low, high = _place(after, 0), _place(before, len(self.events))
        fits = [i for i in range(low, high) if _fits(self.events[i], stream, kind, label, since_s, until_s)]
        chosen = fits[:limit] if after else fits[-limit:]
        newest = chosen[-1] + 1 if chosen else (low if after else high)
        older = bool(chosen) and chosen[0] > 0
        return Page(
            [self.events[i] for i in reversed(chosen)], str(newest), str(chosen[0]) if older else None
        )

    async def follow_events(
        self,
        stream: str | None,
        kind: str | None,
        *,
        after: str | None,
        label: str | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        at = _place(after, len(self.events))
        while True:
            self._check()
            grown = self._grown
            while at < len(self.events):
                event = self.events[at]
                at += 1
                if _fits(event, stream, kind, label, since_s, until_s):
                    yield str(at), event
            await grown.wait()

    async def event_why(self, stream: str, event: str) -> bytes | None:
        self._check()
        return self.whys.get(event)

    async def ask_why(self, stream: str, question: str, **about: str | int) -> int:
        self._check()
        if self.worker_says is None:
            return 0
        self._answers[question] = self.worker_says({"stream": stream, **about})
        return 1

    async def why_answer(self, stream: str, question: str) -> bytes | None:
        self._check()
        return self._answers[question]

    async def models(self) -> list[dict[str, Any]]:
        self._check()
        return self.model_fields

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


def _fits(
    event: Mapping[str, Any],
    stream: str | None,
    kind: str | None,
    label: str | None,
    since_s: float | None,
    until_s: float | None,
) -> bool:
    at_s = event["wall_ns"] / 1e9
    return (
        stream in (None, event["stream"])
        and kind in (None, event["kind"])
        and label in (None, event.get("attrs", {}).get("label"))
        and (since_s is None or at_s >= since_s)
        and (until_s is None or at_s <= until_s)
    )
