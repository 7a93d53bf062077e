"""Frames made by hand for the metrics: what is true, and what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engines.evaluation.baselines import detections_of
from engines.evaluation.coco import PictureBoxes
from engines.evaluation.facts import Seen
from engines.evaluation.matching import likeness, partners
from streamer.types import Action, Detections, Perception, Tracks
from streamer.world import ACTIONS, KEYPOINTS, LABELS

Box = tuple[float, float, float, float]


def row_of(n: int, size: float = 20) -> list[Box]:
    """n squares beside each other, `size` px wide and as far apart."""
    return [(2 * size * i, 10, 2 * size * i + size, 10 + size) for i in range(n)]


def seen(
    frame: int,
    true: Sequence[Box],
    told: Sequence[Box],
    *,
    ids: Sequence[int] | None = None,
    track_ids: Sequence[int] | None = None,
    labels: Sequence[int] | None = None,
    told_labels: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    ages: Sequence[int] | None = None,
    hard: Sequence[bool] | None = None,
    doing: Sequence[str] | None = None,
    actions: Sequence[tuple[int | None, str]] = (),
    points: Any = None,
    told_points: Any = None,
    point_names: tuple[str, ...] = KEYPOINTS,
    street: int = 0,
) -> Seen:
    """One frame; persons unless labels say otherwise, identities 1, 2, … , `actions` as (track, name)."""
    n, m = len(true), len(told)
    boxes = np.array(true, np.float32).reshape(-1, 4)
    found = Detections(
        np.array(told, np.float32).reshape(-1, 4),
        np.array([0.9] * m if scores is None else scores, np.float32),
        np.array([0] * m if told_labels is None else told_labels, np.int64),
    )
    label = np.array([0] * n if labels is None else labels, np.int64)
    alike = likeness(boxes, label, found)
    tracks = Tracks(
        found,
        np.array(range(1, m + 1) if track_ids is None else track_ids, np.int64),
        np.array([99] * m if ages is None else ages, np.int64),
    )
    payload = Perception(
        tracks,
        LABELS,
        keypoints=told_points,
        keypoint_names=point_names,
        actions=tuple(Action(name, 0.9, track, 0, 0) for track, name in actions),
    )
    class_scores = np.zeros((m, len(LABELS)), np.float32)
    class_scores[np.arange(m), found.labels] = found.scores
    return Seen(
        street=street,
        frame=frame,
        boxes_xyxy=boxes,
        labels=label,
        ids=np.array(range(1, n + 1) if ids is None else ids, np.int64),
        actions=np.array([-1] * n if doing is None else [ACTIONS.index(a) for a in doing], np.int64),
        keypoints=np.zeros((n, len(KEYPOINTS), 3), np.float32) if points is None else points,
        hard=np.array([False] * n if hard is None else hard, bool),
        payload=payload,
        alike=alike,
        partner=partners(alike),
        mask_iou=np.full(n, np.nan, np.float32),
        rows=PictureBoxes(found.boxes_xyxy, found.labels, found.scores),
        detections=detections_of(found.boxes_xyxy, class_scores),
        cells_wrong=0.0,
    )
