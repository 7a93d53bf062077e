"""Events: was a fall noticed, how many frames after it began, and how often was one cried that was none.

A true fall begins on the frame in which a person's action turns to `fall` and lasts while the person falls or lies. It
counts if the person is clear on at least one of its frames and was seen before it. A told fall is a run of frames in
which a track's action is `fall` or `lie`, gaps of less than GRACE frames included. It is right if, at some frame of it,
the track stands for a person within a true fall (or GRACE frames after it); a fall is noticed if some told one is right
about it. The delay counts frames from its beginning to the first answer for that person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.evaluation.actions import told_of
from engines.evaluation.facts import PERSON, Seen
from streamer.world import ACTIONS

BEGINS = "fall"
LASTS = ("fall", "lie")
GRACE = 12  # frames


@dataclass(slots=True)
class TrueFall:
    """One person's fall: first and last frame, whether it could be seen, and the first frame it was noticed in."""

    person: int
    first: int
    last: int
    clear: bool = False
    noticed: int | None = None


@dataclass(slots=True)
class ToldFall:
    """A track's run of fallen answers, and whether a person that falls was under it."""

    track: int
    first: int
    last: int
    right: bool = False
    counts: bool = (
        False  # as a false one, if it is not right: it stood for nobody, or for a clear person on their feet
    )


def falls(streets: Mapping[int, Sequence[Seen]]) -> dict[str, Any]:
    """Precision, recall and delays over these streets; shares are None where nothing was there or told."""
    delays: list[int] = []
    there = told = right = 0
    for frames in streets.values():
        true = [fall for fall in true_falls(frames) if fall.clear]
        cried = told_falls(frames, true)
        there += len(true)
        delays += [max(0, fall.noticed - fall.first) for fall in true if fall.noticed is not None]
        told += len(cried)
        right += sum(fall.right for fall in cried)
    return {
        "falls": there,
        "noticed": len(delays),
        "told": told,
        "recall": len(delays) / there if there else None,
        "precision": right / told if told else None,
        "delay_frames_mean": float(np.mean(delays)) if delays else None,
        "delay_frames_median": float(np.median(delays)) if delays else None,
        "delay_frames_p90": float(np.percentile(delays, 90)) if delays else None,
    }


def true_falls(frames: Sequence[Seen]) -> list[TrueFall]:
    """The falls of one street's people, without those under way when the person is first seen."""
    falls: list[TrueFall] = []
    under_way: dict[int, TrueFall] = {}
    before: dict[int, str] = {}
    for seen in frames:
        doing: dict[int, str] = {}
        for row in np.flatnonzero((seen.labels == PERSON) & (seen.actions >= 0)).tolist():
            person, action = int(seen.ids[row]), ACTIONS[seen.actions[row]]
            doing[person] = action
            if action == BEGINS and before.get(person, BEGINS) not in LASTS:
                under_way[person] = TrueFall(person, seen.frame, seen.frame)
                falls.append(under_way[person])
            elif action not in LASTS:
                under_way.pop(person, None)
            if person in under_way:
                under_way[person].last = seen.frame
                under_way[person].clear |= not bool(seen.hard[row])
        before |= doing
    return falls


def told_falls(frames: Sequence[Seen], true: Sequence[TrueFall]) -> list[ToldFall]:
    """The falls that were told in one street; marks in `true` when each was noticed."""
    told: list[ToldFall] = []
    latest: dict[int, ToldFall] = {}
    for seen in frames:
        person_of = {
            int(seen.tracks.track_ids[c]): row for row, c in enumerate(seen.partner.tolist()) if c >= 0
        }
        for track, action in told_of(seen).items():
            if action.name not in LASTS:
                continue
            run = latest.get(track)
            if run is None or seen.frame - run.last >= GRACE:
                run = latest[track] = ToldFall(track, seen.frame, seen.frame)
                told.append(run)
            run.last = seen.frame
            row = person_of.get(track)
            if row is None:
                run.counts = True
                continue
            real = ACTIONS[seen.actions[row]] if seen.actions[row] >= 0 else ""
            run.counts |= not seen.hard[row] and real not in LASTS
            for fall in true:
                if fall.person == seen.ids[row] and fall.first <= seen.frame <= fall.last + GRACE:
                    run.right = True
                    fall.noticed = seen.frame if fall.noticed is None else fall.noticed
    return [run for run in told if run.counts or run.right]
