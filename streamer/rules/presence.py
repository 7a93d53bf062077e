"""`appear` when a track is sure, `leave` when it has been gone: every appear gets exactly one leave.

A track flickers at birth (one frame of noise is a track, too) and behind lamp posts. So it appears after
`confirm_frames` sightings, and leaves only after `gone_after_s` of stream time without one, or when its epoch is over.
Stream time is the frames' own time stamps: a replayed file gives the same events as the live one did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streamer.types import Event, EventKind, Result, event_id


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of one track. `box_xyxy` px in the source picture, `score` and both are of the last sighting."""

    label: str
    score: float
    top_score: float
    box_xyxy: tuple[float, float, float, float]
    frames: int
    first_seq: int
    last_seq: int
    first_wall_ns: int
    last_wall_ns: int
    last_time_s: float
    appeared: bool


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
        ref, payload = result.ref, result.payload
        time_s = float(ref.pts * ref.time_base)
        tracks = dict(state.tracks)
        events: list[Event] = []
        found = payload.tracks.detections
        rows = zip(
            payload.tracks.track_ids.tolist(),
            found.labels.tolist(),
            found.scores.tolist(),
            found.boxes_xyxy.tolist(),
            strict=True,
        )
        for track_id, label, score, (x1, y1, x2, y2) in rows:
            known = tracks.get(track_id)
            if known is None:
                known = Sighting(
                    label=payload.label_names[label],
                    score=score,
                    top_score=score,
                    box_xyxy=(x1, y1, x2, y2),
                    frames=1,
                    first_seq=ref.seq,
                    last_seq=ref.seq,
                    first_wall_ns=ref.wall_ns,
                    last_wall_ns=ref.wall_ns,
                    last_time_s=time_s,
                    appeared=False,
                )
            else:
                known = replace(
                    known,
                    # Until it appears the label may change; then both its events carry the same one.
                    label=known.label if known.appeared else payload.label_names[label],
                    score=score,
                    top_score=max(score, known.top_score),
                    box_xyxy=(x1, y1, x2, y2),
                    frames=known.frames + 1,
                    last_seq=ref.seq,
                    last_wall_ns=ref.wall_ns,
                    last_time_s=time_s,
                )
            if not known.appeared and known.frames >= self.confirm_frames:
                known = replace(known, appeared=True)
                events.append(_event(EventKind.APPEAR, result, track_id, known))
            tracks[track_id] = known
        gone = [i for i, seen in tracks.items() if time_s - seen.last_time_s > self.gone_after_s]
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
    ref = result.ref
    evidence: dict[str, Any] = {
        "frames": seen.frames,
        "top_score": round(seen.top_score, 4),
        "first_seq": seen.first_seq,
        "last_seq": seen.last_seq,
        "first_wall_ns": seen.first_wall_ns,
        "last_wall_ns": seen.last_wall_ns,
    }
    return Event(
        id=event_id(ref.stream, ref.epoch, ref.seq, kind, track_id),
        kind=kind,
        stream=ref.stream,
        epoch=ref.epoch,
        seq=ref.seq,
        wall_ns=ref.wall_ns,
        track_id=track_id,
        attrs={
            "label": seen.label,
            "score": round(seen.score, 4),
            "box_xyxy": [round(v, 1) for v in seen.box_xyxy],
            "source_hw": list(result.source_hw),
        },
        evidence=evidence,
        latency_ms=result.timing.waterfall_ms(),
        provenance=result.provenance,
    )
