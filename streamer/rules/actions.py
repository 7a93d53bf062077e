"""`action` when a track starts to do something that its stream's configuration names: a fall, a wave.

The task has made lasting actions of flickering scores already; each has the time it began. So a beginning is told once
for each track and each start, in the first frame in which the action is likely enough. What was told of a track that is
out of sight for a while is remembered, since it may come back still doing it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from streamer.types import Action, Event, EventKind, Result, event_id


class ActionWishes:
    """Which actions are events of which stream. Written where streams start, read where rules run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[str, frozenset[str]] = {}

    def put(self, stream: str, names: Collection[str]) -> None:
        """From now on these, and no others."""
        with self._lock:
            self._wanted[stream] = frozenset(names)

    def of(self, stream: str) -> frozenset[str]:
        """Those of a stream; none for one that never said."""
        with self._lock:
            return self._wanted.get(stream, frozenset())


@dataclass(frozen=True, slots=True)
class ActionState:
    """What was told in one epoch: by track the start of its last told action (Unix ns), and when it was last seen
    doing it (stream seconds)."""

    told: Mapping[int, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActionStarts:
    """The rule. `wanted` says which actions of a stream are events, from a score of `min_score` on.

    A track that did not do what was told of it for `forget_s` seconds is forgotten.
    """

    wanted: Callable[[str], Collection[str]]
    min_score: float = 0.5
    forget_s: float = 60.0

    def initial_state(self) -> ActionState:
        return ActionState()

    def step(self, state: ActionState, result: Result) -> tuple[ActionState, Sequence[Event]]:
        """The beginnings that this result brings."""
        ref, payload = result.ref, result.payload
        names = self.wanted(ref.stream)
        if not names and not state.told:
            return state, []
        time_s = float(ref.pts * ref.time_base)
        told = {track: one for track, one in state.told.items() if time_s - one[1] <= self.forget_s}
        rows = {track_id: row for row, track_id in enumerate(payload.tracks.track_ids.tolist())}
        events: list[Event] = []
        for action in payload.actions:
            track_id = action.track_id
            if track_id is None or track_id not in rows or action.name not in names:
                continue
            before = told.get(track_id)
            if before is None or before[0] != action.start_wall_ns:
                if action.score < self.min_score:
                    continue
                events.append(_event(result, action, track_id, rows[track_id]))
            told[track_id] = action.start_wall_ns, time_s
        return ActionState(told), events

    def finish(self, state: ActionState) -> Sequence[Event]:
        """An action that goes on when the epoch ends has been told."""
        return []


def _event(result: Result, action: Action, track_id: int, row: int) -> Event:
    ref, payload = result.ref, result.payload
    found = payload.tracks.detections
    return Event(
        id=event_id(ref.stream, ref.epoch, ref.seq, EventKind.ACTION, track_id),
        kind=EventKind.ACTION,
        stream=ref.stream,
        epoch=ref.epoch,
        seq=ref.seq,
        wall_ns=ref.wall_ns,
        track_id=track_id,
        attrs={
            "action": action.name,
            "score": round(action.score, 4),
            "start_wall_ns": action.start_wall_ns,
            "label": payload.label_names[int(found.labels[row])],
            "box_xyxy": [round(v, 1) for v in found.boxes_xyxy[row].tolist()],
            "source_hw": list(result.source_hw),
        },
        latency_ms=result.timing.waterfall_ms(),
        provenance=result.provenance,
    )
