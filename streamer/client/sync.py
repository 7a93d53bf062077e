"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamer.addresses import redact_url
from streamer.client import calls, pages, publishing
from streamer.client import evidence as kept
from streamer.client.calls import Call, Page, VideoPacket
from streamer.client.cursor import Cursor
from streamer.client.evidence import Evidence
from streamer.client.follow import Follower, Fresh
from streamer.client.publishing import Publication, PublishedPacket
from streamer.client.wanted import Wanted
from streamer.config import StreamConfig
from streamer.errors import StoreError, WireError
from streamer.types import Event, Result
from streamer.wire import decode_event, decode_result, keys

T = TypeVar("T")

BLOCK_MS: Final = 500
IDLE_S: Final = 0.2  # between looks while there is no stream to wait for
# Longer than a read may block, so that silence and absence differ.
SOCKET_TIMEOUT_S: Final = 5.0


def store_error(error: Exception, url: str) -> StoreError:
    """The one line for a server that is away."""
    said = " ".join(str(error).split()).rstrip(".")
    return StoreError(f"Redis does not answer: {said}", where=redact_url(url), mend="is Sightline running?")


def check_url(url: str) -> str:
    """`url` if it can be an address of Redis. Raises StoreError."""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        mend = "write redis://host:port, rediss://… or unix:///path"
        raise StoreError("not an address of Redis", where=redact_url(url), mend=mend)
    return url


class Events(Iterator[Event]):
    """Events as they come. `cursor` is the place behind the last one given: keep its token to resume there.

    `missed`: trimmed away before they could be read; `doubles`: left out, their id was given before; `unreadable`:
    passed over, of a kind or version that this reader does not know.
    """

    def __init__(self, client: Client, follower: Follower, block_s: float | None) -> None:
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

    def __next__(self) -> Event:
        ends_s = None if self._block_s is None else time.monotonic() + self._block_s
        while True:
            while self._fresh:
                fresh = self._fresh.pop(0)
                if self._follower.taken(fresh):
                    try:
                        return decode_event(fresh.data)
                    except WireError:
                        self.unreadable += 1
            now_s = time.monotonic()
            left_s = BLOCK_MS / 1000 if ends_s is None else min(BLOCK_MS / 1000, ends_s - now_s)
            self._fresh = self._client.run(self._follower.read(now_s, max(0, int(left_s * 1000))))
            if self._fresh:
                continue
            if ends_s is not None and time.monotonic() >= ends_s:
                raise StopIteration
            if not self._follower.has_streams:
                time.sleep(min(IDLE_S, max(0.0, left_s)))


