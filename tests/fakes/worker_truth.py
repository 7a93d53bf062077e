"""`sightline worker` as it is but for the engine: of a street it sees exactly what is true, and no weights are needed.

Run as `python -m tests.fakes.worker_truth worker …`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import engines.zoo
from streamer.cli import main
from streamer.ports import Tensors
from streamer.types import Detections, Frame, Perception, Tracks
from tests.fakes.core import StagedTask
from tests.fakes.worker_main import open_engine


class TrueTracks(StagedTask):
    """Each object of the frame's truth is a track of its name; the state counts frames."""

    def __init__(self) -> None:
        super().__init__()
        self.input_hw = (36, 64)

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[int]
    ) -> list[tuple[Perception, int]]:
        counted = super().postprocess(outputs, frames, states)
        return [(_seen(frame), state) for frame, (_, state) in zip(frames, counted, strict=True)]


def _seen(frame: Frame) -> Perception:
    truth = frame.truth
    assert truth is not None, "give it a world:// stream"
    n = len(truth.ids)
    found = Detections(truth.boxes_xyxy, np.ones(n, np.float32), truth.labels)
    return Perception(Tracks(found, truth.ids, np.ones(n, np.int64)), truth.label_names)


if __name__ == "__main__":
    engines.zoo.open_engine = open_engine  # type: ignore[assignment]
    engines.zoo.task_for = lambda spec: TrueTracks()
    main()
