"""What each stream wishes to be told beside appear and leave, and the rules that ask for it at every result: a wish may
change while the stream runs."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass

from streamer.config import StreamConfig
from streamer.regions import Line, Zone
from streamer.rules.actions import ActionStarts
from streamer.rules.lines import Lines
from streamer.rules.presence import Presence
from streamer.rules.rule import Rule
from streamer.rules.zones import Zones
from streamer.types import INTRUSION, WRONG_WAY


@dataclass(frozen=True, slots=True)
class Wish:
    """Of one stream: the actions that are events, its zones and its lines."""

    actions: frozenset[str] = frozenset()
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()


class Wishes:
    """The wishes of all streams. Written where streams start and change, read where rules run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[str, Wish] = {}

    def put(self, spec: StreamConfig) -> None:
        """From now on what this configuration says, and nothing else."""
        with self._lock:
            self._wanted[spec.name] = Wish(frozenset(spec.events.actions), spec.zones, spec.lines)

    def of(self, stream: str) -> Wish:
        """Those of a stream; none for one that never said."""
        with self._lock:
            return self._wanted.get(stream, Wish())

    def actions(self, stream: str) -> Collection[str]:
        return self.of(stream).actions

    def zones(self, stream: str) -> tuple[Zone, ...]:
        return self.of(stream).zones

    def lines(self, stream: str) -> tuple[Line, ...]:
        return self.of(stream).lines


def alarms_of(wish: Wish) -> frozenset[str]:
    """What the attribute `alarm` of this stream's events may say."""
    wanted = {
        INTRUSION: any(z.forbidden for z in wish.zones),
        WRONG_WAY: any(li.one_way for li in wish.lines),
    }
    return frozenset(kind for kind, wished in wanted.items() if wished)


def rules_of(wishes: Wishes) -> list[Rule]:
    """All rules there are. Who appears does so before it enters."""
    return [Presence(), Zones(wishes.zones), Lines(wishes.lines), ActionStarts(wishes.actions)]
