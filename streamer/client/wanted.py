"""Which events a reader wants: of which kinds, of which objects, of which time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Wanted:
    """None: all. `since_ns` and `until_ns` bound the events' own `wall_ns` (Unix ns), both included."""

    kinds: frozenset[str] | None = None
    label: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None

    @classmethod
    def of(
        cls,
        kinds: Iterable[str] | None = None,
        label: str | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> Wanted:
        """Times as users give them, Unix seconds."""
        since_ns, until_ns = (None if s is None else round(s * 1e9) for s in (since_s, until_s))
        return cls(None if kinds is None else frozenset(map(str, kinds)), label, since_ns, until_ns)

    @property
    def all(self) -> bool:
        return self == Wanted()

    def takes(self, kind: str, data: bytes) -> bool:
        """Whether the event of this kind, `data` its JSON, is wanted. What cannot be read has no label and no time."""
        if self.kinds is not None and kind not in self.kinds:
            return False
        if self.label is None and self.since_ns is None and self.until_ns is None:
            return True
        try:
            event = orjson.loads(data)
            wall_ns, label = int(event["wall_ns"]), event.get("attrs", {}).get("label")
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            return False
        return (
            self.label in (None, label)
            and (self.since_ns is None or wall_ns >= self.since_ns)
            and (self.until_ns is None or wall_ns <= self.until_ns)
        )
