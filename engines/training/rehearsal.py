"""Own data beside the world: some lanes go on showing streets, so that what the data is silent about is not forgotten.

A data set of boxes alone asks nothing about masks, key points, the semantic map or actions, yet the trunk under them
moves. The world's lanes keep asking. Its labels are the model's by name; of a label that only one of both
knows nothing is asked where it is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engines.training.clips import EMPTY, UNKNOWN_MASK, ClipBatch, ClipPlan
from engines.training.own_clips import OwnPlan
from streamer.world import LABELS


@dataclass(frozen=True, slots=True)
class RehearsalPlan:
    """The lanes of `own` first, then those of `world`; both of one size."""

    own: OwnPlan
    world: ClipPlan

    def batches(self, first_step: int = 0) -> Iterator[ClipBatch]:
        """The batches of steps `first_step`, `first_step + 1`, … without end."""
        labels = self.own.data.labels
        for mine, worlds in zip(self.own.batches(first_step), self.world.batches(first_step), strict=True):
            yield _side_by_side(mine, as_labelled(worlds, labels))


def as_labelled(batch: ClipBatch, labels: tuple[str, ...]) -> ClipBatch:
    """A batch of the world with other labels; objects whose label is not among them lie on ignored areas."""
    places = np.array([labels.index(name) if name in labels else EMPTY for name in LABELS] + [EMPTY])
    renamed = places[batch.labels]  # EMPTY is -1: the last entry
    t, b, h, w = batch.masks.shape
    gone = (batch.labels >= 0) & (renamed < 0)  # (T, B, G)
    table = np.zeros((t, b, 256), np.bool_)
    table[..., : gone.shape[2]] = gone
    cells = batch.masks.reshape(t, b, h * w).astype(np.intp)
    ignored = np.take_along_axis(table, cells, axis=2).reshape(t, b, h, w)
    told = np.array([name in LABELS for name in labels])
    return batch._replace(
        labels=renamed,
        ids=np.where(renamed < 0, EMPTY, batch.ids),
        masks=np.where(ignored, np.uint8(UNKNOWN_MASK), batch.masks),
        ignored=ignored,
        told=np.tile(told, (b, 1)),
    )


def _side_by_side(a: ClipBatch, b: ClipBatch) -> ClipBatch:
    """Both batches' lanes in one: the first dimension of `fresh` and `told`, the second of all others."""
    joined = {
        name: np.concatenate((mine, getattr(b, name)), axis=0 if name in ("fresh", "told") else 1)
        for name, mine in a._asdict().items()
    }
    return ClipBatch(**joined)
