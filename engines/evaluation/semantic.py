"""Mean IoU of the class map, from one confusion over all pixels of all frames, as for Cityscapes and ADE20K."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.matching import sampled
from streamer.errors import EngineError
from streamer.types import U8

I64 = NDArray[np.int64]


class Confusion:
    """Counts of cells, i64 (C, C): row the true class, column the answered one."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.cells: I64 = np.zeros((len(names), len(names)), np.int64)

    def add(self, truth: U8, answer: U8, answer_names: Sequence[str]) -> float:
        """One picture: its true class map u8 (H, W), and the answer u8 (h, w) on a grid that divides it.

        Returns the share of cells that are wrong. Raises EngineError for an answer in classes that the world has not.
        """
        strangers = [name for name in answer_names if name not in self.names]
        if strangers:
            raise EngineError(
                f"the class map names {strangers[0]!r}, which the world has not",
                where="semantic",
                mend="measure a model whose semantic labels are the world's",
            )
        index = np.array([self.names.index(name) for name in answer_names], np.int64)
        n = len(self.names)
        pairs = sampled(truth, answer.shape).astype(np.int64) * n + index[answer]
        cells = np.bincount(pairs.ravel(), minlength=n * n).reshape(n, n)
        self.cells += cells
        return float(1 - np.trace(cells) / cells.sum())

    def __add__(self, other: Confusion) -> Confusion:
        both = Confusion(self.names)
        both.cells = self.cells + other.cells
        return both

    def iou_by_class(self) -> dict[str, float | None]:
        """Intersection over union of each class; None for one that is nowhere in the truth, as for AP.

        Where such a class is answered all the same, the class that is there loses by it.
        """
        same, true = np.diag(self.cells), self.cells.sum(axis=1)
        union = self.cells.sum(axis=0) + true - same
        return {
            name: float(s / u) if t else None
            for name, s, u, t in zip(self.names, same, union, true, strict=True)
        }

    def miou(self) -> float | None:
        """The mean over the classes that are there; None before the first picture."""
        ious = [iou for iou in self.iou_by_class().values() if iou is not None]
        return float(np.mean(ious)) if ious else None

    def accuracy(self) -> float | None:
        """Share of cells that are right."""
        total = self.cells.sum()
        return float(np.trace(self.cells) / total) if total else None


def joined(parts: Sequence[Confusion]) -> Confusion | None:
    """One confusion of several; None of none."""
    if not parts:
        return None
    both = parts[0]
    for part in parts[1:]:
        both = both + part
    return both
