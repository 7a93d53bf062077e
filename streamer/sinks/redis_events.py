"""Events into Redis: none lost, none doubled, each stream's in order, whatever the server does meanwhile.

Every entry gets its id here, `<ms>-<n>`, n counting the stream's events. Redis refuses an id that is not above the last
one, so sending again what may have arrived already cannot double it, not even when a stopped server wakes up and still
executes what an old connection left in its buffer. What cannot be sent goes to the spool with its id, and newer events
queue up behind it until the spool is empty.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import redis

from streamer.clock import Clock
from streamer.errors import WireError
from streamer.sinks.redis_link import Link
from streamer.sinks.spool import Spool
from streamer.types import Event
from streamer.wire import encode_event, keys

log = logging.getLogger(__name__)

EntryId = tuple[int, int]  # milliseconds of Unix time, number of the event in its stream

_BATCH: Final = 256
_NOT_ABOVE: Final = "equal or smaller"  # than the top: Redis says so of an id that comes too late
_RECENT: Final = 1024  # entries looked through for an event that may have been sent under another id
# Refusals that no waiting mends; anything else (out of memory, read only, loading, ...) may pass.
_HOPELESS: Final = ("WRONGTYPE",)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event on its way: where it goes, and under which id."""

    stream: str
    at: EntryId
    event_id: str
    kind: str
    data: bytes

    def xadd(self, maxlen: int) -> tuple[Any, ...]:
        entry_id = f"{self.at[0]}-{self.at[1]}"
        head = ("XADD", keys.events(self.stream), "MAXLEN", "~", maxlen, entry_id)
        return *head, "id", self.event_id, "kind", self.kind, "data", self.data

    def record(self) -> bytes:
        """The entry as a line of the spool."""
        return b"%d-%d %s" % (*self.at, self.data)


