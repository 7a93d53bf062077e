"""Alarms against what happens: which was right, which event was missed, and how many frames late it was told.

An event (somebody trespasses, a car drives the wrong way) goes on while the truth says so; pauses of up to GRACE
frames are part of it. It counts if its object is clear on one of its frames, from the first of these on: before it
nobody could have seen it. An alarm is right if its track stands for the object of an event (then, or up to RECENT
frames before), from EARLY frames before the event to GRACE after it, and is the first to tell of it. Another alarm for
the same event is a double, which is not right: whoever watches is called twice. An alarm whose track stands for nobody,
or for a clear object that does nothing of the kind, is false. What is hard to see, or on
the very edge of the forbidden ground, is neither merit nor fault.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

GRACE = 12  # frames, of the source: about the second after which a track has left a zone
EARLY = 6
RECENT = 6
Verdict = Literal["right", "double", "false"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame. `hard` says of each true object in sight whether it is too hard to see; `going_on` are kind and object
    of the events; `stands` the object that each track stands for; `alarms` kind and track of those told of it;
    `on_edge` the objects of which nobody can say whether they do it.
    """

    frame: int
    hard: Mapping[int, bool]
    going_on: Collection[tuple[str, int]]
    stands: Mapping[int, int]
    alarms: Iterable[tuple[str, int]]
    on_edge: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """One alarm, and what it was."""

    kind: str
    track: int
    frame: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Known:
    """One event that counts: the first frame on which it could be seen, and that of its right alarm, if any."""

    kind: str
    who: int
    first: int
    noticed: int | None

    @property
    def delay_frames(self) -> int | None:
        """None for a missed one; one that was told before its object was clear is not late."""
        return None if self.noticed is None else max(0, self.noticed - self.first)


@dataclass(slots=True)
class _Event:
    """An event that goes on or may still be told. `clear` is its first clear frame, `counted` once it is `Known`."""

    kind: str
    who: int
    began: int
    last: int
    clear: int | None = None
    alarms: list[tuple[int, int]] = field(default_factory=list)  # track and frame of those not judged yet
    noticed: int | None = None
    counted: bool = False


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An alarm without an event as yet: one that begins within EARLY frames makes it right."""

    kind: str
    track: int
    frame: int
    who: int | None
    spared: bool  # hard to see, or on the edge


class Judge:
    """Follows one street or one epoch; what it keeps is bounded by what goes on."""

    def __init__(self) -> None:
        self._events: list[_Event] = []
        self._waiting: list[_Waiting] = []
        self._stood_for: dict[int, tuple[int, int, bool]] = {}  # track: object, frame, whether it was hard

    def step(self, moment: Moment) -> tuple[list[Judged], list[Known]]:
        """The next frame; what is certain now."""
        now = moment.frame
        self._stood_for = {t: last for t, last in self._stood_for.items() if now - last[1] <= RECENT}
        self._stood_for |= {t: (who, now, moment.hard[who]) for t, who in moment.stands.items()}
        self._go_on(moment)
        for kind, track in moment.alarms:
            who, _, hard = self._stood_for.get(track, (None, now, False))
            self._waiting.append(_Waiting(kind, track, now, who, hard or who in moment.on_edge))
        judged = self._hear(now)
        return judged + self._right_ones(), self._settled(now)

    def finish(self) -> tuple[list[Judged], list[Known]]:
        """The street or epoch is over: what is still open is judged as it stands."""
        judged = self._hear(None) + self._right_ones()
        known = self._settled(None)
        self._waiting, self._events = [], []
        return judged, known

    def _go_on(self, moment: Moment) -> None:
        now = moment.frame
        going_on = {(event.kind, event.who): event for event in self._events if now - event.last <= GRACE}
        for kind, who in sorted(moment.going_on):
            event = going_on.get((kind, who))
            if event is None:
                event = _Event(kind, who, now, now)
                self._events.append(event)
            event.last = now
            if event.clear is None and not moment.hard.get(who, True):
                event.clear = now

    def _hear(self, now: int | None) -> list[Judged]:
        """Alarms find their events; those that waited long enough are false, unless their object was hard."""
        judged: list[Judged] = []
        still: list[_Waiting] = []
        for alarm in self._waiting:
            mine = [
                e
                for e in self._events
                if (e.kind, e.who) == (alarm.kind, alarm.who) and alarm.frame - e.last <= GRACE
            ]
            # An event that nobody was told of comes first: it may be the second one of the same object.
            mine.sort(key=lambda e: (e.noticed is not None or bool(e.alarms), e.began))
            if mine:
                mine[0].alarms.append((alarm.track, alarm.frame))
            elif alarm.who is None or now is None or now - alarm.frame >= EARLY:
                if alarm.who is None or not alarm.spared:
                    judged.append(Judged(alarm.kind, alarm.track, alarm.frame, "false"))
            else:
                still.append(alarm)
        self._waiting = still
        return judged

    def _right_ones(self) -> list[Judged]:
        """The verdicts on alarms of events that count by now."""
        judged: list[Judged] = []
        for event in self._events:
            if event.clear is None:
                continue
            for track, frame in event.alarms:
                first = event.noticed is None
                event.noticed = frame if event.noticed is None else event.noticed
                judged.append(Judged(event.kind, track, frame, "right" if first else "double"))
            event.alarms = []
        return judged

    def _settled(self, now: int | None) -> list[Known]:
        """Events that were noticed, and those that are over without; the latter are forgotten."""
        known: list[Known] = []
        kept: list[_Event] = []
        for event in self._events:
            over = now is None or now - event.last > GRACE
            if event.clear is not None and not event.counted and (over or event.noticed is not None):
                known.append(Known(event.kind, event.who, event.clear, event.noticed))
                event.counted = True
            if not over:
                kept.append(event)
        self._events = kept
        return known
