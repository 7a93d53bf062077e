"""Alarms on the streets' own forbidden ground and one-way lanes: what a user with such zones and lines is told.

The forbidden ground is a zone, each lane has a line across it in the middle of the picture, as a user draws them; both
lie on the ground, so where the camera sways they move with it. The rules that serve make events of the model's tracks,
and `Judge` compares them with what happens. The same is done with the true boxes as tracks: what no tracker can better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import cv2
import numpy as np

from engines.evaluation.facts import Seen, Street
from engines.evaluation.judge import Judge, Judged, Known, Moment
from streamer.regions import LEAST_AREA, LEAST_LENGTH, Line, Zone
from streamer.types import Detections, Event, FrameRef, Hw, Perception, Result, Timing, Tracks
from streamer.world import LABELS
from streamer.world.truth import CAR, PERSON

Watched = tuple[Result, tuple[Zone, ...], tuple[Line, ...]]
# The rules that serve: each frame of one street with the zones and lines it has then -> the events of each frame.
Rules = Callable[[Iterable[Watched]], Iterator[Sequence[Event]]]
BEGIN_NS = 10**18
UNTIMED = Timing(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Alarms:
    """What was told and what happened, by street."""

    judged: Mapping[int, Sequence[Judged]] = field(default_factory=dict)
    known: Mapping[int, Sequence[Known]] = field(default_factory=dict)

    def of(self, kind: str) -> tuple[list[Judged], list[Known]]:
        """Those of one kind, of all streets."""
        return (
            [one for street in self.judged.values() for one in street if one.kind == kind],
            [one for street in self.known.values() for one in street if one.kind == kind],
        )

    def mistakes(self) -> dict[tuple[int, int], int]:
        """How many events were missed, told twice or told for nothing, by street and frame; a missed one stands where
        it could first be seen."""
        count: dict[tuple[int, int], int] = {}
        wrong = [(i, one.frame) for i, of in self.judged.items() for one in of if one.verdict != "right"]
        missed = [(i, one.first) for i, of in self.known.items() for one in of if one.noticed is None]
        for at in wrong + missed:
            count[at] = count.get(at, 0) + 1
        return count


def alarms(
    streets: Sequence[Street], frames: Mapping[int, Sequence[Seen]], rules: Rules, *, ideal: bool = False
) -> Alarms:
    """What the rules tell of these streets' tracks; with `ideal` the true boxes are the tracks."""
    judged, known = {}, {}
    for street in streets:
        if street.index in frames:
            judged[street.index], known[street.index] = _follow(street, frames[street.index], rules, ideal)
    return Alarms(judged, known)


def _follow(
    street: Street, frames: Sequence[Seen], rules: Rules, ideal: bool
) -> tuple[list[Judged], list[Known]]:
    hw = street.config.height, street.config.width
    fps = Fraction(street.config.fps).limit_denominator(1001)
    judge, judged, known = Judge(), [], []
    watched = ((_result(street, seen, hw, fps, ideal), *regions_of(seen, hw)) for seen in frames)
    for seen, events in zip(frames, rules(watched), strict=True):
        told = [
            (e.attrs["alarm"], e.track_id) for e in events if "alarm" in e.attrs and e.track_id is not None
        ]
        more_judged, more_known = judge.step(_moment(seen, told, ideal))
        judged += more_judged
        known += more_known
    last_judged, last_known = judge.finish()
    return judged + last_judged, known + last_known


def _moment(seen: Seen, told: Sequence[tuple[str, int]], ideal: bool) -> Moment:
    ids = seen.ids.tolist()
    if ideal:
        stands = {who: who for who in ids}
    else:
        stands = {
            int(seen.tracks.track_ids[column]): ids[row]
            for row, column in enumerate(seen.partner.tolist())
            if column >= 0
        }
    hard = dict(zip(ids, seen.hard.tolist(), strict=True))
    going_on = [(e.kind, e.id) for e in seen.events if e.kind in ASKED and e.id is not None]
    return Moment(seen.frame, hard, going_on, stands, told, seen.on_edge)


ASKED = ("intrusion", "wrong_way")  # the kinds that zones and lines tell


def regions_of(seen: Seen, hw: Hw) -> tuple[tuple[Zone, ...], tuple[Line, ...]]:
    """The zone and the lines of this frame, as far as they lie in the picture."""
    height, width = hw
    size = np.array([width, height], np.float32)
    zones: list[Zone] = []
    if len(seen.forbidden_xy):
        picture = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
        area, corners = cv2.intersectConvexConvex(seen.forbidden_xy / size, picture)
        if area > LEAST_AREA and corners is not None:
            points = tuple((float(x), float(y)) for x, y in np.clip(corners.reshape(-1, 2), 0, 1))
            zones.append(Zone(name="forbidden", points=points, labels=(LABELS[PERSON],), forbidden=True))
    lines: list[Line] = []
    for i, ends in enumerate(seen.gates_xy / size):
        (x1, y1), (x2, y2) = np.clip(ends, 0, 1).tolist()
        inside = bool(((ends[:, 0] >= 0) & (ends[:, 0] <= 1)).all())
        if inside and np.hypot(x2 - x1, y2 - y1) > LEAST_LENGTH:
            name = f"lane {i}"
            lines.append(Line(name=name, start=(x1, y1), end=(x2, y2), labels=(LABELS[CAR],), one_way=True))
    return tuple(zones), tuple(lines)


def _result(street: Street, seen: Seen, hw: Hw, fps: Fraction, ideal: bool) -> Result:
    """The answer, or the truth in its stead, as the pipeline hands it to the rules."""
    at_ns = BEGIN_NS + round(seen.frame / fps * 10**9)
    ref = FrameRef(f"street-{street.index}", 0, seen.frame, seen.frame, 1 / fps, 0, at_ns)
    return Result(ref, hw, _ideal(seen) if ideal else seen.payload, UNTIMED)


def _ideal(seen: Seen) -> Perception:
    n = len(seen.ids)
    found = Detections(seen.boxes_xyxy, np.ones(n, np.float32), seen.labels)
    return Perception(Tracks(found, seen.ids, np.ones(n, np.int64)), LABELS)
