"""`enter` and `exit` of a track in a zone, `dwell` once when it stays: every enter gets exactly one exit.

Where a track stands is the middle of its box's lower edge. A box flickers, so a track has entered after `enter_frames`
sightings inside in a row, and has left after `exit_s` of stream time without one (outside or out of sight), when the
zone is given up and when its epoch ends. So one that stands on the edge enters once and not at each flicker. An `enter`
into a forbidden zone says so: it is an alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from streamer.geometry import feet_unit, in_polygon
from streamer.regions import Zone
from streamer.rules.telling import Look, Span, looks, stream_s, told
from streamer.types import INTRUSION, Event, EventKind, FrameRef, Result


@dataclass(frozen=True, slots=True)
class Stay:
    """One track in one zone. `span` is of its sightings inside; `look` of its last sighting anywhere, but that the
    label stays once it has entered."""

    look: Look
    span: Span
    entered: bool = False
    dwelt: bool = False


Stays = Mapping[int, Stay]


@dataclass(frozen=True, slots=True)
class ZoneState:
    """The stays of one epoch by zone and track, and the last result (None before the first)."""

    stays: Mapping[str, Stays] = field(default_factory=dict)
    last: Result | None = None


@dataclass(frozen=True, slots=True)
class Zones:
    """The rule. `wanted` says which zones a stream has now; a zone that moves keeps its name and its stays."""

    wanted: Callable[[str], Sequence[Zone]]
    enter_frames: int = 3
    exit_s: float = 1.0

    def __post_init__(self) -> None:
        if self.enter_frames < 1 or self.exit_s < 0:
            raise ValueError(f"enter_frames {self.enter_frames}, exit_s {self.exit_s}")

    def initial_state(self) -> ZoneState:
        return ZoneState()

    def step(self, state: ZoneState, result: Result) -> tuple[ZoneState, Sequence[Event]]:
        """What this result brings, zone by zone; a stay too short to be sure goes without a word."""
        zones = self.wanted(result.ref.stream)
        if not zones and not state.stays:
            return ZoneState(), []
        seen, now_s = looks(result), stream_s(result.ref)
        feet = feet_unit(result.payload.tracks.detections.boxes_xyxy, result.source_hw)
        events: list[Event] = []
        stays: dict[str, Stays] = {}
        for zone in zones:
            inside = in_polygon(feet, np.array(zone.points, np.float64)).tolist()
            standing = {
                track
                for (track, look), there in zip(seen.items(), inside, strict=True)
                if there and (not zone.labels or look.label in zone.labels)
            }
            met = _met(state.stays.get(zone.name, {}), seen, standing, result.ref, now_s)
            stays[zone.name], happened = self._step(zone, met, standing, result, now_s)
            events += happened
        for name in [name for name in state.stays if name not in stays]:
            events += _exits(name, state.stays[name], result)
        return ZoneState(stays, result), events

    def finish(self, state: ZoneState) -> Sequence[Event]:
        """An exit, at the last frame there was, for each track that is still in a zone."""
        if state.last is None:
            return []
        return [event for name, stays in state.stays.items() for event in _exits(name, stays, state.last)]

    def inside(self, state: ZoneState) -> Mapping[str, int]:
        """How many tracks are in each zone."""
        return {name: sum(stay.entered for stay in stays.values()) for name, stays in state.stays.items()}

    def _step(
        self, zone: Zone, met: Stays, standing: set[int], result: Result, now_s: float
    ) -> tuple[Stays, list[Event]]:
        """The zone's stays after this result, and what happened; `standing` are those inside."""
        after: dict[int, Stay] = {}
        events: list[Event] = []
        for track, stay in met.items():
            if track not in standing and now_s - stay.span.last_s > self.exit_s:
                events += _exits(zone.name, {track: stay}, result)
                continue
            if track in standing and not stay.entered and stay.span.frames >= self.enter_frames:
                stay = replace(stay, entered=True)
                alarm = {"alarm": INTRUSION} if zone.forbidden else {}
                events.append(_event(EventKind.ENTER, zone.name, track, stay, result, alarm))
            if track in standing and stay.entered and not stay.dwelt and zone.dwell_s is not None:
                stay = replace(stay, dwelt=now_s - stay.span.first_s >= zone.dwell_s)
                if stay.dwelt:
                    more = {"dwell_s": zone.dwell_s}
                    events.append(_event(EventKind.DWELL, zone.name, track, stay, result, more))
            after[track] = stay
        return after, events


def _met(before: Stays, seen: Mapping[int, Look], standing: set[int], ref: FrameRef, now_s: float) -> Stays:
    """The stays with this frame's sightings put in; one that was not sure yet ends when seen outside."""
    met: dict[int, Stay] = {}
    for track, stay in before.items():
        look = seen.get(track)
        if look is None:
            met[track] = stay
            continue
        inside = track in standing
        if inside or stay.entered:
            look = look.named(stay.look.label) if stay.entered else look
            span = stay.span.with_one_more(ref, now_s) if inside else stay.span
            met[track] = Stay(look, span, stay.entered, stay.dwelt)
    for track, look in seen.items():
        if track in standing and track not in met:
            met[track] = Stay(look, Span.begun(ref, now_s))
    return met


def _exits(zone: str, stays: Stays, result: Result) -> list[Event]:
    """Of those that had entered."""
    return [
        _event(EventKind.EXIT, zone, track, stay, result) for track, stay in stays.items() if stay.entered
    ]


def _event(
    kind: EventKind,
    zone: str,
    track: int,
    stay: Stay,
    result: Result,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Event:
    attrs = {"zone": zone, **more}
    return told(kind, result, track, stay.look, attrs=attrs, evidence=stay.span.evidence(), region=zone)
