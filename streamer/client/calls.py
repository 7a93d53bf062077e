"""What is asked of Redis and what the answers mean, without asking: each call is a generator of command batches.

It yields a list of commands, is sent the list of answers, and returns the outcome. So the blocking client and the
awaiting one are two thin drivers of the same thought.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from streamer.client.cursor import EntryId, entry_id
from streamer.config import StreamConfig
from streamer.desired import stream_from_json, stream_json
from streamer.errors import ConfigError
from streamer.wire import keys

T = TypeVar("T")
Command = tuple[Any, ...]
Call = Generator[list[Command], list[Any], T]
Entries = list[tuple[EntryId, Mapping[bytes, bytes]]]

# Packets older than this are a leftover of somebody who watched before.
_FRESH_MS: Final = 2000
_MOST_ENTRIES: Final = 256
ASK_TTL_S: Final = 3
# Only if it still is what it was: two who change a stream at once must not undo each other, nor bring it back.
_SWAP: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


@dataclass(frozen=True, slots=True)
class VideoPacket:
    """One encoded picture: H.264 Annex B or a VP8 frame, `pts90k` in 90 kHz ticks; `id` is its place in the stream."""

    id: str
    data: bytes = field(repr=False)
    key: bool
    pts90k: int
    epoch: int
    seq: int
    codec: str = "h264"


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, newest first. `next` is the cursor after the newest of them (or of the question, if there are
    none); `previous` the cursor before the oldest, None when nothing older is kept."""

    events: Sequence[Mapping[str, Any]]
    next: str
    previous: str | None


# ----------------------------------------------------------------------------------------------------- streams


def ping() -> Call[None]:
    yield [("PING",)]


def streams() -> Call[list[StreamConfig]]:
    (raw,) = yield [("HGETALL", keys.STREAMS)]
    found: list[StreamConfig] = []
    for value in raw.values():
        try:
            found.append(stream_from_json(value))
        except ConfigError:
            continue  # the worker reports it
    return sorted(found, key=lambda config: config.name)


def has_stream(name: str) -> Call[bool]:
    (there,) = yield [("HEXISTS", keys.STREAMS, name)]
    return bool(there)


def add_stream(config: StreamConfig) -> Call[bool]:
    (new,) = yield [("HSETNX", keys.STREAMS, config.name, stream_json(config))]
    if new:
        yield [_said("streams")]
    return bool(new)


def remove_stream(name: str) -> Call[bool]:
    (gone,) = yield [("HDEL", keys.STREAMS, name)]
    if gone:
        yield [_said("streams")]
    return bool(gone)


def change_stream(name: str, change: Callable[[StreamConfig], StreamConfig]) -> Call[StreamConfig | None]:
    """What `change` made of the stream, in its place; tried again if another change came in between."""
    while True:
        (raw,) = yield [("HGET", keys.STREAMS, name)]
        if raw is None:
            return None
        before = stream_from_json(raw)
        after = change(before)
        if after == before:
            return after
        (done,) = yield [("EVAL", _SWAP, 1, keys.STREAMS, name, raw, stream_json(after))]
        if done:
            yield [_said("streams")]
            return after


def state(name: str) -> Call[dict[str, str]]:
    (raw,) = yield [("HGETALL", keys.state(name))]
    return _texts(raw)


def worker() -> Call[dict[str, str]]:
    (raw,) = yield [("HGETALL", keys.WORKER)]
    return _texts(raw)


def event_streams(cursor: int = 0) -> Call[set[str]]:
    """Names of the desired streams, and of all that have events."""
    (names,) = yield [("HKEYS", keys.STREAMS)]
    found = {name.decode() for name in names}
    while True:
        ((cursor, batch),) = yield [("SCAN", cursor, "MATCH", keys.EVENTS_PATTERN, "COUNT", 1000)]
        found.update(keys.stream_of(key.decode()) for key in batch)
        if not int(cursor):
            return found


# ----------------------------------------------------------------------------------------------------- viewers


def keep_watched(stream: str, ttl_s: int, codec: str = "h264") -> Call[None]:
    yield [("SET", keys.watch(stream, codec), "1", "EX", ttl_s), _said("watch", stream, codec)]


def request_keyframe(stream: str, codec: str = "h264") -> Call[None]:
    # A publisher's packets may pass through as they are: then it is the publisher who can make one.
    yield [_said("keyframe", stream, codec), ("SET", keys.publisher_asked(stream), "1", "EX", ASK_TTL_S)]


def latest_result(stream: str) -> Call[bytes | None]:
    (raw,) = yield [("XREVRANGE", keys.results(stream), "+", "-", "COUNT", 1)]
    return bytes(raw[0][1][b"data"]) if raw else None


