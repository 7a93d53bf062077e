"""`appear` when a track is sure, `leave` when it has been gone: every appear gets exactly one leave.

A track flickers at birth (one frame of noise is a track, too) and behind lamp posts. So it appears after
`confirm_frames` sightings, and leaves only after `gone_after_s` of stream time without one, or when its epoch is over.
Stream time is the frames' own time stamps: a replayed file gives the same events as the live one did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamer.rules.telling import Look, Span, looks, stream_s, told
from streamer.types import Event, EventKind, Result


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of one track. `look` is of the last sighting, but that its label stays once it has appeared."""

    look: Look
    top_score: float
    span: Span
    appeared: bool = False


@dataclass(frozen=True, slots=True)
class PresenceState:
    """The tracks of one epoch by id, and the last result (None before the first)."""

    tracks: Mapping[int, Sighting] = field(default_factory=dict)
    last: Result | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """The rule. `confirm_frames` sightings make an appear; `gone_after_s` seconds without one make a leave."""

    confirm_frames: int = 3
    gone_after_s: float = 1.0

    def __post_init__(self) -> None:
        if self.confirm_frames < 1 or self.gone_after_s < 0:
            raise ValueError(f"confirm_frames {self.confirm_frames}, gone_after_s {self.gone_after_s}")

    def initial_state(self) -> PresenceState:
        return PresenceState()

    def step(self, state: PresenceState, result: Result) -> tuple[PresenceState, Sequence[Event]]:
        """Appears and leaves that this result brings; a track that never appeared goes without a word."""
        ref, now_s = result.ref, stream_s(result.ref)
        tracks = dict(state.tracks)
        events: list[Event] = []
        for track_id, look in looks(result).items():
            known = tracks.get(track_id)
            if known is None:
                known = Sighting(look, look.score, Span.begun(ref, now_s))
            else:
                # Until it appears the label may change; then both its events carry the same one.
                known = Sighting(
                    look.named(known.look.label) if known.appeared else look,
                    max(look.score, known.top_score),
                    known.span.with_one_more(ref, now_s),
                    known.appeared,
                )
            if not known.appeared and known.span.frames >= self.confirm_frames:
                known = replace(known, appeared=True)
                events.append(_event(EventKind.APPEAR, result, track_id, known))
            tracks[track_id] = known
        gone = [i for i, seen in tracks.items() if now_s - seen.span.last_s > self.gone_after_s]
        for track_id in gone:
            seen = tracks.pop(track_id)
            if seen.appeared:
                events.append(_event(EventKind.LEAVE, result, track_id, seen))
        return PresenceState(tracks, result), events

    def finish(self, state: PresenceState) -> Sequence[Event]:
        """A leave, at the last frame there was, for each track that appeared and has not left."""
        if state.last is None:
            return []
        return [
            _event(EventKind.LEAVE, state.last, track_id, seen)
            for track_id, seen in state.tracks.items()
            if seen.appeared
        ]


def _event(kind: EventKind, result: Result, track_id: int, seen: Sighting) -> Event:
    evidence = {**seen.span.evidence(), "top_score": round(seen.top_score, 4)}
    return told(kind, result, track_id, seen.look, evidence=evidence)
