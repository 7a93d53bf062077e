"""The last half minute of one stream against the truth: a `Measure`.

Work is done when a frame comes (its overlaps, its matches); a question only sorts and sums what the window holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from engines.evaluation.live.alarms import LiveAlarms
from engines.evaluation.live.comings import Comings
from engines.evaluation.live.compared import Compared
from engines.evaluation.live.falls import Falls
from engines.evaluation.live.identity import FramePairs, Switches, pairs_and_switches, rolling_hota
from engines.evaluation.live.precision import FrameHits, average_precision
from streamer.accuracy import Accuracy
from streamer.types import Event, FrameTruth, Result

WINDOW_S = 30.0
MOST_FRAMES = 400


class RollingAccuracy:
    """One epoch of one stream. The window is `seconds` of stream time and at most `frames` frames.

    Events are rarer and have a window of their own (tally.py). `alarms` says which kinds of them the stream's zones and
    lines tell now; the others have no score.
    """

    def __init__(
        self,
        seconds: float = WINDOW_S,
        frames: int = MOST_FRAMES,
        *,
        alarms: Callable[[str], Collection[str]] = lambda stream: (),
    ) -> None:
        self._seconds = seconds
        self._frames: deque[tuple[float, FrameHits, FramePairs, int]] = deque(maxlen=frames)
        self._switches = Switches()
        self._comings, self._falls, self._alarms = Comings(), Falls(), LiveAlarms()
        self._alarms_of, self._told_here = alarms, frozenset[str]()
        self._scored = self._switched = 0

    def add(self, result: Result, truth: FrameTruth, events: Sequence[Event]) -> None:
        """The next frame, and the events told since the one before."""
        time_s = float(result.ref.pts * result.ref.time_base)
        frame = Compared.of(time_s, truth, result.payload)
        pairs, switches = pairs_and_switches(frame, self._switches)
        self._frames.append((time_s, FrameHits.of(frame), pairs, switches))
        while time_s - self._frames[0][0] > self._seconds:
            self._frames.popleft()
        self._comings.step(frame, events)
        self._falls.step(frame)
        self._told_here = frozenset(self._alarms_of(result.ref.stream))
        self._alarms.step(frame, events, self._told_here)
        self._scored += 1
        self._switched += switches

    def accuracy(self) -> Accuracy:
        """The window's numbers."""
        times, hits, pairs, switches = zip(*self._frames, strict=True) if self._frames else ((),) * 4
        precision = average_precision(hits)
        hota = rolling_hota(pairs)
        now_s = times[-1] if times else 0.0
        return Accuracy(
            frames=len(times),
            seconds=now_s - times[0] if times else 0.0,
            objects=sum(len(frame.ids) for frame in pairs),
            ap=precision[0] if precision else None,
            ap50=precision[1] if precision else None,
            hota=hota.hota if hota else None,
            deta=hota.deta if hota else None,
            assa=hota.assa if hota else None,
            switches=sum(switches),
            switches_total=self._switched,
            events={
                **self._comings.scores(now_s),
                "fall": self._falls.score(now_s),
                **self._alarms.scores(now_s, self._told_here),
            },
            scored_total=self._scored,
        )