class EventLog:
    """Writes events through `link`, with `spool` behind it. Safe from any thread; nothing here raises RedisError
    but `drain`, which the link calls."""

    def __init__(self, spool: Spool, clock: Clock, *, maxlen: int) -> None:
        self._spool = spool
        self._clock = clock
        self._maxlen = maxlen
        self._order = threading.RLock()  # whoever gives out ids, or puts entries behind others, holds it
        self._tops: dict[str, EntryId] = {}
        self.direct = False  # the spool is empty and the server took the last entry
        self.written = 0
        self.spooled = 0
        self.replayed = 0
        self.duplicates = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Events in the spool."""
        return len(self._spool)

    @property
    def lost(self) -> int:
        """Events that neither Redis nor the spool took."""
        return self.refused + self._spool.refused

    def emit(self, link: Link, events: Sequence[Event]) -> None:
        """Write them, or spool them; returns within the link's timeout."""
        encoded = [(event, data) for event in events if (data := self._encoded(event)) is not None]
        if not encoded:
            return
        with self._order:
            direct = self.direct and link.up
            if direct:
                try:
                    self._learn_tops(link.client, {event.stream for event, _ in encoded})
                except redis.RedisError as error:
                    link.lost(error)
                    direct = False
            entries = [self._entry(event, data) for event, data in encoded]
            if direct:
                try:
                    entries = self._send(link.client, entries)
                    if entries:
                        link.recheck()
                except redis.RedisError as error:
                    link.lost(error)
            if entries:
                self.direct = False
                taken = self._spool.append([entry.record() for entry in entries])
                self.spooled += taken

    def drain(self, link: Link) -> None:
        """Send what the spool holds, oldest first, and let newer events go direct again. Raises RedisError."""
        while True:
            entries = [_from_record(record) for record in self._spool.peek(_BATCH)]
            if not entries:
                with self._order:
                    if not len(self._spool):
                        self.direct = True
                        return
                continue
            done = self._replay(link.client, entries)
            self._spool.drop(done)
            self.replayed += done

    def _encoded(self, event: Event) -> bytes | None:
        try:
            return encode_event(event)
        except WireError as error:
            self.refused += 1
            log.error("an event is lost: %s", error)
            return None

    def _entry(self, event: Event, data: bytes) -> Entry:
        ms, n = self._tops.get(event.stream, (0, 0))
        at = max(ms, self._clock.wall_ns() // 1_000_000), n + 1
        self._tops[event.stream] = at
        return Entry(event.stream, at, event.id, str(event.kind), data)

    def _learn_tops(self, client: redis.Redis, streams: Iterable[str]) -> None:
        unknown = [stream for stream in streams if stream not in self._tops]
        if unknown:
            for stream, top in _tops(client, unknown).items():
                self._tops[stream] = top

    def _send(self, client: redis.Redis, entries: list[Entry]) -> list[Entry]:
        """Send all in one round trip; returns those (in order) that the server would not take for now."""
        pipe = client.pipeline(transaction=False)
        for entry in entries:
            pipe.execute_command(*entry.xadd(self._maxlen))  # type: ignore[no-untyped-call]
        answers = pipe.execute(raise_on_error=False)
        left: list[Entry] = []
        blocked: set[str] = set()
        for entry, answer in zip(entries, answers, strict=True):
            if entry.stream in blocked:
                # Behind one that failed; if it did get through, its id keeps it from being written again.
                left.append(entry)
            elif not isinstance(answer, Exception):
                self.written += 1
            elif not self._settle(client, entry, answer):
                blocked.add(entry.stream)
                left.append(entry)
        return left

    def _settle(self, client: redis.Redis, entry: Entry, answer: Exception) -> bool:
        """Whether an entry that got an error is done with: it was there already, found another id, or is hopeless."""
        if _NOT_ABOVE in str(answer):
            self._insert(client, entry)
            return True
        if str(answer).startswith(_HOPELESS):
            self.refused += 1
            log.error("stream %s: an event is lost: %s", entry.stream, answer)
            return True
        log.warning("stream %s: redis takes no event for now: %s", entry.stream, answer)
        return False

    def _replay(self, client: redis.Redis, entries: Sequence[Entry]) -> int:
        """Send spooled entries; returns how many, from the front, are done with. Raises RedisError if none is."""
        tops = _tops(client, {entry.stream for entry in entries})
        late = {e.stream for e in entries if e.at <= tops.get(e.stream, (0, 0))}
        pipe = client.pipeline(transaction=False)
        for entry in entries:
            if entry.stream not in late:
                pipe.execute_command(*entry.xadd(self._maxlen))  # type: ignore[no-untyped-call]
        answers = iter(pipe.execute(raise_on_error=False))
        for done, entry in enumerate(entries):
            if entry.stream in late:
                # One by one, so that what must take another id stays in front of what follows it.
                self._insert(client, entry)
                continue
            answer = next(answers)
            if not isinstance(answer, Exception):
                self.written += 1
            elif not self._settle(client, entry, answer):
                if done == 0:
                    raise redis.RedisError(str(answer))
                return done
        return len(entries)

    def _insert(self, client: redis.Redis, entry: Entry) -> None:
        """Write one entry whose id may be taken, unless it is there already. Raises RedisError."""
        while True:
            try:
                client.execute_command(*entry.xadd(self._maxlen))  # type: ignore[no-untyped-call]
                self.written += 1
                return
            except redis.ResponseError as error:
                if str(error).startswith(_HOPELESS):
                    self.refused += 1
                    log.error("stream %s: an event is lost: %s", entry.stream, error)
                    return
                if _NOT_ABOVE not in str(error):
                    raise
            key, entry_id = keys.events(entry.stream), f"{entry.at[0]}-{entry.at[1]}"
            there: Any = client.xrange(key, entry_id, entry_id)
            recent: Any = client.xrevrange(key, count=_RECENT)
            if any(fields.get(b"id") == entry.event_id.encode() for _, fields in [*there, *recent]):
                self.duplicates += 1
                return
            # Another worker wrote here, or the clock was set back: take the next place.
            ms, n = _entry_id(recent[0][0]) if recent else entry.at
            entry = replace(entry, at=(max(ms, entry.at[0]), n + 1))
            with self._order:
                self._tops[entry.stream] = max(entry.at, self._tops.get(entry.stream, (0, 0)))


def _tops(client: redis.Redis, streams: Iterable[str]) -> dict[str, EntryId]:
    """The newest entry of each stream that has one."""
    pipe = client.pipeline(transaction=False)
    wanted = list(streams)
    for stream in wanted:
        pipe.xrevrange(keys.events(stream), count=1)
    answers: list[Any] = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not str(answer).startswith(_HOPELESS):
            raise answer
    return {
        stream: _entry_id(answer[0][0])
        for stream, answer in zip(wanted, answers, strict=True)
        if isinstance(answer, list) and answer
    }


def _entry_id(raw: bytes) -> EntryId:
    ms, _, n = raw.partition(b"-")
    return int(ms), int(n)


def _from_record(record: bytes) -> Entry:
    at, _, data = record.partition(b" ")
    event = orjson.loads(data)
    return Entry(event["stream"], _entry_id(at), event["id"], event["kind"], data)
