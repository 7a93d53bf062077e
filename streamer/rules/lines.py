"""`cross` when a track goes over a line, with its direction: `in` from the line's left to its right, `out` back.

A box jitters, so nobody crosses by standing on the line: a track is on a side once it was seen there `settle_frames`
times in a row (what is seen within the dead band around the line counts for neither side), and crosses when it changes
sides through the line, not around its end. So the crossings of one track come in turns, and in and out balance. The
dead band grows with the object's box, as its jitter does. Over a line that is one-way, `out` is an alarm and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamer.geometry import beside_line, feet_unit
from streamer.regions import Line, Point
from streamer.rules.telling import Look, looks, stream_s, told
from streamer.types import WRONG_WAY, Event, EventKind, FrameRef, Result

IN, OUT = "in", "out"


@dataclass(frozen=True, slots=True)
class Walk:
    """One track beside one line. Sides: 1 right, -1 left, 0 not known; `off` and `along` as `beside_line` says.

    `side` is where it was for certain, `near` where it was last beyond the dead band, `near_frames` for how many such
    sightings in a row. `half` is on which half of the picture it was last, dead band or not, and `change` the first
    frame since it changed that; `through` whether it did so between the line's ends.
    """

    off: float
    along: float
    half: int
    last_s: float
    side: int = 0
    near: int = 0
    near_frames: int = 0
    change: FrameRef | None = None
    through: bool = False


Walks = Mapping[int, Walk]
Place = tuple[str, Point, Point]


@dataclass(frozen=True, slots=True)
class LineState:
    """The walks of one epoch by line (its name and ends: one that was moved begins anew) and track."""

    walks: Mapping[Place, Walks] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lines:
    """The rule. `wanted` says which lines a stream has now.

    The dead band reaches `band` of the object's height to each side, and at least `least_band` of the picture's. A
    track that was not seen for `forget_s` seconds is forgotten.
    """

    wanted: Callable[[str], Sequence[Line]]
    settle_frames: int = 2
    band: float = 0.05
    least_band: float = 0.004
    forget_s: float = 5.0

    def __post_init__(self) -> None:
        if self.settle_frames < 1 or self.band < 0 or self.least_band < 0:
            raise ValueError(f"settle_frames {self.settle_frames}, band {self.band}, {self.least_band}")

    def initial_state(self) -> LineState:
        return LineState()

    def step(self, state: LineState, result: Result) -> tuple[LineState, Sequence[Event]]:
        """The crossings that this result brings, line by line."""
        lines = self.wanted(result.ref.stream)
        if not lines:
            return LineState(), []
        h, w = result.source_hw
        now_s = stream_s(result.ref)
        aspect = np.array([w / h, 1.0])  # in units of the picture's height both ways
        boxes = result.payload.tracks.detections.boxes_xyxy
        feet = feet_unit(boxes, result.source_hw) * aspect
        bands = np.maximum(self.least_band, (boxes[:, 3] - boxes[:, 1]) / h * self.band).tolist()
        seen = looks(result)
        events: list[Event] = []
        after: dict[Place, Walks] = {}
        for line in lines:
            place = line.name, line.start, line.end
            known = state.walks.get(place, {})
            walks = {track: walk for track, walk in known.items() if now_s - walk.last_s <= self.forget_s}
            start, end = (np.array(point, np.float64) * aspect for point in (line.start, line.end))
            off, along = (values.tolist() for values in beside_line(feet, start, end))
            for row, (track, look) in enumerate(seen.items()):
                if line.labels and look.label not in line.labels:
                    continue
                walk, direction = self._walk(
                    walks.get(track), off[row], along[row], bands[row], result.ref, now_s
                )
                walks[track] = walk
                if direction:
                    events.append(_event(line, direction, walk, track, look, result))
            after[place] = walks
        return LineState(after), events

    def finish(self, state: LineState) -> Sequence[Event]:
        """Who has not crossed by the end of the epoch has not crossed."""
        return []

    def _walk(
        self, before: Walk | None, off: float, along: float, band: float, ref: FrameRef, now_s: float
    ) -> tuple[Walk, str]:
        """The walk after one more sighting, and the direction if it has just crossed."""
        half = (off > 0) - (off < 0)
        if before is None:
            before = Walk(off, along, 0, now_s)
        half = half or before.half
        change, through = before.change, before.through
        if before.half and half != before.half:
            # Whether it went through the line is seen where its straight way since the last sighting meets it.
            share = before.off / (before.off - off)
            through = 0.0 <= before.along + share * (along - before.along) <= 1.0
            change = ref
        near, frames, side = before.near, before.near_frames, before.side
        if half and abs(off) >= band:
            frames = frames + 1 if near == half else 1
            near = half
            if frames >= self.settle_frames:
                side = half
        crossed = through and before.side != 0 and side != before.side
        # Made anew, not with `replace`, which takes three times as long: this is done for each object of each frame.
        walk = Walk(off, along, half, now_s, side, near, frames, change, through)
        return walk, (IN if side > 0 else OUT) if crossed else ""


def _event(line: Line, direction: str, walk: Walk, track: int, look: Look, result: Result) -> Event:
    change = walk.change
    assert change is not None  # it changed sides
    evidence = {"crossed_seq": change.seq, "crossed_wall_ns": change.wall_ns}
    attrs = {"line": line.name, "direction": direction}
    if line.one_way and direction == OUT:
        attrs["alarm"] = WRONG_WAY
    return told(EventKind.CROSS, result, track, look, attrs=attrs, evidence=evidence, region=line.name)
