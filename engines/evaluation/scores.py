"""The numbers of a run: flat ones that anything can check, and beneath them by count, class, theme and condition.

The flat numbers are of the `clear` objects (matching.py says which). A number whose head the model lacks is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engines.evaluation.actions import tally, warm_up_frames
from engines.evaluation.alarms import Alarms, Rules, alarms
from engines.evaluation.baselines import TUNED, byte_track, iou_track
from engines.evaluation.calibration import calibration
from engines.evaluation.coco import Precision
from engines.evaluation.delays import falls
from engines.evaluation.events import event_figures
from engines.evaluation.facts import PERSON, Seen, Street, by_street
from engines.evaluation.identities import StreetTracks, follow_street, together
from engines.evaluation.keypoints import key_points
from engines.evaluation.matching import CLEAR_PIXELS, CLEAR_VISIBILITY
from engines.evaluation.semantic import joined
from engines.evaluation.split import SplitRun
from streamer.types import Detections, Tracks

FLAT = (
    *("ap50", "ap", "mask_miou", "hota", "hota_bytetrack", "hota_iou", "idf1", "mota"),
    *("semantic_miou", "pck10", "action_top1", "action_top1_shuffled"),
)
BASELINES: Mapping[str, Callable[[Sequence[Detections]], list[Tracks]]] = {
    "bytetrack": byte_track,
    "bytetrack_tuned": lambda frames: byte_track(frames, TUNED),
    "iou": iou_track,
}
CROWD = 8  # clear people in sight, in the mean of a street's frames, from which on it counts as crowded


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One count's numbers. Shares are 0..1; for AP a row of the engine counts with each of its class scores."""

    objects: int
    ap: float
    ap50: float
    ap50_by_class: dict[str, float]
    ap_by_class: dict[str, float]
    recall: float
    hota: float
    deta: float
    assa: float
    mota: float
    idf1: float
    switches: int
    false_positives: int
    misses: int
    mask_miou: float | None
    matched: int


