"""One picture for several takers: a source knows of one tap, and behind it each takes what it wants."""

from __future__ import annotations

from typing import Any

from streamer.ports import PictureTap
from streamer.types import FrameRef


class Taps:
    """A PictureTap of taps. Each is offered the picture only while it wants some."""

    def __init__(self, *taps: PictureTap) -> None:
        self._taps = taps

    @property
    def wanted(self) -> bool:
        """Whether any of them wants pictures now."""
        return any(tap.wanted for tap in self._taps)

    def offer(self, ref: FrameRef, picture: Any) -> None:
        for tap in self._taps:
            if tap.wanted:
                tap.offer(ref, picture)
