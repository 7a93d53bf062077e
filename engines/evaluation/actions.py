"""What each person does: top-1 of the action told of a track, against that of the person it stands for.

Counted over clear persons with an action, frame by frame, for whom a track stands. A track younger than the model's
clip cannot know yet: such frames are told apart (`young_share`). An older track of which nothing is said is wrong.
`by_seconds` tells the answers apart by how long the person had been at it: what has just begun cannot be seen yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from engines.evaluation.facts import PERSON, Seen
from streamer.types import Action
from streamer.world import ACTIONS


def warm_up_frames(clip_frames: int, clip_stride_s: float, fps: float) -> int:
    """How many frames old a track must be before its clip of `clip_frames` pictures is full."""
    return int(np.ceil((clip_frames - 1) * clip_stride_s * fps - 1e-6))


def told_of(seen: Seen) -> dict[int, Action]:
    """The likeliest action of each track of which one is told."""
    told: dict[int, Action] = {}
    for action in seen.payload.actions:  # the likeliest first
        if action.track_id is not None:
            told.setdefault(action.track_id, action)
    return told


SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0)  # where the spans of `by_seconds` begin


class ActionTally:
    """Counts answers by true action: `confusion[true][answered]`, of tracks old enough; and the young ones apart.

    Frames of a street must come in order; `fps` is their rate.
    """

    def __init__(self, warm_up: int, fps: float) -> None:
        self.warm_up, self.fps = warm_up, fps
        self._since: dict[
            tuple[int, int], tuple[int, int]
        ] = {}  # street, person: action, frame it was first seen in
        self._spans = np.zeros((len(SECONDS), 2), np.int64)  # asked, right
        self.confusion: dict[str, dict[str, int]] = {}
        self.young = self.young_told = self.young_right = self.silent = 0
        self.scene_told = self.scene_right = 0

    def add(self, seen: Seen) -> None:
        """One frame."""
        told = told_of(seen)
        doing = {ACTIONS[a] for a in seen.actions[(seen.labels == PERSON) & (seen.actions >= 0)]}
        for action in seen.payload.actions:
            if action.track_id is None:
                self.scene_told += 1
                self.scene_right += action.name in doing
        lasted = self._lasted(seen)
        for row in np.flatnonzero(seen.met & (seen.labels == PERSON) & (seen.actions >= 0)).tolist():
            column = int(seen.partner[row])
            real = ACTIONS[seen.actions[row]]
            said = told.get(int(seen.tracks.track_ids[column]))
            if seen.tracks.ages[column] < self.warm_up:
                self.young += 1
                self.young_told += said is not None
                self.young_right += said is not None and said.name == real
                continue
            self.silent += said is None
            span = int(np.searchsorted(SECONDS, lasted[row] / self.fps, side="right")) - 1
            self._spans[span] += 1, said is not None and said.name == real
            answers = self.confusion.setdefault(real, {})
            name = said.name if said is not None else ""
            answers[name] = answers.get(name, 0) + 1

    def _lasted(self, seen: Seen) -> list[int]:
        """For how many frames each object has been doing what it does, as far as it was in sight."""
        lasted = []
        for person, action in zip(seen.ids.tolist(), seen.actions.tolist(), strict=True):
            before = self._since.get((seen.street, person))
            if before is None or before[0] != action:
                before = self._since[seen.street, person] = action, seen.frame
            lasted.append(seen.frame - before[1])
        return lasted

    @property
    def asked(self) -> int:
        """Person frames of tracks old enough."""
        return sum(sum(answers.values()) for answers in self.confusion.values())

    def top1(self) -> float | None:
        """The share that is right; None if nobody was asked."""
        right = sum(answers.get(real, 0) for real, answers in self.confusion.items())
        return right / self.asked if self.asked else None

    def details(self) -> dict[str, Any]:
        """Counts and shares for the report; the mean over classes weighs rare actions like common ones."""
        by_class = {
            name: self.confusion[name].get(name, 0) / sum(self.confusion[name].values())
            for name in ACTIONS
            if name in self.confusion
        }
        everybody = self.asked + self.young
        return {
            "top1": self.top1(),
            "by_seconds": {
                f"{low:g}": {"asked": int(asked), "top1": right / asked if asked else None}
                for low, (asked, right) in zip(SECONDS, self._spans.tolist(), strict=True)
            },
            "mean_of_classes": float(np.mean(list(by_class.values()))) if by_class else None,
            "by_class": by_class,
            "asked": self.asked,
            "silent": self.silent,
            "young_share": self.young / everybody if everybody else None,
            "young_told": self.young_told,
            "young_top1": self.young_right / self.young_told if self.young_told else None,
            "scene_precision": self.scene_right / self.scene_told if self.scene_told else None,
            "confusion": {real: dict(sorted(a.items())) for real, a in sorted(self.confusion.items())},
        }


def tally(frames: Iterable[Seen], warm_up: int, fps: float) -> ActionTally:
    """The actions of these frames, each street's in order."""
    counts = ActionTally(warm_up, fps)
    for seen in frames:
        counts.add(seen)
    return counts
