"""The four kinds of events in figures: how many happened, were noticed and told, and how late.

Falls are told by the action head (delays.py says how they are counted), intrusions and cars on the wrong way by the
served rules (alarms.py, judge.py). A left bag cannot be told: what the models find has no class for bags. Its figures
are null, and so are those of falls for a model without an action head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engines.evaluation.alarms import Alarms
from engines.evaluation.delays import true_falls
from engines.evaluation.facts import Seen
from engines.evaluation.judge import Judged, Known
from streamer.world import EVENTS, LABELS

FIGURES = (
    *("happened", "noticed", "told", "recall", "precision"),
    *("delay_frames_mean", "delay_frames_median", "delay_frames_p90"),
)
RULE = {
    "intrusion": "a zone with `forbidden: true` over the forbidden ground",
    "wrong_way": "a line with `one_way: true` across each lane, in the middle of the picture",
}


def figures(judged: Sequence[Judged], known: Sequence[Known]) -> dict[str, Any]:
    """FIGURES of one kind, and how many alarms were doubles; shares are None where nothing was there or told."""
    delays = [one.delay_frames for one in known if one.delay_frames is not None]
    right = sum(one.verdict == "right" for one in judged)
    return {
        "happened": len(known),
        "noticed": len(delays),
        "told": len(judged),
        "doubled": sum(one.verdict == "double" for one in judged),
        "recall": len(delays) / len(known) if known else None,
        "precision": right / len(judged) if judged else None,
        "delay_frames_mean": float(np.mean(delays)) if delays else None,
        "delay_frames_median": float(np.median(delays)) if delays else None,
        "delay_frames_p90": float(np.percentile(delays, 90)) if delays else None,
    }


def event_figures(
    split: Mapping[int, Sequence[Seen]],
    staged: Mapping[int, Sequence[Seen]],
    falls: Mapping[str, Any] | None,
    told: Alarms,
    ideal: Alarms,
) -> dict[str, Any]:
    """By kind (EVENTS). Falls are those of the split's streets, of which `falls` is told; the others are of these and
    the staged ones together, of which `told` is what became of the model's tracks and `ideal` of the true boxes."""
    both = [*split.values(), *staged.values()]
    tree: dict[str, Any] = {"streets": len(split), "event_streets": len(staged)}
    for kind in EVENTS:
        if kind == "fall":
            tree[kind] = _fall(split, falls)
        elif kind in RULE:
            ceiling = figures(*ideal.of(kind))
            tree[kind] = {
                "asked": True,
                **figures(*told.of(kind)),
                "rule": RULE[kind],
                "of_true_boxes": {name: ceiling[name] for name in FIGURES},
            }
        else:
            happened = sum(
                len({(e.id, e.start_frame) for s in f for e in s.events if e.kind == kind}) for f in both
            )
            why = f"no model has a class for bags: it finds {', '.join(LABELS)}"
            tree[kind] = _not_asked(happened, why)
    return tree


def _fall(split: Mapping[int, Sequence[Seen]], falls: Mapping[str, Any] | None) -> dict[str, Any]:
    if falls is None:
        happened = sum(fall.clear for frames in split.values() for fall in true_falls(frames))
        return _not_asked(happened, "the model has no action head")
    return {"asked": True, **{name: falls["falls" if name == "happened" else name] for name in FIGURES}}


def _not_asked(happened: int, why: str) -> dict[str, Any]:
    return {"asked": False, **dict.fromkeys(FIGURES), "happened": happened, "why": why}
