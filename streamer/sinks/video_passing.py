"""Whether a camera's own packets may go to viewers as they are, and the running group of pictures for a late one.

A viewer can begin only at a key frame, and a camera cannot be asked for one. So packets since the last key frame are
kept, within bounds, while nobody watches, and a viewer who comes is given them first: it starts at once. A camera
whose key frames are too far apart would leave a viewer that lost a packet without picture for as long; it is encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from streamer.types import TICKS_90K, FrameRef

# The longest group of pictures that is passed on: a viewer who lost a packet waits for its end.
GROUP_MAX_S: Final = 5.0
# So many groups in a row must be short enough before a camera that had a longer one is believed again.
GOOD_GROUPS: Final = 3
# Five seconds at 60 fps, and at 13 Mbit/s; a larger group is not kept, and its late viewers begin with the encoder.
KEEP_PACKETS: Final = 300
KEEP_BYTES: Final = 8 << 20
# A group that has not grown for this long is of a camera that is gone: an old picture must not look live.
STALE_S: Final = 5.0

LONG_GROUP: Final = "long group of pictures"


@dataclass(frozen=True, slots=True)
class CameraPacket:
    """One picture as the camera encoded it: H.264 Annex B, parameter sets in band if it is a key frame."""

    ref: FrameRef
    data: bytes = field(repr=False)
    key: bool


class Passing:
    """What is known of a stream's packets. One caller at a time."""

    def __init__(self) -> None:
        self.known = False  # whether anything was said of this stream yet
        self.why = ""  # why its packets are not passed on; empty if they are
        self.given_up = 0  # groups that were not kept: too large, or their camera went silent
        self._refused = False
        self._key: FrameRef | None = None
        self._good = 0
        self._group: list[CameraPacket] = []
        self._bytes = 0
        self._grew_ns = 0

    @property
    def passes(self) -> bool:
        return self.known and not self.why

    def refuse(self, why: str) -> None:
        """No packets come any more; the next key frame is a new connection's."""
        self.known, self._refused, self.why = True, True, why
        self._key = None
        self._forget()

    def take(self, packet: CameraPacket, now_ns: int) -> bool:
        """Note the next packet; whether it may go to viewers (who have those before it, back to the key frame)."""
        ref, last_key = packet.ref, self._key
        same = last_key is not None and last_key.epoch == ref.epoch
        if not packet.key and not same:
            return False  # nothing to begin with
        self.known = True
        if self._refused:
            self._refused, self.why = False, ""
        if last_key is not None and same:
            self._judge((ref.pts90k - last_key.pts90k) / TICKS_90K, ends=packet.key)
        if packet.key:
            self._key = ref
            self._forget()
        if self.why:
            self._forget()
            return False
        self._keep(packet, now_ns)
        return True

    def group(self, now_ns: int) -> list[CameraPacket]:
        """The packets since the last key frame, for a viewer who comes now; empty if they were not kept."""
        if self._group and now_ns - self._grew_ns > STALE_S * 1e9:
            self._give_up()
        return list(self._group)

    def _judge(self, length_s: float, *, ends: bool) -> None:
        """The running group is `length_s` long so far."""
        if length_s > GROUP_MAX_S:
            self.why, self._good = LONG_GROUP, 0
        elif ends:
            self._good += 1
            if self._good >= GOOD_GROUPS:
                self.why = ""

    def _keep(self, packet: CameraPacket, now_ns: int) -> None:
        if not packet.key and not self._group:
            return  # its beginning was given up
        self._group.append(packet)
        self._bytes += len(packet.data)
        self._grew_ns = now_ns
        if len(self._group) > KEEP_PACKETS or self._bytes > KEEP_BYTES:
            self._give_up()

    def _give_up(self) -> None:
        self.given_up += 1
        self._forget()

    def _forget(self) -> None:
        self._group, self._bytes = [], 0
