"""`sightline worker` with an engine that knows: what a drawn street says is in the picture is what is tracked.

Run as `python -m tests.fakes.worker_truth --data-dir …`; no weights are needed, and every box is where its object is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import engines.zoo
from streamer.cli import main
from streamer.ports import Tensors
from streamer.types import Detections, Frame, Perception, Tracks
from tests.fakes.core import StagedEngine, StagedTask

CLEAR_PX = 60  # smaller ones are hard to see for anybody


class Truth(StagedTask):
    """Tracks are the street's own objects; the state counts frames."""

    def __init__(self) -> None:
        super().__init__()
        self.input_hw = (36, 64)

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[int]
    ) -> list[tuple[Perception, int]]:
        answered = super().postprocess(outputs, frames, states)
        return [(_seen(frame), state) for frame, (_, state) in zip(frames, answered, strict=True)]


def _seen(frame: Frame) -> Perception:
    truth = frame.truth
    assert truth is not None
    clear = truth.pixels >= CLEAR_PX
    found = Detections(
        truth.boxes_xyxy[clear], truth.visibility[clear].astype("float32"), truth.labels[clear]
    )
    ids = truth.ids[clear]
    return Perception(Tracks(found, ids, ids * 0 + 1), truth.label_names)


def open_engine(model: str, **options: Any) -> StagedEngine:
    return StagedEngine()


if __name__ == "__main__":
    engines.zoo.open_engine = open_engine  # type: ignore[assignment]
    engines.zoo.task_for = lambda spec: Truth()
    main()
