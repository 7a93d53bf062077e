"""Every frame ends in exactly one state, and the counts balance: entered == ended + in flight.

A frame is entered once, when its source hands it over, and ended once, by whoever holds it last. Ending a frame that is
not in flight (twice, or never entered) is a bug and raises.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from streamer.types import FrameRef


class Fate(StrEnum):
    """How a frame ended. Dropped and failed carry a reason."""

    EMITTED = "emitted"  # its result was handed to the sink
    DROPPED = "dropped"  # given up on purpose: a queue was full
    FAILED = "failed"  # engine or task raised
    DRAINED = "drained"  # still waiting when its stream was stopped


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """The account of one stream, of one epoch or over all; `ended` maps `fate` or `fate:reason` to frames."""

    entered: int
    in_flight: int
    ended: Mapping[str, int]

    @property
    def balanced(self) -> bool:
        return self.entered == self.in_flight + sum(self.ended.values())

    @property
    def emitted(self) -> int:
        return self.ended.get(Fate.EMITTED, 0)

    def as_dict(self) -> dict[str, int]:
        """Flat counts for the state hash: `in`, `in_flight`, and one per way of ending."""
        return {"in": self.entered, "in_flight": self.in_flight, **self.ended}


@dataclass(slots=True)
class _Account:
    entered: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    in_flight: set[int] = field(default_factory=set)

    def counts(self) -> LedgerCounts:
        return LedgerCounts(self.entered, len(self.in_flight), dict(self.ended))


@dataclass(slots=True)
class _Stream:
    epochs: dict[int, _Account] = field(default_factory=dict)
    folded: _Account = field(default_factory=_Account)  # epochs that are over, summed
    latest: int = -1


class Ledger:
    """The accounts of all streams of this process. Thread-safe; memory grows with streams, not with epochs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}

    def enter(self, ref: FrameRef) -> None:
        """The frame is now in our care; raises ValueError if it already is."""
        with self._lock:
            stream = self._streams.get(ref.stream)
            if stream is None:
                stream = self._streams[ref.stream] = _Stream()
            account = stream.epochs.get(ref.epoch)
            if account is None:
                account = stream.epochs[ref.epoch] = _Account()
                stream.latest = max(stream.latest, ref.epoch)
                self._fold(stream, keep=ref.epoch)
            if ref.seq in account.in_flight:
                raise ValueError(f"frame {ref.key} entered twice")
            account.in_flight.add(ref.seq)
            account.entered += 1

    def end(self, ref: FrameRef, fate: Fate, reason: str = "") -> None:
        """The frame's one end; raises ValueError if it is not in flight."""
        with self._lock:
            stream = self._streams.get(ref.stream)
            account = stream.epochs.get(ref.epoch) if stream is not None else None
            if account is None or ref.seq not in account.in_flight:
                raise ValueError(f"frame {ref.key} ended as {fate} but is not in flight")
            account.in_flight.remove(ref.seq)
            account.ended[f"{fate}:{reason}" if reason else str(fate)] += 1

    def counts(self, stream: str, epoch: int | None = None) -> LedgerCounts:
        """The account of one epoch, or (None) of all epochs of the stream since this process began."""
        with self._lock:
            known = self._streams.get(stream)
            if known is None:
                return LedgerCounts(0, 0, {})
            if epoch is not None:
                return known.epochs.get(epoch, _Account()).counts()
            total: Counter[str] = Counter(known.folded.ended)
            entered, in_flight = known.folded.entered, 0
            for account in known.epochs.values():
                entered += account.entered
                in_flight += len(account.in_flight)
                total.update(account.ended)
            return LedgerCounts(entered, in_flight, dict(total))

    def streams(self) -> list[str]:
        """All streams that ever entered a frame."""
        with self._lock:
            return sorted(self._streams)

    def forget(self, stream: str) -> None:
        """Drop the stream's accounts; frames of it that are still in flight make this a ValueError."""
        with self._lock:
            known = self._streams.get(stream)
            if known is not None and any(account.in_flight for account in known.epochs.values()):
                raise ValueError(f"{stream} has frames in flight")
            self._streams.pop(stream, None)

    @staticmethod
    def _fold(stream: _Stream, keep: int) -> None:
        over = [e for e, a in stream.epochs.items() if e < stream.latest and e != keep and not a.in_flight]
        for epoch in over:
            account = stream.epochs.pop(epoch)
            stream.folded.entered += account.entered
            stream.folded.ended.update(account.ended)
