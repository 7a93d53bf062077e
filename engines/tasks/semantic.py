"""The semantic task: every place of the picture gets a class. Stateless, numpy only.

The engine's map is of the engine's picture; the answer's is of the source's: what a letterbox or a pad put around the
source is cut off, and where a crop cut the source's sides off, the map says UNSEEN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.tasks.pictures import picture_inputs
from engines.tasks.scene import NO_TRACKS, fit_of
from streamer.errors import EngineError
from streamer.geometry import placed
from streamer.ports import EngineSpec, Tensors
from streamer.types import U8, Fit, Frame, Hw, Perception, frozen_array

UNSEEN = 255  # in a map: the model was not shown this part of the source's picture


class SemanticTask:
    """Implements `streamer.ports.Task` for graphs that give `map` u8 (B, h, w), or `logits` (B, C, h, w)."""

    stateful = False

    def __init__(self, *, labels: Sequence[str], input_hw: Hw, fit: Fit = Fit.STRETCH) -> None:
        self.labels = tuple(labels)
        self.fit = fit
        self._input_hw = input_hw

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> SemanticTask:
        """The task of an engine. Raises EngineError if it draws no map of classes."""
        if not {"map", "logits"} & {t.name for t in spec.outputs} or not spec.meta.get("labels"):
            raise EngineError("this engine draws no map of classes", where=spec.name)
        return cls(labels=spec.meta["labels"], input_hw=spec.input_hw, fit=fit_of(spec))

    @property
    def input_hw(self) -> Hw:
        return self._input_hw

    def initial_state(self) -> None:
        """There is none."""

    def preprocess(self, frames: Sequence[Frame], states: Sequence[None]) -> dict[str, NDArray[Any]]:
        """The pictures."""
        return picture_inputs(frames, self._input_hw, self.fit, ())

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[None]
    ) -> list[tuple[Perception, None]]:
        """Each picture's map of classes, over the source's whole picture; no objects."""
        maps = outputs["map"] if "map" in outputs else outputs["logits"].argmax(axis=1)
        if not len(frames) == len(states) == len(maps):
            raise ValueError(f"{len(frames)} frames, {len(states)} states, {len(maps)} answers")
        return [
            (
                Perception(
                    NO_TRACKS,
                    (),
                    semantic=over_source(one, frame.source_hw, self._input_hw, self.fit),
                    semantic_names=self.labels,
                ),
                None,
            )
            for one, frame in zip(maps, frames, strict=True)
        ]


def over_source(map_: NDArray[Any], source_hw: Hw, input_hw: Hw, fit: Fit) -> U8:
    """The engine's map (h, w) as one of the source's whole picture, u8 read-only, on a grid as fine as it was."""
    found = np.array(map_, np.uint8)  # a copy: the batch's array is not kept alive for one picture
    if fit is Fit.STRETCH:
        return frozen_array(found)
    (rows, columns), (h, w) = input_hw, found.shape
    top, left, height, width = placed(source_hw, input_hw, fit)
    y0, y1 = round(top * h / rows), round((top + height) * h / rows)
    x0, x1 = round(left * w / columns), round((left + width) * w / columns)
    whole = np.full((max(y1 - y0, 1), max(x1 - x0, 1)), UNSEEN, np.uint8)
    # Both grids are cells of one size, so what they share is a slice of each.
    high, wide = min(y0 + len(whole), h), min(x0 + whole.shape[1], w)
    low, near = max(y0, 0), max(x0, 0)
    whole[low - y0 : high - y0, near - x0 : wide - x0] = found[low:high, near:wide]
    return frozen_array(whole)
