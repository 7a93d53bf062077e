"""How right a stream's answers were lately, where its source knows the truth. All of it is on the synthetic world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# What such numbers are about, wherever they are shown: never somebody's camera.
WORLD = "synthetic"
DIGITS = 4


@dataclass(frozen=True, slots=True)
class EventScore:
    """One kind of event over the last minutes: `right` of `told`, `noticed` of `there`.

    Each share is None where there is nothing to divide by. `delay_frames`, of the source, is the mean over the noticed:
    from when it happened to when it was told.
    """

    told: int
    right: int
    there: int
    noticed: int
    delay_frames: float | None

    @property
    def precision(self) -> float | None:
        return self.right / self.told if self.told else None

    @property
    def recall(self) -> float | None:
        return self.noticed / self.there if self.there else None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The tracks shown in the last `frames` scored frames, which span `seconds`, against the truth.

    Shares are 0..1, None while there was no clear object. `objects` counts the clear ones, frame by frame; `switches`
    are identity switches among these frames, `switches_total` since the worker began. `events` by kind: None for one
    that the model has no head for, or the stream no zone or line that tells it. `scored_total` and `unscored_total`
    count frames since the worker began; the latter came faster than they could be scored.
    """

    frames: int
    seconds: float
    objects: int
    ap: float | None
    ap50: float | None
    hota: float | None
    deta: float | None
    assa: float | None
    switches: int
    switches_total: int
    events: Mapping[str, EventScore | None] = field(default_factory=dict)
    scored_total: int = 0
    unscored_total: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, rounded; says which world they are of."""
        told = {
            kind: None
            if score is None
            else {
                **asdict(score),
                "delay_frames": _rounded(score.delay_frames),
                "precision": _rounded(score.precision),
                "recall": _rounded(score.recall),
            }
            for kind, score in self.events.items()
        }
        flat = {name: _rounded(value) for name, value in asdict(self).items() if name != "events"}
        return {"world": WORLD, **flat, "events": told}


def _rounded(value: float | int | None) -> float | int | None:
    return round(value, DIGITS) if isinstance(value, float) else value
