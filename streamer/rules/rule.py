"""What a rule is: results in, events out, state as a value. No clock, no thread, no border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from streamer.types import Event, Result


class Rule(Protocol):
    """Turns one stream's results, in order, into events. The state belongs to one epoch of one stream."""

    def initial_state(self) -> Any:
        """The state at the start of an epoch."""
        ...

    def step(self, state: Any, result: Result) -> tuple[Any, Sequence[Event]]:
        """The state after this result, and what happened. `state` itself is left as it is."""
        ...

    def finish(self, state: Any) -> Sequence[Event]:
        """What happens because the epoch is over (the file ended, the stream was lost, paused or removed)."""
        ...


@runtime_checkable
class Occupied(Protocol):
    """A rule that knows how many objects are in which zone."""

    def inside(self, state: Any) -> Mapping[str, int]:
        """Objects by zone."""
        ...