class Measures:
    """What a run comes to. Comparing is done once; every part of the streets is then summed up from it.

    `staged` are the event streets: they count for the events and for nothing else. `rules` are those that serve;
    without them no events are told of.
    """

    def __init__(self, run: SplitRun, *, staged: SplitRun | None = None, rules: Rules | None = None) -> None:
        self.run = run
        self.staged = staged or SplitRun(run.labels, run.clips)
        self.frames = by_street(run.frames)
        self.fps = run.streets[0].config.fps if run.streets else 12.5
        self.warm_up = warm_up_frames(run.clips.frames, run.clips.stride_s, self.fps)
        found = [seen.rows for seen in run.frames]
        self._precision = {
            clear: Precision([s.true_boxes(s.hard & clear) for s in run.frames], found, run.labels)
            for clear in (True, False)
        }
        self._tracks = {
            clear: {i: follow_street(rows, clear=clear) for i, rows in self.frames.items()}
            for clear in (True, False)
        }
        self._others: dict[str, dict[int, StreetTracks]] = {
            name: {
                i: follow_street(rows, track([seen.detections for seen in rows]))
                for i, rows in self.frames.items()
            }
            for name, track in BASELINES.items()
        }

        streets = [*run.streets, *self.staged.streets]
        everywhere = {**self.frames, **by_street(self.staged.frames)}
        self.asked = rules is not None
        self.alarms = alarms(streets, everywhere, rules) if rules is not None else Alarms()
        self._ideal = alarms(streets, everywhere, rules, ideal=True) if rules is not None else Alarms()

    def events(self) -> dict[str, Any] | None:
        """The four kinds (events.py); None without rules."""
        fallen = falls(self.frames) if self.run.clips.labels else None
        staged = by_street(self.staged.frames)
        return event_figures(self.frames, staged, fallen, self.alarms, self._ideal) if self.asked else None

    @property
    def switched(self) -> set[tuple[int, int]]:
        """Street and frame of each identity switch on the clear count."""
        return {(i, frame) for i, tracks in self._tracks[True].items() for frame in tracks.switched}

    def accuracy(self, clear: bool, streets: Iterable[int] | None = None) -> Accuracy:
        """Detection, masks and tracks of these streets, or of all."""
        chosen = set(self.frames if streets is None else streets)
        places = [n for n, seen in enumerate(self.run.frames) if seen.street in chosen]
        precision = self._precision[clear].of(places)
        tracks = together(self._tracks[clear][i] for i in sorted(chosen))
        ious = _mask_ious((self.run.frames[n] for n in places), clear)
        return Accuracy(
            **{name: getattr(tracks, name) for name in tracks.__slots__},
            ap=precision.ap,
            ap50=precision.ap50,
            ap50_by_class=precision.ap50_by_class,
            ap_by_class=precision.ap_by_class,
            recall=precision.recall,
            mask_miou=_mean(ious),
            matched=len(ious),
        )

    def flat(self, streets: Iterable[int] | None = None) -> dict[str, float | None]:
        """The numbers of FLAT on these streets, or on all; all but the shuffled control, which is of a whole run."""
        chosen = sorted(self.frames if streets is None else streets)
        seen = [s for i in chosen for s in self.frames[i]]
        count = self.accuracy(True, chosen)
        confusion = joined([self.run.confusions[i] for i in chosen if i in self.run.confusions])
        return {
            "ap50": count.ap50,
            "ap": count.ap,
            "mask_miou": count.mask_miou,
            "hota": count.hota,
            **{f"hota_{name}": self.baseline(name, chosen)["hota"] for name in self._others},
            "idf1": count.idf1,
            "mota": count.mota,
            "semantic_miou": confusion.miou() if confusion is not None else None,
            "pck10": key_points(seen).pck(),
            "action_top1": tally(seen, self.warm_up, self.fps).top1() if self.run.clips.labels else None,
        }

    def baseline(self, name: str, streets: Sequence[int]) -> dict[str, Any]:
        """What one of BASELINES makes of these streets, on the clear count."""
        return asdict(together(self._others[name][i] for i in streets))

    def by_class(self) -> dict[str, dict[str, Any]]:
        """Of each class on the clear count: AP, the fit of its masks, and its tracks."""
        precision = self._precision[True].of()
        told: dict[str, dict[str, Any]] = {}
        for label, name in enumerate(self.run.labels):
            tracks = together(follow_street(rows, label=label) for rows in self.frames.values())
            # of what was not there nothing can be followed: that is no zero
            none = {} if tracks.objects else dict.fromkeys(("hota", "idf1", "mota"))
            told[name] = {
                "ap50": _none_for_nan(precision.ap50_by_class[name]),
                "ap": _none_for_nan(precision.ap_by_class[name]),
                "mask_miou": _mean(_mask_ious(self.run.frames, True, label)),
                **asdict(tracks),
                **none,
            }
        return told

    def by_condition(self, unseen_themes: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """The flat numbers of the streets that share a theme, a weather, an hour or a crowd; only what occurs."""
        people = {
            i: float(np.mean([((s.labels == PERSON) & ~s.hard).sum() for s in rows]))
            for i, rows in self.frames.items()
        }
        ways: dict[str, Callable[[Street], str]] = {
            "theme": lambda s: s.theme,
            "theme_in_training": lambda s: "never" if s.theme in unseen_themes else "yes",
            "weather": lambda s: s.weather,
            "hour": lambda s: "night" if s.night else "day",
            "camera": lambda s: "degraded" if s.degraded else "clean",
            "people": lambda s: "crowd" if people[s.index] >= CROWD else "few",
        }
        told: dict[str, dict[str, Any]] = {}
        for way, name_of in ways.items():
            groups: dict[str, list[int]] = {}
            for street in self.run.streets:
                if street.index in self.frames:
                    groups.setdefault(name_of(street), []).append(street.index)
            told[way] = {
                name: {"streets": len(streets), **self.flat(streets)}
                for name, streets in sorted(groups.items())
            }
        return told


def scores_of(run: SplitRun, unseen_themes: Sequence[str] = ()) -> dict[str, Any]:
    """Everything, as plain values for JSON, rounded to four places: the FLAT numbers first, then `details`."""
    return told(Measures(run), unseen_themes)


def told(measures: Measures, unseen_themes: Sequence[str] = ()) -> dict[str, Any]:
    """See `scores_of`."""
    run = measures.run
    everywhere = sorted(measures.frames)
    confusion = joined(list(run.confusions.values()))
    points = key_points(run.frames)
    order: dict[str, Any] | None = (
        {"chance": 0.5, "clip": run.order_clip.told(), "ring": run.order_ring.told()}
        if run.order_asked
        else None
    )
    flat = measures.flat()
    flat["action_top1_shuffled"] = order["clip"]["shuffled"] if order is not None else None
    tree = {
        **{name: flat[name] for name in FLAT},
        "count": f"clear: at least {CLEAR_PIXELS} pixels and {CLEAR_VISIBILITY:g} of the object visible",
        "streets": len(measures.frames),
        "frames": len(run.frames),
        "details": {
            "clear": asdict(measures.accuracy(True)),
            "everything": asdict(measures.accuracy(False)),
            "baselines": {name: measures.baseline(name, everywhere) for name in BASELINES},
            "by_class": measures.by_class(),
            **{f"by_{way}": rows for way, rows in measures.by_condition(unseen_themes).items()},
            "semantic": None
            if confusion is None
            else {
                "miou": confusion.miou(),
                "pixel_accuracy": confusion.accuracy(),
                "iou_by_class": confusion.iou_by_class(),
            },
            "key_points": points.details(),
            "actions": tally(run.frames, measures.warm_up, measures.fps).details()
            if run.clips.labels
            else None,
            "order": order,
            "falls": falls(measures.frames) if run.clips.labels else None,
            "events": measures.events(),
            "calibration": calibration(run.frames),
        },
    }
    return rounded(tree)


def rounded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Plain numbers for JSON, to four places; not-a-number becomes None."""
    return {str(name): _plain(value) for name, value in tree.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return rounded(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return None if value != value else round(value, 4)
    return value


def _mask_ious(frames: Iterable[Seen], clear: bool, label: int | None = None) -> list[float]:
    ious: list[float] = []
    for seen in frames:
        wanted = ~seen.hard if clear else np.ones(len(seen.hard), bool)
        if label is not None:
            wanted = wanted & (seen.labels == label)
        values = seen.mask_iou[wanted]
        ious += values[~np.isnan(values)].tolist()
    return ious


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _none_for_nan(value: float) -> float | None:
    return None if value != value else value
