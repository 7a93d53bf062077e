"""What tasks share that speak of the whole picture and know no objects. Numpy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.errors import EngineError
from streamer.ports import EngineSpec
from streamer.types import F32, Detections, Fit, Tracks, frozen_array

R = TypeVar("R")

NO_TRACKS = Tracks(
    Detections(
        frozen_array(np.zeros((0, 4), np.float32)),
        frozen_array(np.zeros(0, np.float32)),
        frozen_array(np.zeros(0, np.int64)),
    ),
    frozen_array(np.zeros(0, np.int64)),
    frozen_array(np.zeros(0, np.int64)),
)


def fit_of(spec: EngineSpec) -> Fit:
    """How the model wants its pictures laid in; STRETCH where its config does not say."""
    said = str(spec.meta.get("config", {}).get("fit", Fit.STRETCH))
    try:
        return Fit(said)
    except ValueError:
        raise EngineError(
            f"fit {said!r} is unknown", where=spec.name, mend=f"one of {', '.join(Fit)}"
        ) from None


def rules_of(spec: EngineSpec, task: str, kind: type[R]) -> R:
    """A task's rules from the model's card (`meta[task]`), a dataclass whose fields have defaults.

    Raises EngineError for a name that is no rule.
    """
    given: Mapping[str, Any] = spec.meta.get(task, {})
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(given) - set(known)):
        raise EngineError(
            f"unknown {task} rule {unknown[0]!r}", where=spec.name, mend=f"the rules are {', '.join(known)}"
        )
    return kind(**given)


def likeliest(logits: F32, top: int, min_score: float) -> tuple[NDArray[np.int64], F32]:
    """Of logits (C,) the `top` classes of the highest probability, if it is `min_score` or more: classes, then scores,
    both (n,), the likeliest first; of equals the first in the list."""
    shifted = np.exp(logits - logits.max())
    scores = (shifted / shifted.sum()).astype(np.float32)
    order = np.argsort(-scores, kind="stable")[:top]
    order = order[scores[order] >= min_score]
    return order, scores[order]
