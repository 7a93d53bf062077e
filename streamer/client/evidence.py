"""What is kept to look at of one event, and the event itself, by its id alone: ids say stream, epoch and seq."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from streamer.client import calls
from streamer.client.calls import Call
from streamer.client.cursor import EntryId, entry_text
from streamer.types import event_id_parts
from streamer.wire import keys

# An event older than so many others of its stream is looked for no further.
_MOST_SCANNED: Final = 20_000
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Evidence:
    """An event and what there is of it. `no_picture` and `no_clip` are words of the worker that say why one was never
    made (empty: it was, or nothing is known of it); `clip_due_ns` (Unix) is until when a clip may still come.

    `clip_span_ns` first and last Unix ns that the clip shows; `path` the track's sightings, oldest first, as
    `{wall_ns, box_xyxy, score}`. `recorded`: whether there is a record of it at all.
    """

    event: Mapping[str, Any]
    recorded: bool
    picture: bool = False
    clip: bool = False
    why: bool = False
    path: Sequence[Mapping[str, Any]] = ()
    no_picture: str = ""
    no_clip: str = ""
    clip_due_ns: int = 0
    clip_span_ns: tuple[int, int] | None = None


def evidence(event_id: str) -> Call[Evidence | None]:
    """None if there is no such event (any more)."""
    place = _place(event_id)
    if place is None:
        return None
    stream = place[0]
    key = keys.evidence(stream, event_id)
    words, jpg, why = yield [
        ("HMGET", key, "event", "path", "no_jpg", "clip_of", "no_clip", "clip_due", "clip_span"),
        ("HEXISTS", key, "jpg"),
        ("HEXISTS", key, "why"),
    ]
    event, path, no_jpg, clip_of, no_clip, due, span = words
    if event is None:
        found = yield from _find(*place, event_id)
        return None if found is None else Evidence(found, recorded=False, why=bool(why))
    if clip_of is not None:
        other = keys.evidence(stream, clip_of.decode())
        ((no_clip, span),) = yield [("HMGET", other, "no_clip", "clip_span")]
    return Evidence(
        orjson.loads(event),
        recorded=True,
        picture=bool(jpg),
        clip=span is not None,
        why=bool(why),
        path=orjson.loads(path) if path else (),
        no_picture=_text(no_jpg),
        no_clip=_text(no_clip),
        clip_due_ns=int(due or 0),
        clip_span_ns=None if span is None else tuple(orjson.loads(span)),
    )


def picture(event_id: str) -> Call[bytes | None]:
    """The JPEG of the event's frame; None if none is kept."""
    place = _place(event_id)
    if place is None:
        return None
    (jpg,) = yield [("HGET", keys.evidence(place[0], event_id), "jpg")]
    return None if jpg is None else bytes(jpg)


def clip(event_id: str) -> Call[bytes | None]:
    """The MP4 that shows the event, made for it or for another; None if none is kept."""
    place = _place(event_id)
    if place is None:
        return None
    ((mine, clip_of),) = yield [("HMGET", keys.evidence(place[0], event_id), "clip", "clip_of")]
    if mine is None and clip_of is not None:
        (mine,) = yield [("HGET", keys.evidence(place[0], clip_of.decode()), "clip")]
    return None if mine is None else bytes(mine)


def _place(event_id: str) -> tuple[str, int, int] | None:
    """(stream, epoch, seq) of an id; None if it is none."""
    try:
        return event_id_parts(event_id)[:3]
    except ValueError:
        return None


def _find(stream: str, epoch: int, seq: int, event_id: str) -> Call[Mapping[str, Any] | None]:
    """The event in its stream, newest first; given up once older frames come."""
    bound: EntryId | None = None
    for _ in range(_MOST_SCANNED // _CHUNK):
        high = "+" if bound is None else f"({entry_text(bound)}"
        entries = yield from calls.range_events(stream, "-", high, _CHUNK, newest_first=True)
        for at, fields in entries:
            bound = at
            named = fields[b"id"].decode()
            if named == event_id:
                found: Mapping[str, Any] = orjson.loads(fields[b"data"])
                return found
            place = _place(named)
            if place is not None and place[1:] < (epoch, seq):
                return None
        if len(entries) < _CHUNK:
            return None
    return None


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode()
