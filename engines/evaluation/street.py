"""How good a street engine is on plain held-out streets: COCO's AP, MOT's MOTA and IDF1, HOTA, the fit of its masks.

The short way in for who has an engine at hand (training, tests): the streets are those that `world://` makes by
default, of seeds that training never draws. `split.py` and `scores.py` measure a whole split, every head and condition.
Both counts, `clear` and `everything` (matching.py), are always shown together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engines.evaluation.matching import difficult, rows_as_boxes
from engines.evaluation.scores import Accuracy, Measures, rounded
from engines.evaluation.split import Infer, run_split
from engines.tasks.track import TrackRules, TrackTask
from streamer.world import LABELS, WorldConfig

__all__ = ["Accuracy", "Infer", "StreetScores", "difficult", "evaluate_street", "rows_as_boxes"]

FIRST_HELD_OUT_SEED = 1_000_000


@dataclass(frozen=True, slots=True)
class StreetScores:
    """What `evaluate_street` measured: on the `clear` objects and on `everything`; masks of all matched tracks."""

    sequences: int
    frames: int
    clear: Accuracy
    everything: Accuracy
    mask_miou: float
    matched: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON; rounded to four places."""
        return rounded(asdict(self))


def evaluate_street(
    infer: Infer,
    *,
    input_hw: tuple[int, int],
    slots: int,
    dim: int,
    labels: Sequence[str] = LABELS,
    rules: TrackRules | None = None,
    sequences: int = 6,
    frames: int = 200,
    first_seed: int = FIRST_HELD_OUT_SEED,
    watch: Callable[[int], None] | None = None,
) -> StreetScores:
    """Runs `sequences` worlds side by side as one batch for `frames` frames and compares with the truth.

    The worlds are those of seeds first_seed, first_seed + 1, … as `world://` makes them by default, at 12.5 frames a
    second. `watch` is called with the number of frames done.
    """
    task = TrackTask(labels=labels, input_hw=input_hw, slots=slots, dim=dim, rules=rules)
    configs = [WorldConfig(first_seed + i, *input_hw) for i in range(sequences)]
    run = run_split(
        infer,
        task,
        configs,
        frames=frames,
        most=sequences,
        watch=None if watch is None else lambda done, _: watch(done // sequences),
    )
    measures = Measures(run)
    everything = measures.accuracy(False)
    return StreetScores(
        sequences=sequences,
        frames=len(run.frames),
        clear=measures.accuracy(True),
        everything=everything,
        mask_miou=everything.mask_miou or 0.0,
        matched=everything.matched,
    )
