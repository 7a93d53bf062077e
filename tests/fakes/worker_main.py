"""`sightline worker` as it is but for the engine: two objects are in every picture, and no weights are needed.

Run as `python -m tests.fakes.worker_main --data-dir …`; the engine is staged, so all of the hot loop takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import engines.zoo
from streamer.cli import main
from streamer.ports import Tensors
from streamer.types import Frame, Perception
from tests.fakes.core import StagedEngine, StagedTask, perception


class TwoObjects(StagedTask):
    """Tracks 1 and 2, always; the state counts frames."""

    def __init__(self) -> None:
        super().__init__()
        self.input_hw = (36, 64)

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[int]
    ) -> list[tuple[Perception, int]]:
        return [(perception([1, 2]), state) for _, state in super().postprocess(outputs, frames, states)]


def open_engine(model: str, **options: Any) -> StagedEngine:
    return StagedEngine()


if __name__ == "__main__":
    engines.zoo.open_engine = open_engine  # type: ignore[assignment]
    engines.zoo.task_for = lambda spec: TwoObjects()
    main()
