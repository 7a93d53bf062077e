"""What viewers of a stream are given, kept in a list, and what a decoder makes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import av

from streamer.sinks.video import VideoPublisher
from streamer.types import FrameRef
from tests.fakes.clips import bar_index, bar_picture

STEP = 3600


class Kept:
    """A PacketWriter of a list; clearing `go` keeps it busy, `broken` makes it fail."""

    def __init__(self) -> None:
        self.packets: list[dict[str, Any]] = []
        self.go = threading.Event()
        self.go.set()
        self.broken = False
        self._grew = threading.Condition()

    def write_packet(
        self,
        stream: str,
        data: bytes,
        key: bool,
        pts90k: int,
        epoch: int,
        seq: int,
        wall_ns: int,
        codec: str = "h264",
    ) -> None:
        assert self.go.wait(10)
        if self.broken:
            raise ConnectionError("the store is away")
        with self._grew:
            self.packets.append(
                {
                    **{"d": data, "k": key, "p": pts90k, "e": epoch, "q": seq, "w": wall_ns},
                    **{"s": stream, "c": codec},
                }
            )
            self._grew.notify_all()

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self._grew:
            assert self._grew.wait_for(holds, 10), self.packets


def ref(seq: int, epoch: int = 1) -> FrameRef:
    return FrameRef("gate", epoch, seq, seq * STEP, Fraction(1, 90_000), 0, 1_000 + seq)


def show(publisher: VideoPublisher, kept: Kept, seqs: range, epoch: int = 1, picture: Any = None) -> None:
    """Offer pictures one by one, each when the one before has been written."""
    for seq in seqs:
        n = len(kept.packets)
        publisher.offer(ref(seq, epoch), bar_picture(seq) if picture is None else picture)
        kept.wait_for(lambda n=n: len(kept.packets) > n)  # type: ignore[misc]


def decoded(packets: Sequence[Mapping[str, Any]], codec: str = "h264") -> list[int]:
    """The numbers of the pictures that a fresh decoder makes of these packets."""
    decoder = av.CodecContext.create(codec, "r")
    pictures: list[Any] = []
    for packet in packets:
        pictures += decoder.decode(av.Packet(packet["d"]))  # type: ignore[attr-defined]
    pictures += decoder.decode(None)  # type: ignore[attr-defined]
    return [bar_index(p.to_ndarray(format="rgb24")) for p in pictures]


def nal_types(data: bytes) -> list[int]:
    return [part[0] & 0x1F for part in data.split(b"\x00\x00\x01")[1:]]
