"""Encoded frames as they come off the wire, made ready for a reader that cannot ask: whole, in order, with a beginning.

A picture that refers to one that was lost would show dirt, and an analysis would take it for objects. So after a loss
nothing is handed on until the next key frame, and one is asked for. Pure; times in seconds are arguments.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

Codec = Literal["h264", "vp8"]

START: Final = b"\x00\x00\x01"
SLICES: Final = frozenset(range(1, 6))
IDR, SPS, PPS = 5, 7, 8
# Ask again after this while no key frame comes, for one at all after this, and never more often than this.
KEY_AGAIN_S: Final = 1.0
KEY_EVERY_S: Final = 4.0
KEY_GAP_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One picture: H.264 Annex B with its parameter sets at key frames, or a VP8 frame; `pts90k` never wraps."""

    data: bytes = field(repr=False)
    key: bool
    pts90k: int
    codec: Codec


class RtpTime:
    """RTP time stamps of 32 bits as numbers that do not wrap, the first being 0; small steps back are kept as such."""

    def __init__(self) -> None:
        self._last: int | None = None

    def map(self, timestamp: int) -> int:
        """The tick of this time stamp. The name is that of aiortc's own mapper, whose place it takes."""
        if self._last is None:
            self._origin = self._last = timestamp
        step = (timestamp - self._last + (1 << 31)) % (1 << 32) - (1 << 31)
        self._last += step
        return self._last - self._origin


def units(data: bytes) -> list[tuple[int, int]]:
    """(type, place) of each NAL unit of an Annex B frame up to its first slice, which is all that is asked of it."""
    found: list[tuple[int, int]] = []
    at = data.find(START)
    while 0 <= at < len(data) - len(START):
        kind = data[at + 3] & 0x1F
        found.append((kind, at))
        if kind in SLICES:
            break
        at = data.find(START, at + 3)
    return found


class Gate:
    """Lets frames through from a key frame to the next loss. `dropped` counts the others by their reason."""

    def __init__(self) -> None:
        self._open = False
        self._sets = b""  # the newest parameter sets, should a key frame come without
        self.dropped: Counter[str] = Counter()

    @property
    def waiting(self) -> bool:
        """Whether nothing passes until a key frame comes."""
        return not self._open

    def lost(self) -> None:
        """A frame is missing from here on."""
        self._open = False

    def take(self, codec: Codec, data: bytes, pts90k: int) -> EncodedFrame | None:
        """The frame as it goes on, None if it does not."""
        if codec == "h264":
            kinds = units(data)
            if not any(kind in SLICES for kind, _ in kinds):
                self._sets = data if any(kind == SPS for kind, _ in kinds) else self._sets
                self.dropped["no picture"] += 1
                return None
            key = kinds[-1][0] == IDR
            if key:
                data = self._with_sets(data, kinds)
        else:
            key = bool(data) and not data[0] & 1
        self._open = self._open or key
        if not self._open:
            self.dropped["no key frame yet"] += 1
            return None
        return EncodedFrame(data, key, pts90k, codec)

    def _with_sets(self, data: bytes, kinds: list[tuple[int, int]]) -> bytes:
        if {SPS, PPS} <= {kind for kind, _ in kinds}:
            self._sets = data[: kinds[-1][1]]
            return data
        return self._sets + data


class KeyWish:
    """When to ask the publisher for a key frame."""

    def __init__(self) -> None:
        self._asked_s = self._key_s = float("-inf")
        self._wanted = True

    def want(self) -> None:
        """Somebody needs one: a reader that begins, or one that lost a frame."""
        self._wanted = True

    def came(self, now_s: float) -> None:
        self._key_s = now_s
        self._wanted = False

    def due(self, now_s: float, *, waiting: bool) -> bool:
        """Whether to ask now; `waiting`: nothing passes until one comes. True means that it is being asked."""
        since_s = now_s - self._asked_s
        if since_s < KEY_GAP_S:
            return False
        urgent = self._wanted or (waiting and since_s >= KEY_AGAIN_S)
        overdue = now_s - max(self._key_s, self._asked_s) >= KEY_EVERY_S
        if not urgent and not overdue:
            return False
        self._asked_s = now_s
        # A wish is over once it was said; where it is not heard, `waiting` and `overdue` say it again.
        self._wanted = False
        return True