class Client:
    """Sightline as its subscribers see it. `url`: `redis://…`, `rediss://…` or `unix:///…`.

    Every call raises StoreError while the server is away. One client is for one thread.
    """

    def __init__(self, url: str) -> None:
        self._url = check_url(url)
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def close(self) -> None:
        self._redis.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ping(self) -> None:
        self.run(calls.ping())

    def streams(self) -> list[StreamConfig]:
        """The streams that shall run, by name."""
        return self.run(calls.streams())

    def has_stream(self, name: str) -> bool:
        return self.run(calls.has_stream(name))

    def add_stream(self, config: StreamConfig) -> bool:
        """False, and nothing changed, if the name is taken."""
        return self.run(calls.add_stream(config))

    def remove_stream(self, name: str) -> bool:
        """False if there is none of this name."""
        return self.run(calls.remove_stream(name))

    def change_stream(self, name: str, change: Callable[[StreamConfig], StreamConfig]) -> StreamConfig | None:
        """Put what `change` makes of the stream in its place; None if there is none of this name.

        `change` may be called again if somebody else changed the stream meanwhile, and may raise: nothing is changed.
        """
        return self.run(calls.change_stream(name, change))

    def state(self, name: str) -> Mapping[str, str]:
        """How the stream does: the state hash; empty before the worker's first word."""
        return self.run(calls.state(name))

    def worker(self) -> Mapping[str, str]:
        """pid, started_wall_ns, heartbeat_wall_ns, backend, metrics; empty if none ever ran."""
        return self.run(calls.worker())

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
    ) -> Events:
        """Events behind `cursor` (None: from now; `Cursor.beginning()`: all that are kept), as they come.

        `streams` None: all, those added later included. Ends when none came for `block_s` seconds (None: never).
        Nothing is lost or doubled if a later call is given the cursor of the last event.
        """
        at = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
        return Events(self, Follower(streams, at, Wanted.of(kinds, label, since_s, until_s)), block_s)

    def events_page(
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
        return self.run(pages.events_page(stream, wanted, limit, after, before))

    def list_events(
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
        page = self.run(pages.events_page(stream, wanted, limit, after, before))
        return [decode_event(orjson.dumps(event)) for event in page.events]

    def latest_result(self, stream: str) -> Mapping[str, Any] | None:
        """The newest Result as a JSON object; None if there is none."""
        data = self.run(calls.latest_result(stream))
        return None if data is None else orjson.loads(data)

    def results(self, stream: str, *, block_s: float | None = None) -> Iterator[Result]:
        """Results from now on. A reader that falls too far behind misses some. Ends after `block_s` without any."""
        after = self.run(calls.tails(stream))[1]
        last_s = time.monotonic()
        while block_s is None or time.monotonic() - last_s < block_s:
            for entry, data in self.run(calls.read_results(stream, after, BLOCK_MS)):
                after = entry
                last_s = time.monotonic()
                yield decode_result(data)

    def evidence(self, event_id: str) -> Evidence | None:
        """An event by its id and what is kept to look at of it; None if there is no such event (any more)."""
        return self.run(kept.evidence(event_id))

    def evidence_picture(self, event_id: str) -> bytes | None:
        """The JPEG of the event's frame; None if none is kept."""
        return self.run(kept.picture(event_id))

    def evidence_clip(self, event_id: str) -> bytes | None:
        """The MP4 that shows the event; None if none is kept."""
        return self.run(kept.clip(event_id))

    def video_from_last_key(self, stream: str) -> list[VideoPacket]:
        """The packets since the last key frame, if somebody watches; else none."""
        return self.run(calls.fresh_group(stream))

    def read_video(self, stream: str, after: str, block_ms: int) -> list[VideoPacket]:
        """Packets after the id, waiting up to `block_ms` for the first."""
        return self.run(calls.read_video(stream, after, block_ms))

    def watch(self, stream: str, ttl_s: int = keys.WATCH_TTL_S) -> None:
        """Say that somebody watches, for the next `ttl_s` seconds: only then are there packets."""
        self.run(calls.keep_watched(stream, ttl_s))

    def request_keyframe(self, stream: str) -> None:
        """Ask for a key frame soon."""
        self.run(calls.request_keyframe(stream))

    def publication(self, name: str) -> Publication | None:
        """What is published (WHIP) under this name now; None if nobody publishes."""
        return self.run(publishing.publication(name))

    def read_published(self, name: str, after: str, block_ms: int) -> list[PublishedPacket]:
        """Published packets after the id, waiting up to `block_ms` for the first."""
        return self.run(publishing.read(name, after, block_ms))

    def ask_publisher(self, name: str) -> None:
        """Ask who publishes for a key frame."""
        self.run(publishing.ask(name))

    def run(self, call: Call[T]) -> T:
        """Drive one call to its outcome."""
        answers: list[Any] | None = None
        try:
            while True:
                commands = next(call) if answers is None else call.send(answers)
                pipe = self._redis.pipeline(transaction=False)
                for command in commands:
                    pipe.execute_command(*command)  # type: ignore[no-untyped-call]
                answers = pipe.execute()
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        except (redis.RedisError, OSError) as error:
            raise store_error(error, self._url) from None
