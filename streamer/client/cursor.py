"""A place in many streams' events at once, as one token that fits in a URL or in Last-Event-ID."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from streamer.errors import WireError

EntryId = tuple[int, int]  # milliseconds, number

BEGINNING: Final[EntryId] = (0, 0)
_VERSION: Final = 1
_LONGEST_BYTES: Final = 4 << 20  # a token comes from anybody: it must not unpack to more
_ENTRY: Final = re.compile(r"(\d{1,20})-(\d{1,20})\Z")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last entry read of each stream. A stream that is not named starts at its beginning."""

    positions: Mapping[str, EntryId] = field(default_factory=dict)

    @classmethod
    def beginning(cls) -> Cursor:
        """Before everything that is kept."""
        return cls()

    @classmethod
    def parse(cls, token: str) -> Cursor:
        """The cursor that `token` came from. Raises WireError for anything else."""
        refusal = WireError("not a cursor", where="cursor", mend="give one that came with an event, or none")
        try:
            packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            unpacker = zlib.decompressobj()
            text = unpacker.decompress(packed, _LONGEST_BYTES)
            if not unpacker.eof:
                raise refusal
            version, entries = orjson.loads(text)
            if version != _VERSION or not isinstance(entries, dict):
                raise refusal
            return cls({stream: entry_id(at) for stream, at in entries.items()})
        except (ValueError, TypeError, binascii.Error, zlib.error):
            raise refusal from None

    @property
    def token(self) -> str:
        """URL-safe text."""
        entries = {stream: entry_text(at) for stream, at in self.positions.items()}
        packed = zlib.compress(orjson.dumps([_VERSION, entries]), 1)
        return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    def __str__(self) -> str:
        return self.token


def entry_id(text: str | bytes) -> EntryId:
    """`<ms>-<n>` as numbers, which compare as Redis orders them. Raises ValueError."""
    match = _ENTRY.match(text.decode() if isinstance(text, bytes) else text)
    if match is None:
        raise ValueError(f"{text!r} is no entry id")
    return int(match[1]), int(match[2])


def entry_text(at: EntryId) -> str:
    return f"{at[0]}-{at[1]}"
