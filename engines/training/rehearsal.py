"""Own data beside the world: some lanes go on showing streets, so that what the data is silent about is not forgotten.

A data set of boxes alone asks nothing about masks, key points, the semantic map or actions, yet the trunk under them
moves. The world's lanes keep asking. Its labels are the model's by name; of a label that only one of both
knows nothing is asked where it is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engines.training.clips import EMPTY, UNKNOWN_MASK, ClipBatch, ClipPlan, side_by_side
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
            yield side_by_side((mine, as_labelled(worlds, labels)))

    def parts(self, count: int) -> Sequence[OwnPlan | LabelledWorld | RehearsalPlan]:
        """At most `count` plans whose batches, side by side, are this one's."""
        if count == 1:
            return [self]
        return [*self.own.parts(count - 1), LabelledWorld(self.world, self.own.data.labels)]


@dataclass(frozen=True, slots=True)
class LabelledWorld:
    """Lanes that show the world, as a model with other labels sees it."""

    world: ClipPlan
    labels: tuple[str, ...]

    def batches(self, first_step: int = 0) -> Iterator[ClipBatch]:
        """The batches of steps `first_step`, `first_step + 1`, … without end."""
        return (as_labelled(batch, self.labels) for batch in self.world.batches(first_step))

    def parts(self, count: int) -> list[LabelledWorld]:
        """As `ClipPlan.parts`."""
        return [LabelledWorld(part, self.labels) for part in self.world.parts(count)]


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
