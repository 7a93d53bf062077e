"""How well tracks keep identities: MOTA and IDF1 by motmetrics, HOTA by hota.py, street by street and together.

A track may stand for an object of its own label: for MOTA and IDF1 if their boxes overlap by at least half, for HOTA at
each of its thresholds. On the `clear` count difficult objects are left out, and with them the tracks that stand for
them, as MOTChallenge does with its distractors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import motmetrics
import numpy as np
from numpy.typing import NDArray

from engines.evaluation.facts import Seen
from engines.evaluation.hota import HotaCounts, HotaSequence, summed
from engines.evaluation.matching import MATCH_IOU, likeness, partners
from streamer.types import F32, I64, Tracks

_WANTED = ("num_objects", "mota", "idf1", "num_switches", "num_false_positives", "num_misses", "num_matches")


@dataclass(frozen=True, slots=True)
class TrackScores:
    """What tracks are worth. Shares are 0..1 (MOTA may be below 0), the rest are counts of boxes."""

    objects: int
    hota: float
    deta: float
    assa: float
    mota: float
    idf1: float
    switches: int
    false_positives: int
    misses: int


@dataclass(frozen=True, slots=True)
class StreetTracks:
    """One street's sums, which `together` adds up; `switched` are the frames in which an identity was lost."""

    mot: Any  # motmetrics' own partial sums
    hota: HotaCounts
    switched: tuple[int, ...]


def follow_street(
    frames: Sequence[Seen],
    tracks: Sequence[Tracks] | None = None,
    *,
    clear: bool = True,
    label: int | None = None,
) -> StreetTracks:
    """Compare one street's tracks (those of the answer, or others of the same frames) with the truth.

    `label` asks for one class alone.
    """
    mot = motmetrics.MOTAccumulator(auto_id=True)
    hota = HotaSequence()
    for n, seen in enumerate(frames):
        own = tracks is None
        told = seen.tracks if tracks is None else tracks[n]
        alike = seen.alike if own else likeness(seen.boxes_xyxy, seen.labels, told.detections)
        partner = seen.partner if own else partners(alike)
        left_out = seen.hard if clear else np.zeros(len(seen.ids), bool)
        objects, shown = ~left_out, np.ones(len(told), bool)
        shown[partner[left_out & (partner >= 0)]] = False
        if label is not None:
            objects &= seen.labels == label
            shown &= told.detections.labels == label
        _add(mot, hota, seen.ids[objects], told.track_ids[shown], alike[np.ix_(objects, shown)])
    events = mot.mot_events
    switched = events.index[events.Type == "SWITCH"].get_level_values(0)
    partial = motmetrics.metrics.create().compute(
        mot, metrics=list(_WANTED), return_dataframe=False, return_cached=True
    )
    return StreetTracks(partial, hota.counts(), tuple(frames[int(i)].frame for i in switched))


def _add(mot: Any, hota: HotaSequence, ids: I64, track_ids: I64, alike: F32) -> None:
    distance: NDArray[np.float64] = np.where(alike >= MATCH_IOU, 1.0 - alike, np.nan)
    mot.update(ids, track_ids, distance)
    hota.add(ids, track_ids, alike)


def together(parts: Iterable[StreetTracks]) -> TrackScores:
    """The numbers of several streets as one."""
    parts = list(parts)
    sums = motmetrics.metrics.create().compute_overall(
        [p.mot for p in parts], metrics=list(_WANTED), return_dataframe=False
    )
    hota = summed(p.hota for p in parts).score()
    return TrackScores(
        objects=int(sums["num_objects"]),
        hota=hota.hota,
        deta=hota.deta,
        assa=hota.assa,
        mota=_share(sums["mota"]),
        idf1=_share(sums["idf1"]),
        switches=int(sums["num_switches"]),
        false_positives=int(sums["num_false_positives"]),
        misses=int(sums["num_misses"]),
    )


def _share(value: float) -> float:
    """Where there is no object motmetrics divides by none: then a share is 0."""
    return float(value) if np.isfinite(value) else 0.0
