"""Following the events of many streams: where each is read from, what was missed, what came twice.

Pure but for the calls it yields: time is told, so that it needs no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from streamer.client import calls
from streamer.client.calls import Call
from streamer.client.cursor import BEGINNING, Cursor, EntryId, entry_text
from streamer.client.wanted import Wanted

_REMEMBERED: Final = 8192  # event ids; a double comes soon or never
_DISCOVER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Fresh:
    """One event just read, still encoded."""

    stream: str
    at: EntryId
    event_id: str
    kind: str
    data: bytes


class Follower:
    """Reads on from `cursor` (None: from now). `streams` None: all, those that come later included.

    `missed` counts events that were trimmed away before they could be read, `doubles` those that were left out
    because an event of that id was given before.
    """

    def __init__(
        self, streams: Iterable[str] | None, cursor: Cursor | None, wanted: Wanted | None = None
    ) -> None:
        self._only = None if streams is None else frozenset(streams)
        self._wanted = wanted or Wanted()
        self._from_now = cursor is None
        self._positions: dict[str, EntryId] = {} if cursor is None else dict(cursor.positions)
        self._reading: set[str] = set()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._discovered_s: float | None = None
        self.missed = 0
        self.doubles = 0

    @property
    def cursor(self) -> Cursor:
        """The place behind the last event that was `taken`."""
        return Cursor(dict(self._positions))

    def read(self, now_s: float, block_ms: int) -> Call[list[Fresh]]:
        """What came, oldest first; waits up to `block_ms`. Each is to be `taken` before the next read.

        Returns at once, with nothing, while there is no stream at all: then the caller waits.
        """
        if self._discovered_s is None or now_s - self._discovered_s >= _DISCOVER_S:
            yield from self._discover()
            self._discovered_s = now_s
        if not self._reading:
            return []
        after = {name: entry_text(self._positions[name]) for name in sorted(self._reading)}
        found = yield from calls.read_events(after, block_ms)
        fresh = [
            Fresh(
                name, at, fields.get(b"id", b"").decode(), fields.get(b"kind", b"").decode(), fields[b"data"]
            )
            for name, entries in found.items()
            for at, fields in entries
            if b"data" in fields
        ]
        return sorted(fresh, key=lambda item: (item.at, item.stream))

    @property
    def has_streams(self) -> bool:
        return bool(self._reading)

    def taken(self, fresh: Fresh) -> bool:
        """Move the cursor behind it; whether the reader shall see it."""
        before = self._positions.get(fresh.stream, BEGINNING)[1]
        # Entries count the stream's events. A smaller number means that counting began anew, which says nothing.
        self.missed += max(0, fresh.at[1] - before - 1)
        self._positions[fresh.stream] = fresh.at
        if not self._wanted.takes(fresh.kind, fresh.data):
            return False
        if fresh.event_id in self._seen:
            self.doubles += 1
            return False
        self._seen[fresh.event_id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _discover(self) -> Call[None]:
        names = self._only if self._only is not None else (yield from calls.event_streams())
        names = names | set(self._positions) if self._only is None else names
        new = sorted(name for name in names if name not in self._reading)
        known: Mapping[str, EntryId] = {}
        if self._from_now:
            # Only now: what turns up later is new, and is read from its first event.
            known = yield from calls.tops(new)
            self._from_now = False
        for name in new:
            self._positions.setdefault(name, known.get(name, BEGINNING))
        self._reading.update(new)
