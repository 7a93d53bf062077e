"""What rules see of an object, for how long they have seen it, and the one place where events are made of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamer.types import Event, EventKind, FrameRef, Result, event_id


@dataclass(frozen=True, slots=True)
class Look:
    """One object in one frame. `box_xyxy` px in the source picture."""

    label: str
    score: float
    box_xyxy: tuple[float, float, float, float]

    def named(self, label: str) -> Look:
        """The same under this label."""
        return self if label == self.label else Look(label, self.score, self.box_xyxy)


@dataclass(frozen=True, slots=True)
class Span:
    """A run of sightings: how many, and the first and the last of them. `_s` is stream time, `_wall_ns` Unix time."""

    frames: int
    first_seq: int
    last_seq: int
    first_wall_ns: int
    last_wall_ns: int
    first_s: float
    last_s: float

    @classmethod
    def begun(cls, ref: FrameRef, now_s: float) -> Span:
        """One sighting; `now_s` is its frame's `stream_s`."""
        return cls(1, ref.seq, ref.seq, ref.wall_ns, ref.wall_ns, now_s, now_s)

    def with_one_more(self, ref: FrameRef, now_s: float) -> Span:
        # Made anew, not with `replace`, which takes three times as long: this is done for each object of each frame.
        return Span(
            self.frames + 1,
            self.first_seq,
            ref.seq,
            self.first_wall_ns,
            ref.wall_ns,
            self.first_s,
            now_s,
        )

    def evidence(self) -> dict[str, Any]:
        """As an event carries it."""
        return {
            "frames": self.frames,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "first_wall_ns": self.first_wall_ns,
            "last_wall_ns": self.last_wall_ns,
        }


def stream_s(ref: FrameRef) -> float:
    """The frame's own time in seconds: a replayed file gives the same as the live one did."""
    return float(ref.pts * ref.time_base)


def looks(result: Result) -> dict[int, Look]:
    """The objects of a result by track, in its order."""
    payload = result.payload
    found = payload.tracks.detections
    rows = zip(
        payload.tracks.track_ids.tolist(),
        found.labels.tolist(),
        found.scores.tolist(),
        found.boxes_xyxy.tolist(),
        strict=True,
    )
    return {
        track: Look(payload.label_names[label], score, (x1, y1, x2, y2))
        for track, label, score, (x1, y1, x2, y2) in rows
    }


def told(
    kind: EventKind,
    result: Result,
    track_id: int,
    look: Look,
    *,
    attrs: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    region: str = "",
) -> Event:
    """The event that `result` brings about an object. `attrs` come on top of its look; `region` is in the id as well,
    where one frame may tell the same of a track for several zones or lines."""
    ref = result.ref
    return Event(
        id=event_id(ref.stream, ref.epoch, ref.seq, kind, track_id, region),
        kind=kind,
        stream=ref.stream,
        epoch=ref.epoch,
        seq=ref.seq,
        wall_ns=ref.wall_ns,
        track_id=track_id,
        attrs={
            "label": look.label,
            "score": round(look.score, 4),
            "box_xyxy": [round(v, 1) for v in look.box_xyxy],
            "source_hw": list(result.source_hw),
            **(attrs or {}),
        },
        evidence=evidence or {},
        latency_ms=result.timing.waterfall_ms(),
        provenance=result.provenance,
    )
