"""Frames into the tensors that every picture model takes, and what their answer's maps are worth in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import EngineError
from streamer.geometry import placed
from streamer.types import F32, Fit, Frame, Hw


def picture_inputs(
    frames: Sequence[Frame], input_hw: Hw, fit: Fit, names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """`images` u8 (B, H, W, 3) and, if it is among `names`, `content_hw` i32 (B, 2): rows and columns not padded.

    Raises ValueError without frames, EngineError for a frame of another size than `input_hw`.
    """
    if not frames:
        raise ValueError("no frames")
    for frame in frames:
        if frame.image.shape != (*input_hw, 3):
            raise EngineError(
                f"a picture of {frame.image.shape} is not {(*input_hw, 3)}", where=frame.ref.stream
            )
    inputs: dict[str, NDArray[Any]] = {"images": np.stack([frame.image for frame in frames])}
    if "content_hw" in names:
        inputs["content_hw"] = np.array([content_hw(frame, input_hw, fit) for frame in frames], np.int32)
    return inputs


def content_hw(frame: Frame, input_hw: Hw, fit: Fit) -> Hw:
    """Rows and columns of the engine's picture that hold this frame's source, from the top left (PAD, STRETCH)."""
    return placed(frame.source_hw, input_hw, fit)[2:]


def grown(maps: F32, picture_hw: Hw, content_hw: Hw) -> F32:
    """Maps (N, h, w) over a whole picture, bilinearly at that picture's own pixels, of its content alone.

    To f32 (N, rows, columns) of `content_hw`. Cell centres as torch's `interpolate` without `align_corners` has them.
    """
    (row, below, low), (column, right, far) = (
        _taps(cells, whole, wanted)
        for cells, whole, wanted in zip(maps.shape[1:], picture_hw, content_hw, strict=True)
    )
    low = low[:, None]
    tall: F32 = maps[:, row] * (1 - low) + maps[:, below] * low  # (N, rows, w)
    wide: F32 = tall[:, :, column] * (1 - far) + tall[:, :, right] * far
    return wide


def _taps(cells: int, whole: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], F32]:
    """For the first `wanted` of `whole` pixels: the cell before, the cell behind, and the share of the latter."""
    at = np.maximum((np.arange(wanted, dtype=np.float32) + 0.5) * np.float32(cells / whole) - 0.5, 0)
    before = np.minimum(at.astype(np.intp), cells - 1)
    return before, np.minimum(before + 1, cells - 1), (at - before).astype(np.float32)
