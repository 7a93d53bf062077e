"""Where each track of one stream was in the last seconds, from results: the path that an event's evidence tells."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from streamer.types import Result

PATH_S: Final = 10.0
# Ten seconds at 30 pictures a second; of a faster stream less time.
MOST_SIGHTINGS: Final = 300
MOST_TRACKS: Final = 256
# A track may be told gone for this long after it was seen (rules take 1 s of stream time).
LEAVES_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """One track in one frame; box px in the source picture."""

    seq: int
    wall_ns: int
    time_s: float
    box_xyxy: tuple[float, float, float, float]
    score: float

    def view(self) -> dict[str, Any]:
        """As a path says it."""
        return {
            "wall_ns": self.wall_ns,
            "box_xyxy": [round(v, 1) for v in self.box_xyxy],
            "score": round(self.score, 4),
        }


@dataclass(slots=True)
class _Epoch:
    number: int
    newest_s: float = 0.0
    swept_s: float = 0.0
    tracks: dict[int, deque[Sighting]] = field(default_factory=dict)


class Trails:
    """The tracks of one stream in its present epoch and the one before. One thread at a time."""

    def __init__(self) -> None:
        self._epochs: deque[_Epoch] = deque(maxlen=2)

    def add(self, result: Result) -> None:
        """One more frame's tracks."""
        ref = result.ref
        if not self._epochs or ref.epoch > self._epochs[-1].number:
            self._epochs.append(_Epoch(ref.epoch))
        epoch = self._of(ref.epoch)
        if epoch is None:
            return
        time_s = float(ref.pts * ref.time_base)
        epoch.newest_s = time_s
        found = result.payload.tracks.detections
        rows = zip(
            result.payload.tracks.track_ids.tolist(),
            found.boxes_xyxy.tolist(),
            found.scores.tolist(),
            strict=True,
        )
        for track_id, (x1, y1, x2, y2), score in rows:
            trail = epoch.tracks.get(track_id)
            if trail is None:
                if len(epoch.tracks) >= MOST_TRACKS:
                    del epoch.tracks[min(epoch.tracks, key=lambda t: epoch.tracks[t][-1].seq)]
                trail = epoch.tracks[track_id] = deque(maxlen=MOST_SIGHTINGS)
            trail.append(Sighting(ref.seq, ref.wall_ns, time_s, (x1, y1, x2, y2), score))
        if time_s - epoch.swept_s > 1.0:
            epoch.swept_s = time_s
            epoch.tracks = {
                t: trail for t, trail in epoch.tracks.items() if time_s - trail[-1].time_s < PATH_S
            }

    def path(self, epoch: int, track_id: int, seq: int) -> list[Sighting]:
        """The track's sightings in the last ten seconds up to frame `seq`, oldest first."""
        there = self._of(epoch)
        trail = () if there is None else there.tracks.get(track_id, ())
        until = [one for one in trail if one.seq <= seq]
        return [one for one in until if one.time_s > until[-1].time_s - PATH_S - 1e-6]

    def last_seqs(self) -> frozenset[int]:
        """In which frames the tracks of the present epoch were seen last that may still be told gone."""
        if not self._epochs:
            return frozenset()
        now = self._epochs[-1]
        return frozenset(
            trail[-1].seq
            for trail in now.tracks.values()
            if now.newest_s - trail[-1].time_s < LEAVES_WITHIN_S
        )

    def _of(self, epoch: int) -> _Epoch | None:
        return next((one for one in self._epochs if one.number == epoch), None)
