"""The life of a stream as users see it: a state that only moves along `STREAM_MOVES`, and why it is what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

from streamer.addresses import redact_url
from streamer.config import StreamConfig
from streamer.errors import EngineError, SightlineError, SourceCode, SourceError
from streamer.ledger import LedgerCounts
from streamer.ports import SourceInfo
from streamer.publisher import StreamPace
from streamer.types import STREAM_MOVES, StreamState


class EndCode(StrEnum):
    """Why a stream is down where it is not the source's fault (`SourceCode` has those)."""

    FINISHED = "STREAM_ENDED"
    PAUSED = "STREAM_PAUSED"
    REMOVED = "STREAM_REMOVED"
    CHANGED = "STREAM_CHANGED"
    STOPPED = "WORKER_STOPPED"
    NO_ENGINE = "ENGINE_UNAVAILABLE"
    INTERNAL = "INTERNAL_ERROR"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a connection ended. `state` is what the stream is from now on; only RESTARTING and ERROR try again."""

    state: StreamState
    code: str
    message: str


def outcome_of(error: Exception, *, timed_out: bool) -> Outcome:
    """What an error that ended a connection makes of its stream; `timed_out`: the connection was ended for hanging."""
    if isinstance(error, SourceError):
        if timed_out:
            return Outcome(StreamState.RESTARTING, SourceCode.TIMEOUT, str(error))
        state = StreamState.RESTARTING if error.retryable else StreamState.ERROR
        return Outcome(state, error.code, str(error))
    if isinstance(error, EngineError):
        return Outcome(StreamState.ERROR, EndCode.NO_ENGINE, str(error))
    if isinstance(error, SightlineError):
        return Outcome(StreamState.RESTARTING, EndCode.INTERNAL, str(error))
    return Outcome(StreamState.RESTARTING, EndCode.INTERNAL, f"{type(error).__name__}: {error}")


@dataclass(slots=True)
class Life:
    """The state as users see it; an illegal move is a bug and raises ValueError."""

    state: StreamState = StreamState.INITIALISING
    code: str = ""
    message: str = ""

    def move(self, state: StreamState, code: str = "", message: str = "") -> None:
        if state is not self.state and state not in STREAM_MOVES[self.state]:
            raise ValueError(f"a stream cannot go from {self.state} to {state}")
        self.state, self.code, self.message = state, code, message


def state_fields(
    spec: StreamConfig,
    life: Life,
    *,
    epoch: int,
    info: SourceInfo | None,
    model: str,
    backend: str,
    pace: StreamPace,
    counts: LedgerCounts,
    total: LedgerCounts,
    crossings: Mapping[str, Mapping[str, int]] | None = None,
    wall_ns: int,
) -> dict[str, str]:
    """The fields of the state hash; what is not known is the empty text. `counts` are of `epoch`, `total` of all;
    `crossings` by line and direction, since the worker started."""
    return {
        "error_code": life.code,
        "error": life.message,
        "epoch": str(epoch) if epoch else "",
        "fps": f"{pace.fps if life.state is StreamState.RUNNING else 0.0:.2f}",
        "width": str(info.width) if info else "",
        "height": str(info.height) if info else "",
        "codec": info.codec if info else "",
        "url": redact_url(spec.url),
        "task": spec.task,
        "model": model,
        "backend": backend,
        "last_frame_wall_ns": _text(pace.last_frame_wall_ns),
        "latency_p50_ms": _text(pace.latency_p50_ms),
        "latency_p95_ms": _text(pace.latency_p95_ms),
        "ledger": orjson.dumps(counts.as_dict()).decode(),
        "ledger_total": orjson.dumps(total.as_dict()).decode(),
        "accuracy": orjson.dumps(pace.accuracy.to_dict()).decode() if pace.accuracy else "",
        "zone_objects": orjson.dumps(
            {zone.name: pace.inside.get(zone.name, 0) for zone in spec.zones}
        ).decode(),
        "line_crossings": orjson.dumps(crossings or {}).decode(),
        "updated_wall_ns": str(wall_ns),
    }


def _text(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.1f}"
