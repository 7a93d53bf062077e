"""What a training run tells: to its watcher after each step, and to its caller at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TrainingNews:
    """What a run tells its watcher after each step. `share` of the budget used, 0..1."""

    step: int
    images: int
    minutes: float
    share: float
    losses: dict[str, float]
    part: str = "trunk"  # or "actions": what is taught last, on the finished trunk


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Where a finished run left its weights and curve, and what it took.

    `before` and `after`: `ap` and `ap50` on held-out data, None where nothing was held out.
    """

    weights: Path
    curve: Path
    steps: int
    images: int
    minutes: float
    before: dict[str, float] | None = None
    after: dict[str, float] | None = None
