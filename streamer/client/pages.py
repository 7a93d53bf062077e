"""One page of events out of many streams, newest first, with the cursors to go on from in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from streamer.client import calls
from streamer.client.calls import Call, Page
from streamer.client.cursor import BEGINNING, Cursor, EntryId, entry_text
from streamer.client.wanted import Wanted

# A filter may pass over this many entries of a stream before the page is given as it is.
_MOST_SCANNED: Final = 20_000
_CHUNK: Final = 500


@dataclass(slots=True)
class _Found:
    """What one stream gave: matching entries in the order read, how far was read, and whether that is all."""

    entries: list[tuple[EntryId, Mapping[str, Any]]]
    reached: EntryId | None
    all_read: bool


def events_page(
    stream: str | None, wanted: Wanted, limit: int, after: str | None, before: str | None
) -> Call[Page]:
    """The newest `limit` events; with `after` the first ones behind it, with `before` the last ones before it."""
    names = {stream} if stream is not None else (yield from calls.event_streams())
    tops = yield from calls.tops(sorted(names))
    if after is not None:
        return (yield from _page_after(Cursor.parse(after), tops, wanted, limit))
    if before is not None:
        bounds = {name: at for name, at in Cursor.parse(before).positions.items() if name in tops}
    else:
        bounds = {name: (ms, n + 1) for name, (ms, n) in tops.items()}
    found: dict[str, _Found] = {}
    for name, bound in bounds.items():
        found[name] = yield from _scan(name, bound, wanted, limit, newest_first=True)
    merged = sorted(
        ((at, name, event) for name, f in found.items() for at, event in f.entries),
        reverse=True,
        key=lambda item: item[:2],
    )
    taken = merged[:limit]
    older: dict[str, EntryId] = {}
    more = len(merged) > limit
    for name, bound in bounds.items():
        mine = [at for at, owner, _ in taken if owner == name]
        complete = len(mine) == len(found[name].entries)
        reached = found[name].reached
        # What was passed over by the filter behind the last one taken need not be read again.
        older[name] = reached if complete and reached is not None else mine[-1] if mine else bound
        more = more or not found[name].all_read
    newest = (
        tops
        if before is None
        else {
            name: max([bound_before(bounds[name])] + [at for at, owner, _ in taken if owner == name])
            for name in bounds
        }
    )
    return Page([event for _, _, event in taken], Cursor(newest).token, Cursor(older).token if more else None)


def bound_before(bound: EntryId) -> EntryId:
    """The greatest entry id below an excluded bound."""
    ms, n = bound
    return (ms, n - 1) if n else (ms - 1, 2**63) if ms else BEGINNING


def _page_after(cursor: Cursor, tops: Mapping[str, EntryId], wanted: Wanted, limit: int) -> Call[Page]:
    found: dict[str, _Found] = {}
    start = {name: cursor.positions.get(name, BEGINNING) for name in tops}
    for name, at in start.items():
        found[name] = yield from _scan(name, at, wanted, limit, newest_first=False)
    merged = sorted(
        ((at, name, event) for name, f in found.items() for at, event in f.entries), key=lambda item: item[:2]
    )
    taken = merged[:limit]
    next_at = dict(cursor.positions)
    oldest: dict[str, EntryId] = {}
    for name in tops:
        mine = [at for at, owner, _ in taken if owner == name]
        complete = len(mine) == len(found[name].entries)
        reached = found[name].reached
        next_at[name] = reached if complete and reached is not None else mine[-1] if mine else start[name]
        oldest[name] = mine[0] if mine else (start[name][0], start[name][1] + 1)
    events = [event for _, _, event in reversed(taken)]
    return Page(events, Cursor(next_at).token, Cursor(oldest).token if any(start.values()) or taken else None)


def _scan(name: str, bound: EntryId, wanted: Wanted, limit: int, *, newest_first: bool) -> Call[_Found]:
    """Up to `limit` matching events beyond `bound` (excluded), downwards or upwards."""
    found = _Found([], None, False)
    scanned = 0
    while scanned < _MOST_SCANNED:
        edge = f"({entry_text(found.reached or bound)}"
        low, high = ("-", edge) if newest_first else (edge, "+")
        count = min(_CHUNK, limit + 1) if wanted.all else _CHUNK
        entries = yield from calls.range_events(name, low, high, count, newest_first=newest_first)
        for at, fields in entries:
            if len(found.entries) == limit:
                return found
            found.reached = at
            if wanted.takes(fields.get(b"kind", b"").decode(), fields[b"data"]):
                found.entries.append((at, orjson.loads(fields[b"data"])))
        scanned += len(entries)
        if len(entries) < count:
            found.all_read = True
            return found
    return found
