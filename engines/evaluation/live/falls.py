"""Falls against what is told of the tracks: the offline evaluation's definitions (see delays.py), frame by frame.

A true fall begins on the frame on which a person who was seen before begins to fall, and lasts while the person falls
or lies; it counts once the person is clear on a frame of it. A told fall is a run of frames on which a track's
likeliest action is `fall` or `lie`, with gaps of less than GRACE frames. Each is counted as soon as it is known to be
right, or else when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engines.evaluation.delays import BEGINS, GRACE, LASTS
from engines.evaluation.live.compared import Compared
from engines.evaluation.live.tally import Tally
from streamer.accuracy import EventScore

PERSON = "person"
FORGET_FRAMES = 1000  # a person out of sight for so long begins anew


@dataclass(slots=True, eq=False)
class _Fall:
    """A person's fall: first and last frame, whether it goes on and could be seen, the frame of the first answer."""

    person: int
    first: int
    last: int
    goes_on: bool = True
    clear: bool = False
    noticed: int | None = None
    counted: bool = False


@dataclass(slots=True)
class _Told:
    """A track's run of fallen answers. `wrong` if it stood for nobody, or for a clear person on their feet."""

    last: int
    wrong: bool = False
    counted: bool = False
    falls: list[_Fall] = field(default_factory=list)


class Falls:
    """Follows one epoch. `score` is None until something was told of what a track does: no head, no judgement."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[str, int]] = {}  # person -> (what it did last, when)
        self._falls: list[_Fall] = []  # those that may still be told
        self._told: dict[int, _Told] = {}
        self._heard = False
        self._tally = Tally()

    def step(self, frame: Compared) -> None:
        """One frame, in order."""
        self._look(frame)
        self._listen(frame)
        self._count(frame)

    def score(self, now_s: float) -> EventScore | None:
        """The last minutes before stream time `now_s`."""
        return self._tally.score(now_s) if self._heard else None

    def _look(self, frame: Compared) -> None:
        truth, now = frame.truth, frame.truth.number
        if PERSON not in truth.label_names:
            return
        persons = truth.labels == truth.label_names.index(PERSON)
        for row in np.flatnonzero(persons & (truth.actions >= 0)).tolist():
            person, action = int(truth.ids[row]), frame.action_of(row)
            before = self._before.get(person, (BEGINS, 0))[0]
            self._before[person] = action, now
            if action == BEGINS and before not in LASTS:
                self._falls.append(_Fall(person, now, now))
            for fall in self._falls:
                if fall.person == person and fall.goes_on:
                    self._goes_on(fall, action, now, clear=not frame.hard[row])
        if len(self._before) > 256:
            self._before = {p: last for p, last in self._before.items() if now - last[1] < FORGET_FRAMES}

    @staticmethod
    def _goes_on(fall: _Fall, action: str, now: int, *, clear: bool) -> None:
        fall.goes_on = action in LASTS
        if fall.goes_on:
            fall.last = now
            fall.clear |= clear

    def _listen(self, frame: Compared) -> None:
        now, row_of = frame.truth.number, frame.row_of_track
        for track, action in frame.told.items():
            self._heard = True
            if action.name not in LASTS:
                continue
            run = self._told.setdefault(track, _Told(now))
            run.last = now
            row = row_of.get(track)
            if row is None:
                run.wrong = True
                continue
            run.wrong |= not frame.hard[row] and frame.action_of(row) not in LASTS
            for fall in self._falls:
                if fall.person == frame.truth.ids[row] and now <= fall.last + GRACE:
                    fall.noticed = now if fall.noticed is None else fall.noticed
                    if fall not in run.falls:
                        run.falls.append(fall)

    def _count(self, frame: Compared) -> None:
        """First what was told (a run is remembered for GRACE frames), then what was there."""
        now, time_s = frame.truth.number, frame.time_s
        for track, run in list(self._told.items()):
            right = any(fall.clear for fall in run.falls)
            over = now - run.last >= GRACE
            if not run.counted and (right or (over and run.wrong)):
                self._tally.told(time_s, right=right)
                run.counted = True
            if over:
                del self._told[track]
        for fall in list(self._falls):
            over = now > fall.last + GRACE
            if fall.clear and not fall.counted and (over or fall.noticed is not None):
                self._tally.there(time_s, None if fall.noticed is None else fall.noticed - fall.first)
                fall.counted = True
            if over:
                self._falls.remove(fall)
