"""`appear` and `leave` against the truth: who came, who went, and how long after it was told.

An object has come on the first frame on which it is clear, and is gone when nothing of it has been seen for GONE_S:
its going is dated to the last frame on which something was.

An `appear` is right if its track stands for an object of which none was told yet, then or up to RECENT_S before (a
track appears at its third sighting); a second one for the same object is wrong, and so is one for nothing at all. A
`leave` is right unless the object that its track stood for last is clear at that moment. Tracks that never stood for
anything were wrong when they appeared; their leaving is not counted again. What is hard to see is neither merit nor
fault: a hard object may appear early or leave early, and counts only if it is clear at some time. Who has been clear
for LATE_S without a word was missed, whatever is told later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engines.evaluation.live.compared import Compared
from engines.evaluation.live.tally import Tally
from streamer.accuracy import EventScore
from streamer.types import Event, EventKind

# The same second after which the presence rule lets a track leave; and how long a `leave` may come after that.
GONE_S = 1.0
LATE_S = 4.0
RECENT_S = 0.5
# A track is remembered this long after it last stood for something: its `leave` comes about a second later.
TRACK_KEPT_S = 30.0


@dataclass(slots=True)
class _Thing:
    """One object while it is there. Frames are the source's numbers.

    `came` is the first clear frame since it was last told gone (None: not clear yet), `came_s` its time; `told` whether
    an appear stands for it; `told_early` that it came before the object was clear; `missed` that it came too late;
    `told_gone` the frame of a right leave.
    """

    there_s: float
    there_frame: int
    clear: bool = False
    came: int | None = None
    came_s: float = 0.0
    told: bool = False
    told_early: bool = False
    missed: bool = False
    told_gone: int | None = None


class Comings:
    """Follows one epoch. `step` takes frames in order, each with the events told of it."""

    def __init__(self) -> None:
        self._things: dict[int, _Thing] = {}
        self._stood_for: dict[int, tuple[int, float]] = {}  # track -> (object, when it was last seen)
        self.appear, self.leave = Tally(), Tally()

    def step(self, frame: Compared, events: Sequence[Event]) -> None:
        """One frame."""
        names = frame.truth.ids.tolist()
        hard = dict(zip(names, frame.hard.tolist(), strict=True))
        self._look(frame, hard)
        self._stood_for |= {track: (names[row], frame.time_s) for track, row in frame.row_of_track.items()}
        for event in events:
            track = event.track_id
            if track is None or event.attrs.get("label") not in frame.truth.label_names:
                continue
            if event.kind is EventKind.APPEAR:
                self._appears(frame, self._stood_for.get(track))
            elif event.kind is EventKind.LEAVE:
                self._leaves(frame, self._stood_for.pop(track, None))
        self._settle(frame)

    def scores(self, now_s: float) -> dict[str, EventScore]:
        """Both kinds, over the last minutes."""
        return {"appear": self.appear.score(now_s), "leave": self.leave.score(now_s)}

    def _look(self, frame: Compared, hard: dict[int, bool]) -> None:
        number, time_s = frame.truth.number, frame.time_s
        for thing in self._things.values():
            thing.clear = False
        for name, is_hard in hard.items():
            thing = self._things.setdefault(name, _Thing(time_s, number))
            thing.there_s, thing.there_frame, thing.clear = time_s, number, not is_hard
            if not thing.clear or thing.came is not None:
                continue
            thing.came, thing.came_s, thing.told_gone = number, time_s, None
            if thing.told_early:
                self.appear.told(time_s, right=True)
                self.appear.there(time_s, 0)
                thing.told_early = False

    def _appears(self, frame: Compared, last: tuple[int, float] | None) -> None:
        if last is not None and frame.time_s - last[1] > RECENT_S:
            last = None
        thing = None if last is None else self._things.get(last[0])
        if thing is None or thing.told:
            self.appear.told(frame.time_s, right=False)
            return
        thing.told, thing.told_gone = True, None
        if thing.came is None:
            thing.told_early = True
        else:
            self.appear.told(frame.time_s, right=True)
            if not thing.missed:
                self.appear.there(frame.time_s, frame.truth.number - thing.came)

    def _leaves(self, frame: Compared, last: tuple[int, float] | None) -> None:
        if last is None:
            return
        thing = self._things.get(last[0])
        if thing is not None and thing.clear:
            self.leave.told(frame.time_s, right=False)
            return
        if thing is not None and thing.told and thing.told_early:
            thing.told = thing.told_early = False  # come and gone without ever having been clear
            return
        self.leave.told(frame.time_s, right=True)
        if thing is not None:
            thing.told, thing.missed, thing.came = False, False, None
            thing.told_gone = frame.truth.number

    def _settle(self, frame: Compared) -> None:
        """Who was missed is counted; who is gone for certain is counted and forgotten."""
        for name, thing in list(self._things.items()):
            away_s = frame.time_s - thing.there_s
            waits = thing.came is not None and not thing.told and not thing.missed
            if waits and (away_s > GONE_S or frame.time_s - thing.came_s > LATE_S):
                self.appear.there(frame.time_s, None)
                thing.missed = True
            if away_s <= GONE_S:
                continue
            if thing.told_gone is not None:
                self.leave.there(frame.time_s, max(0, thing.told_gone - thing.there_frame))
            elif thing.told and not thing.told_early:
                if away_s <= LATE_S:
                    continue  # its leave may still come
                self.leave.there(frame.time_s, None)
            del self._things[name]
        if len(self._stood_for) > 64:
            self._stood_for = {
                track: last
                for track, last in self._stood_for.items()
                if frame.time_s - last[1] <= TRACK_KEPT_S
            }
