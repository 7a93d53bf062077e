"""The awaiting client: the same calls for asyncio, and what a web tier needs of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import orjson
import redis
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from streamer.client import calls, pages, publishing, why
from streamer.client import evidence as kept
from streamer.client.calls import Call, Page
from streamer.client.cursor import Cursor
from streamer.client.evidence import Evidence
from streamer.client.follow import Follower, Fresh
from streamer.client.publishing import PublishedFrame, Receipt
from streamer.client.sync import BLOCK_MS, IDLE_S, SOCKET_TIMEOUT_S, check_url, store_error
from streamer.client.viewing import Viewing
from streamer.client.wanted import Wanted
from streamer.config import StreamConfig
from streamer.errors import WireError
from streamer.types import Event, Result
from streamer.wire import decode_event, decode_result

T = TypeVar("T")


class AsyncEvents(AsyncIterator[Event]):
    """Events as they come; see `streamer.client.Events`. A cancelled wait loses nothing."""

    def __init__(self, client: AsyncClient, follower: Follower, block_s: float | None) -> None:
        self._client = client
        self._follower = follower
        self._block_s = block_s
        self._fresh: list[Fresh] = []
        self.unreadable = 0

    @property
    def cursor(self) -> Cursor:
        return self._follower.cursor

    @property
    def missed(self) -> int:
        return self._follower.missed

    @property
    def doubles(self) -> int:
        return self._follower.doubles

    async def __anext__(self) -> Event:
        while True:
            fresh = await self.next_raw()
            try:
                return decode_event(fresh.data)
            except WireError:
                self.unreadable += 1

    async def next_raw(self) -> Fresh:
        """The next event, still encoded. Raises StopAsyncIteration at the end."""
        now = asyncio.get_running_loop().time
        ends_s = None if self._block_s is None else now() + self._block_s
        while True:
            while self._fresh:
                fresh = self._fresh.pop(0)
                if self._follower.taken(fresh):
                    return fresh
            left_s = BLOCK_MS / 1000 if ends_s is None else min(BLOCK_MS / 1000, ends_s - now())
            self._fresh = await self._client.run(self._follower.read(now(), max(0, int(left_s * 1000))))
            if self._fresh:
                continue
            if ends_s is not None and now() >= ends_s:
                raise StopAsyncIteration
            if not self._follower.has_streams:
                await asyncio.sleep(min(IDLE_S, max(0.0, left_s)))


class AsyncClient(Viewing):
    """Sightline as its subscribers see it, for one event loop. `url`: `redis://…`, `rediss://…` or `unix:///…`.

    Every call raises StoreError while the server is away.
    """

    def __init__(self, url: str) -> None:
        self._url = check_url(url)
        self._redis = redis_asyncio.Redis.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def ping(self) -> None:
        await self.run(calls.ping())

    async def streams(self) -> list[StreamConfig]:
        """The streams that shall run, by name."""
        return await self.run(calls.streams())

    async def has_stream(self, stream: str) -> bool:
        return await self.run(calls.has_stream(stream))

    async def add_stream(self, config: StreamConfig) -> bool:
        """False, and nothing changed, if the name is taken."""
        return await self.run(calls.add_stream(config))

    async def remove_stream(self, name: str) -> bool:
        """False if there is none of this name."""
        return await self.run(calls.remove_stream(name))

    async def change_stream(
        self, name: str, change: Callable[[StreamConfig], StreamConfig]
    ) -> StreamConfig | None:
        """As `streamer.client.Client.change_stream`."""
        return await self.run(calls.change_stream(name, change))

    async def state(self, name: str) -> Mapping[str, str]:
        """How the stream does: the state hash; empty before the worker's first word."""
        return await self.run(calls.state(name))

    async def worker(self) -> Mapping[str, str]:
        """pid, started_wall_ns, heartbeat_wall_ns, backend, metrics; empty if none ever ran."""
        return await self.run(calls.worker())

    def events(
        self,
        streams: Iterable[str] | None = None,
        *,
        cursor: Cursor | str | None = None,
        kinds: Iterable[str] | None = None,
        label: str | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
        block_s: float | None = None,
    ) -> AsyncEvents:
        """Events behind `cursor` (None: from now; `Cursor.beginning()`: all that are kept), as they come.

        `streams` None: all, those added later included. Ends when none came for `block_s` seconds (None: never).
        Nothing is lost or doubled if a later call is given the cursor of the last event.
        """
        at = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
        return AsyncEvents(self, Follower(streams, at, Wanted.of(kinds, label, since_s, until_s)), block_s)

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
        """(cursor behind it, event as a JSON object) from `after` (None: from now) for ever."""
        reader = self.events(
            None if stream is None else [stream],
            cursor=after,
            kinds=None if kind is None else [kind],
            label=label,
            since_s=since_s,
            until_s=until_s,
        )
        while True:
            fresh = await reader.next_raw()
            yield reader.cursor.token, orjson.loads(fresh.data)

    async def events_page(
        self,
        stream: str | None = None,
        kind: str | None = None,
        *,
        limit: int = 100,
        after: str | None = None,
        before: str | None = None,
        label: str | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> Page:
        """The newest `limit` events as JSON objects; with `after` the first behind it, with `before` the last.

        Of a label, and of a time (Unix seconds, by the events' own), if those are given. A filter may pass over so much
        that a page has few events or none: there is more as long as `previous` is not None.
        """
        wanted = Wanted.of(None if kind is None else [kind], label, since_s, until_s)
        return await self.run(pages.events_page(stream, wanted, limit, after, before))

    async def list_events(
        self,
        stream: str | None = None,
        *,
        limit: int = 100,
        after: str | None = None,
        before: str | None = None,
        kinds: Iterable[str] | None = None,
    ) -> list[Event]:
        """As `events_page`, decoded; newest first."""
        wanted = Wanted.of(kinds)
        page = await self.run(pages.events_page(stream, wanted, limit, after, before))
        return [decode_event(orjson.dumps(event)) for event in page.events]

    async def latest_result(self, name: str) -> Mapping[str, Any] | None:
        """The newest Result as a JSON object; None if there is none."""
        data = await self.run(calls.latest_result(name))
        return None if data is None else orjson.loads(data)

    async def results(self, stream: str) -> AsyncIterator[Result]:
        """Results from now on. A reader that falls too far behind misses some."""
        after = (await self.run(calls.tails(stream)))[1]
        while True:
            for entry, data in await self.run(calls.read_results(stream, after, BLOCK_MS)):
                after = entry
                yield decode_result(data)

    async def evidence(self, event_id: str) -> Evidence | None:
        """An event by its id and what is kept to look at of it; None if there is no such event (any more)."""
        return await self.run(kept.evidence(event_id))

    async def evidence_picture(self, event_id: str) -> bytes | None:
        """The JPEG of the event's frame; None if none is kept."""
        return await self.run(kept.picture(event_id))

    async def evidence_clip(self, event_id: str) -> bytes | None:
        """The MP4 that shows the event; None if none is kept."""
        return await self.run(kept.clip(event_id))

    # ------------------------------------------------------------------------------------------------ publishers

    async def claim_publication(self, name: str, session: str, ttl_ms: int) -> int:
        """Become the publisher of `name`: the publication's number, or 0 if somebody else is."""
        return await self.run(publishing.claim(name, session, ttl_ms))

    async def publish(
        self,
        name: str,
        session: str,
        number: int,
        frames: Sequence[PublishedFrame],
        *,
        keep_from: str | None,
        ttl_ms: int | None,
    ) -> Receipt:
        """Add packets, forget those before `keep_from`, and stay the publisher for `ttl_ms` more."""
        call = publishing.publish(name, session, number, frames, keep_from=keep_from, ttl_ms=ttl_ms)
        return await self.run(call)

    async def end_publication(self, name: str, session: str, number: int) -> None:
        """Say to readers that the publication is over, and give the place back."""
        await self.run(publishing.end(name, session, number))

    # ---------------------------------------------------------------------------------------------------- why

    async def event_why(self, stream: str, event: str) -> bytes | None:
        """The attention kept with an event's evidence, as JSON; None where there is none."""
        return await self.run(why.event_why(stream, event))

    async def ask_why(self, stream: str, question: str, **about: str | int) -> int:
        """Ask the workers about a `track_id` or an `event`; how many heard it."""
        return await self.run(why.ask_why(stream, question, **about))

    async def why_answer(self, stream: str, question: str) -> bytes | None:
        """What was answered, as JSON; None while there is no answer."""
        return await self.run(why.why_answer(stream, question))

    async def models(self) -> list[dict[str, Any]]:
        """What the worker said of each model that it knows."""
        return await self.run(why.models())

    async def run(self, call: Call[T]) -> T:
        """Drive one call to its outcome."""
        answers: list[Any] | None = None
        task = asyncio.current_task()
        cancelling = task.cancelling() if task is not None else 0
        try:
            while True:
                commands = next(call) if answers is None else call.send(answers)
                async with self._redis.pipeline(transaction=False) as pipe:
                    for command in commands:
                        pipe.execute_command(*command)
                    answers = await pipe.execute()
                # A wait below may swallow a cancel that comes just as its answer does; who asked for it still waits.
                if task is not None and task.cancelling() > cancelling:
                    raise asyncio.CancelledError
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        except (redis.RedisError, OSError) as error:
            raise store_error(error, self._url) from None
