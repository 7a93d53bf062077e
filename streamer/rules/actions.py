"""`action` when a track starts to do something that its stream's configuration names: a fall, a wave.

The task has made lasting actions of flickering scores already; each has the time it began. So a beginning is told once
for each track and each start, in the first frame in which the action is likely enough. What was told of a track that is
out of sight for a while is remembered, since it may come back still doing it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from streamer.rules.telling import looks, stream_s, told
from streamer.types import Event, EventKind, Result


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
        names = self.wanted(result.ref.stream)
        if not names and not state.told:
            return state, []
        now_s = stream_s(result.ref)
        known = {track: one for track, one in state.told.items() if now_s - one[1] <= self.forget_s}
        seen = looks(result)
        events: list[Event] = []
        for action in result.payload.actions:
            track_id = action.track_id
            if track_id is None or track_id not in seen or action.name not in names:
                continue
            before = known.get(track_id)
            if before is None or before[0] != action.start_wall_ns:
                if action.score < self.min_score:
                    continue
                attrs = {
                    "action": action.name,
                    "score": round(action.score, 4),
                    "start_wall_ns": action.start_wall_ns,
                }
                events.append(told(EventKind.ACTION, result, track_id, seen[track_id], attrs=attrs))
            known[track_id] = action.start_wall_ns, now_s
        return ActionState(known), events

    def finish(self, state: ActionState) -> Sequence[Event]:
        """An action that goes on when the epoch ends has been told."""
        return []
