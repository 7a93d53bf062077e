"""Intrusions and cars on the wrong way against what a stream's own zones and lines tell, frame by frame.

The offline evaluation's definitions (see judge.py): the same `Judge` follows the stream. A kind that none of its zones
or lines tells has no score, and what happens meanwhile is not held against it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engines.evaluation.judge import Judge, Moment
from engines.evaluation.live.compared import Compared
from engines.evaluation.live.tally import Tally
from streamer.accuracy import EventScore
from streamer.types import INTRUSION, WRONG_WAY, Event

KINDS = (INTRUSION, WRONG_WAY)


class LiveAlarms:
    """Follows one epoch."""

    def __init__(self) -> None:
        self._judge = Judge()
        self._tallies = {kind: Tally() for kind in KINDS}

    def step(self, frame: Compared, events: Sequence[Event], asked: Collection[str]) -> None:
        """One frame, in order, with the events told of it; `asked` are the kinds that the stream's regions tell."""
        truth = frame.truth
        ids = truth.ids.tolist()
        told = [
            (e.attrs["alarm"], e.track_id) for e in events if "alarm" in e.attrs and e.track_id is not None
        ]
        moment = Moment(
            frame=truth.number,
            hard=dict(zip(ids, frame.hard.tolist(), strict=True)),
            going_on=[(kind, who) for kind, who in truth.events if kind in asked and kind in KINDS],
            stands={track: ids[row] for track, row in frame.row_of_track.items()},
            alarms=[(kind, track) for kind, track in told if kind in asked],
            on_edge=truth.on_edge,
        )
        judged, known = self._judge.step(moment)
        for alarm in judged:
            self._tallies[alarm.kind].told(frame.time_s, right=alarm.verdict == "right")
        for event in known:
            self._tallies[event.kind].there(frame.time_s, event.delay_frames)

    def scores(self, now_s: float, asked: Collection[str]) -> dict[str, EventScore | None]:
        """Both kinds, over the last minutes; None for one that is not asked."""
        return {kind: tally.score(now_s) if kind in asked else None for kind, tally in self._tallies.items()}
