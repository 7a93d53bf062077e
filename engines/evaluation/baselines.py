"""What everybody else would do with the same boxes: ByteTrack, and plain overlap from frame to frame.

Both get the model's own detections with the identity thrown away, as the user of a detector would take them: every row
of the graph that is no empty slot (the rows of tracks and those of newborns alike, so all the boxes that the model's
own tracks are made of are among them), each with its likeliest class and that class's score, from score .1 on, after
the usual suppression of doubles by class at IoU .7.

ByteTrack is `engines.tasks.associate`, which equals the kept library's id by id (tests/golden/make_bytetrack.py). It is
run twice: with its published thresholds, and with those that did best on validation streets, as a careful user would
find them. A query model's unsure rows are mostly doubles and not half-hidden objects, so its second matching, which is
its idea, does harm here. Chosen with earlier weights on 6 validation streets of 100 frames (HOTA .640): published .605;
patience 5 .610; and with `unsure` .2 .621, .3 .631, .4 .638, .5 (no second matching) .647. Suppression of doubles at
IoU .4, .5, .6, .7, .8: .599, .610, .605, .610, .601. The IoU tracker with patience 5, 12, 30: .634, .629, .625.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from engines.tasks.associate import AssociationRules, Associator
from engines.tasks.heads import surest
from streamer.geometry import iou_matrix
from streamer.types import F32, Detections, Tracks, frozen_array

LOWEST_SCORE = 0.1  # ByteTrack's own: what is less sure is of no use to it
DOUBLES_IOU = 0.7
TUNED = AssociationRules(unsure=0.5, patience=5)


def detections_of(boxes_xyxy: F32, scores: F32) -> Detections:
    """A picture's detections from rows `boxes_xyxy` (R, 4) px and class scores (R, C), the surest first."""
    labels = scores.argmax(axis=1).astype(np.int64)
    best = scores.max(axis=1, initial=0.0).astype(np.float32)
    solid = (boxes_xyxy[:, 2] > boxes_xyxy[:, 0]) & (boxes_xyxy[:, 3] > boxes_xyxy[:, 1])
    rows = np.flatnonzero((best >= LOWEST_SCORE) & solid)
    rows = rows[surest(boxes_xyxy[rows], best[rows], labels[rows], DOUBLES_IOU)]
    return Detections(frozen_array(boxes_xyxy[rows]), frozen_array(best[rows]), frozen_array(labels[rows]))


def byte_track(frames: Sequence[Detections], rules: AssociationRules | None = None) -> list[Tracks]:
    """ByteTrack over one sequence, by default with its published thresholds."""
    associator = Associator(rules)
    state = associator.initial_state()
    told: list[Tracks] = []
    for detections in frames:
        tracks, state = associator.associate(detections, state)
        told.append(tracks)
    return told


class IouTracker:
    """The plainest tracker: a detection from `sure` on belongs to the track whose last box it overlaps most.

    Pairs are found by the Hungarian method and overlap by more than `overlap`. A detection left over from `birth` on
    starts a track; one not seen for more than `patience` frames is forgotten. Bochinski et al. 2017, with assignment
    instead of greed.
    """

    def __init__(
        self, *, sure: float = 0.5, birth: float = 0.6, overlap: float = 0.3, patience: int = 5
    ) -> None:
        self.sure, self.birth, self.overlap, self.patience = sure, birth, overlap, patience
        self._boxes: F32 = np.zeros((0, 4), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._miss = np.zeros(0, np.int64)
        self._ages = np.zeros(0, np.int64)
        self._next_id = 1

    def see(self, detections: Detections) -> Tracks:
        """The next frame's detections that belong to a track, with its identity."""
        wanted = np.flatnonzero(detections.scores >= self.sure)
        boxes = detections.boxes_xyxy[wanted]
        overlap = iou_matrix(self._boxes, boxes)
        rows, found = linear_sum_assignment(np.where(overlap > self.overlap, overlap, 0.0), maximize=True)
        good = overlap[rows, found] > self.overlap
        rows, found = rows[good], found[good]
        self._miss += 1
        self._ages += 1
        self._boxes[rows] = boxes[found]
        self._miss[rows] = 0
        ids, ages = np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
        ids[found], ages[found] = self._ids[rows], self._ages[rows]
        born = np.flatnonzero((ids == 0) & (detections.scores[wanted] >= self.birth))
        ids[born] = self._next_id + np.arange(len(born))
        self._next_id += len(born)
        kept = self._miss <= self.patience
        none = np.zeros(len(born), np.int64)
        self._boxes = np.concatenate([self._boxes[kept], boxes[born]])
        self._ids = np.concatenate([self._ids[kept], ids[born]])
        self._miss = np.concatenate([self._miss[kept], none])
        self._ages = np.concatenate([self._ages[kept], none])
        told = ids > 0
        at = wanted[told]
        return Tracks(
            Detections(
                frozen_array(detections.boxes_xyxy[at]),
                frozen_array(detections.scores[at]),
                frozen_array(detections.labels[at]),
            ),
            frozen_array(ids[told]),
            frozen_array(ages[told]),
        )


def iou_track(frames: Sequence[Detections]) -> list[Tracks]:
    """`IouTracker` over one sequence."""
    tracker = IouTracker()
    return [tracker.see(detections) for detections in frames]
