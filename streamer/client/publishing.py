"""What passes between who publishes (WHIP, in the web process) and who reads (a worker's source), as Redis commands.

One session at a time holds a stream's `publisher` key. It lives as long as frames come, so a silent publisher loses its
place by itself, whichever process it was in. Each session has a number of its own, and readers heed the highest only:
what a displaced publisher still sends does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streamer.client.calls import ASK_TTL_S, Call, Command
from streamer.client.cursor import entry_id
from streamer.wire import keys

# A publication whose newest packet is older is over, whoever failed to say so.
FRESH_MS: Final = 3000
# Packets of a web process that was killed are gone after this.
KEPT_MS: Final = 30_000
_MOST_ENTRIES: Final = 128

_CLAIM: Final = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('INCR', KEYS[2]) end
return 0"""
# A place that lapsed and that nobody took is the old holder's still.
_RENEW: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0"""


@dataclass(frozen=True, slots=True)
class PublishedFrame:
    """One encoded picture on its way in: H.264 Annex B or a VP8 frame; `index` counts up by one in a publication."""

    data: bytes = field(repr=False)
    key: bool
    pts90k: int
    codec: str
    index: int
    wall_ns: int


@dataclass(frozen=True, slots=True)
class PublishedPacket:
    """The same as a reader finds it. `publication` is the session's number; with `ended` there is no picture."""

    id: str
    publication: int
    frame: PublishedFrame | None

    @property
    def ended(self) -> bool:
        return self.frame is None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a write: the entries' ids; whether the session still holds its place; whether a reader asked for
    a key frame."""

    ids: Sequence[str]
    holds: bool
    asked: bool


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published now: its number, its packets from the last key frame on, and the id to read on from."""

    number: int
    packets: Sequence[PublishedPacket]
    after: str


# --------------------------------------------------------------------------------------------------- the publisher


def claim(name: str, session: str, ttl_ms: int) -> Call[int]:
    """Take the place; the publication's number, or 0 if somebody else holds it."""
    (number,) = yield [
        ("EVAL", _CLAIM, 2, keys.publisher(name), keys.publication(name), session, str(ttl_ms)),
    ]
    return int(number)


def publish(
    name: str,
    session: str,
    number: int,
    frames: Sequence[PublishedFrame],
    *,
    keep_from: str | None,
    ttl_ms: int | None,
) -> Call[Receipt]:
    """Add packets, forget those before `keep_from`, and stay the publisher for `ttl_ms` more (None: not renewed)."""
    key, holder = keys.published(name), keys.publisher(name)
    commands: list[Command] = [_added(key, number, frame) for frame in frames]
    if keep_from is not None:
        commands.append(("XTRIM", key, "MINID", keep_from))
    commands.append(("PEXPIRE", key, KEPT_MS))
    commands.append(
        ("GET", holder) if ttl_ms is None else ("EVAL", _RENEW, 1, holder, session, str(ttl_ms)),
    )
    commands.append(("GETDEL", keys.publisher_asked(name)))
    answers = yield commands
    *_, held, asked = answers
    holds = held in (None, session.encode()) if ttl_ms is None else bool(held)
    return Receipt([at.decode() for at in answers[: len(frames)]], holds, asked is not None)


def end(name: str, session: str, number: int) -> Call[None]:
    """The publication is over: say so to its readers and give the place back if it is still this session's."""
    key = keys.published(name)
    yield [
        ("XADD", key, "*", "n", number, "end", "1"),
        ("PEXPIRE", key, KEPT_MS),
        ("EVAL", _RELEASE, 1, keys.publisher(name), session),
    ]


def _added(key: str, number: int, frame: PublishedFrame) -> Command:
    fields = {
        "d": frame.data,
        "k": b"1" if frame.key else b"0",
        "p": frame.pts90k,
        "c": frame.codec,
        "n": number,
        "i": frame.index,
        "w": frame.wall_ns,
    }
    return ("XADD", key, "*", *(part for pair in fields.items() for part in pair))


# --------------------------------------------------------------------------------------------------- the readers


def publication(name: str) -> Call[Publication | None]:
    """What is published now, None if nobody publishes."""
    newest, now = yield [("XREVRANGE", keys.published(name), "+", "-", "COUNT", 1), ("TIME",)]
    if not newest:
        return None
    last = _packet(*newest[0])
    now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
    if last.ended or entry_id(last.id)[0] < now_ms - FRESH_MS:
        return None
    (entries,) = yield [("XRANGE", keys.published(name), "-", last.id)]
    found = [p for p in (_packet(*entry) for entry in entries) if p.publication == last.publication]
    begins = max((i for i, p in enumerate(found) if p.frame is not None and p.frame.key), default=len(found))
    return Publication(last.publication, found[begins:], last.id)


def read(name: str, after: str, block_ms: int) -> Call[list[PublishedPacket]]:
    """Packets after the id, of any publication, waiting up to `block_ms` for the first."""
    block = ("BLOCK", block_ms) if block_ms > 0 else ()
    (raw,) = yield [("XREAD", "COUNT", _MOST_ENTRIES, *block, "STREAMS", keys.published(name), after)]
    if not raw:
        return []
    entries: Any = next(iter(raw.values())) if isinstance(raw, Mapping) else raw[0][1]
    if isinstance(raw, Mapping) and len(entries) == 1 and isinstance(entries[0], list):
        entries = entries[0]  # the newer protocol's form wraps them in one more list
    return [_packet(*entry) for entry in entries]


def ask(name: str) -> Call[None]:
    """Ask the publisher for a key frame."""
    yield [("SET", keys.publisher_asked(name), "1", "EX", ASK_TTL_S)]


def _packet(at: bytes, fields: Mapping[bytes, bytes]) -> PublishedPacket:
    number = int(fields[b"n"])
    if b"end" in fields:
        return PublishedPacket(at.decode(), number, None)
    frame = PublishedFrame(
        data=fields[b"d"],
        key=fields[b"k"] == b"1",
        pts90k=int(fields[b"p"]),
        codec=fields[b"c"].decode(),
        index=int(fields[b"i"]),
        wall_ns=int(fields[b"w"]),
    )
    return PublishedPacket(at.decode(), number, frame)