def read_results(stream: str, after: str, block_ms: int) -> Call[list[tuple[str, bytes]]]:
    (raw,) = yield [_xread({keys.results(stream): after}, block_ms)]
    return [(at.decode(), fields[b"data"]) for _, entries in _by_key(raw) for at, fields in entries]


def recent_results(stream: str, count: int) -> Call[list[tuple[str, bytes]]]:
    (raw,) = yield [("XREVRANGE", keys.results(stream), "+", "-", "COUNT", count)]
    return [(at.decode(), fields[b"data"]) for at, fields in reversed(raw)]


def read_video(stream: str, after: str, block_ms: int, codec: str = "h264") -> Call[list[VideoPacket]]:
    (raw,) = yield [_xread({keys.video(stream, codec): after}, block_ms)]
    return [_packet(at, fields) for _, entries in _by_key(raw) for at, fields in entries]


def tails(stream: str, codec: str = "h264") -> Call[tuple[str, str]]:
    """Ids of the newest packet and the newest result; `0-0` where there are none."""
    video, result = yield [
        ("XREVRANGE", key, "+", "-", "COUNT", 1) for key in (keys.video(stream, codec), keys.results(stream))
    ]
    return _newest(video), _newest(result)


def fresh_group(stream: str, codec: str = "h264") -> Call[list[VideoPacket]]:
    """The packets since the last key frame, if the newest is of now; else none."""
    start, now = yield [("GET", keys.video_key(stream, codec)), ("TIME",)]
    if start is None:
        return []
    (entries,) = yield [("XRANGE", keys.video(stream, codec), start, "+")]
    now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
    if not entries or entry_id(entries[-1][0])[0] < now_ms - _FRESH_MS:
        return []
    packets = [_packet(at, fields) for at, fields in entries]
    return packets if packets[0].key else []


# ----------------------------------------------------------------------------------------------------- events


def tops(names: Iterable[str]) -> Call[dict[str, EntryId]]:
    """The newest event of each stream; (0, 0) where there is none."""
    wanted = list(names)
    if not wanted:
        return {}
    raw = yield [("XREVRANGE", keys.events(name), "+", "-", "COUNT", 1) for name in wanted]
    return {name: entry_id(_newest(entries)) for name, entries in zip(wanted, raw, strict=True)}


def read_events(after: Mapping[str, str], block_ms: int) -> Call[dict[str, Entries]]:
    """New events of all streams in `after` (name -> entry id), with one read."""
    (raw,) = yield [_xread({keys.events(name): at for name, at in after.items()}, block_ms)]
    return {keys.stream_of(key.decode()): _entries(entries) for key, entries in _by_key(raw)}


def range_events(name: str, low: str, high: str, limit: int, *, newest_first: bool) -> Call[Entries]:
    """Events between two entry ids, both included, `(` before one excludes it."""
    command = (
        ("XREVRANGE", keys.events(name), high, low)
        if newest_first
        else ("XRANGE", keys.events(name), low, high)
    )
    (raw,) = yield [(*command, "COUNT", limit)]
    return _entries(raw)


def _said(op: str, stream: str | None = None, codec: str | None = None) -> Command:
    said = {"op": op, "stream": stream, "codec": codec}
    return "PUBLISH", keys.CONTROL, orjson.dumps({k: v for k, v in said.items() if v is not None})


def _xread(after: Mapping[str, str], block_ms: int) -> Command:
    block = ("BLOCK", block_ms) if block_ms > 0 else ()  # BLOCK 0 would be for ever
    return "XREAD", "COUNT", _MOST_ENTRIES, *block, "STREAMS", *after.keys(), *after.values()


def _by_key(raw: Any) -> Iterable[tuple[bytes, list[tuple[bytes, Mapping[bytes, bytes]]]]]:
    """XREAD's answer, None when nothing came, a list of pairs or a mapping with the newer protocol."""
    if isinstance(raw, Mapping):
        # The newer protocol's form wraps each stream's entries in one more list.
        return [
            (key, entries[0] if len(entries) == 1 and isinstance(entries[0], list) else entries)
            for key, entries in raw.items()
        ]
    return raw or []


def _entries(raw: Any) -> Entries:
    return [(entry_id(at), fields) for at, fields in raw]


def _newest(raw: Any) -> str:
    return raw[0][0].decode() if raw else "0-0"


def _packet(at: bytes, fields: Mapping[bytes, bytes]) -> VideoPacket:
    return VideoPacket(
        id=at.decode(),
        data=fields[b"d"],
        key=fields[b"k"] == b"1",
        pts90k=int(fields[b"p"]),
        epoch=int(fields[b"e"]),
        seq=int(fields[b"q"]),
        codec=fields.get(b"c", b"h264").decode(),
    )


def _texts(raw: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode("utf-8", "replace") for name, value in raw.items()}
