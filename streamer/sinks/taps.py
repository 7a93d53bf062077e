"""One picture for two takers: a source knows of one tap, and behind it viewers and evidence each take what they want.

Packets and what is told about them are for viewers alone.
"""

from __future__ import annotations

from typing import Any, Protocol

from streamer.types import FrameRef


class PictureTaker(Protocol):
    """Takes pictures while it wants some."""

    @property
    def wanted(self) -> bool: ...

    def offer(self, ref: FrameRef, picture: Any) -> None: ...


class PacketTaker(PictureTaker, Protocol):
    """Takes packets as well, see `streamer.ports.PictureTap`."""

    def offer_packet(self, ref: FrameRef, data: bytes, key: bool) -> None: ...

    def no_packets(self, why: str) -> None: ...

    def fields(self) -> dict[str, str]: ...


class Taps:
    """The viewers' tap with another one beside it."""

    def __init__(self, viewers: PacketTaker, beside: PictureTaker) -> None:
        self._viewers, self._beside = viewers, beside

    @property
    def wanted(self) -> bool:
        """Whether either of them wants pictures now."""
        return self._viewers.wanted or self._beside.wanted

    def offer(self, ref: FrameRef, picture: Any) -> None:
        if self._beside.wanted:
            self._beside.offer(ref, picture)
        if self._viewers.wanted:
            self._viewers.offer(ref, picture)

    def offer_packet(self, ref: FrameRef, data: bytes, key: bool) -> None:
        self._viewers.offer_packet(ref, data, key)

    def no_packets(self, why: str) -> None:
        self._viewers.no_packets(why)

    def fields(self) -> dict[str, str]:
        return self._viewers.fields()
