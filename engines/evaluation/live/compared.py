"""One shown result beside the truth of its frame: who stands for whom, by the offline evaluation's own rules.

A source may know other classes than a model. What a model calls by a name that the source has no word for (a bench, a
backpack) is neither merit nor fault, since nobody knows whether it is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.matching import CLEAR_PIXELS, CLEAR_VISIBILITY, likeness, partners
from streamer.types import F32, I64, Action, Detections, FrameTruth, Perception


@dataclass(frozen=True, slots=True)
class Compared:
    """N true objects and the M tracks whose labels the source knows.

    `hard` bool (N,): too little of it is seen to be asked for. Tracks: track_ids i64 (M,), labels i64 (M,) as the truth
    counts them, scores f32 (M,). `alike` f32 (N, M): IoU, 0 where labels differ; `partner` i64 (N,): the row of the
    track that stands for an object, or -1. `time_s` is the stream's.
    """

    time_s: float
    truth: FrameTruth
    hard: NDArray[np.bool_]
    track_ids: I64
    labels: I64
    scores: F32
    alike: F32
    partner: I64
    payload: Perception

    @classmethod
    def of(cls, time_s: float, truth: FrameTruth, payload: Perception) -> Compared:
        """Compare one answer with the truth."""
        tracks, found = payload.tracks, payload.tracks.detections
        labels = _their_places(payload.label_names, truth.label_names)[found.labels]
        known = np.flatnonzero(labels >= 0)
        ours = Detections(found.boxes_xyxy[known], found.scores[known], labels[known])
        alike = likeness(truth.boxes_xyxy, truth.labels, ours)
        return cls(
            time_s=time_s,
            truth=truth,
            hard=(truth.pixels < CLEAR_PIXELS) | (truth.visibility < CLEAR_VISIBILITY),
            track_ids=tracks.track_ids[known],
            labels=ours.labels,
            scores=ours.scores,
            alike=alike,
            partner=partners(alike),
            payload=payload,
        )

    @property
    def asked(self) -> tuple[I64, I64]:
        """Rows of the clear objects, and of the tracks that do not stand for one that is hard."""
        shown = np.ones(len(self.track_ids), bool)
        shown[self.partner[self.hard & (self.partner >= 0)]] = False
        return np.flatnonzero(~self.hard), np.flatnonzero(shown)

    @property
    def row_of_track(self) -> dict[int, int]:
        """The row of the object that each track stands for; tracks that stand for nothing are not in it."""
        return {
            int(self.track_ids[column]): row
            for row, column in enumerate(self.partner.tolist())
            if column >= 0
        }

    @property
    def told(self) -> dict[int, Action]:
        """The likeliest action of each track of which one is told."""
        likeliest: dict[int, Action] = {}
        for action in self.payload.actions:  # the likeliest first
            if action.track_id is not None:
                likeliest.setdefault(action.track_id, action)
        return likeliest

    def action_of(self, row: int) -> str:
        """What the object of a row really does; empty for nothing that has a name."""
        action = int(self.truth.actions[row])
        return self.truth.action_names[action] if action >= 0 else ""


@lru_cache(maxsize=64)
def _their_places(ours: tuple[str, ...], theirs: tuple[str, ...]) -> I64:
    """For each of our names its place among theirs, or -1."""
    return np.array([theirs.index(name) if name in theirs else -1 for name in ours], np.int64)
