"""A source's picture laid into the engine's, as the model was trained to see it (see `streamer.types.Fit`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streamer.geometry import placed
from streamer.types import U8, Fit, Hw, frozen_array

GREY, BLACK = 114, 0  # around a letterboxed picture (as YOLO's training has it), beside a padded one


def laid(resized: Callable[[Hw], U8], source_hw: Hw, input_hw: Hw, fit: Fit) -> U8:
    """uint8 (H, W, 3) of `input_hw`, read-only. `resized` gives the whole source picture at the size it is asked for.

    STRETCH copies nothing.
    """
    top, left, height, width = placed(source_hw, input_hw, fit)
    picture = resized((height, width))
    if fit is Fit.STRETCH:
        return frozen_array(picture)
    if fit is Fit.CROP:
        cut = picture[-top : -top + input_hw[0], -left : -left + input_hw[1]]
        return frozen_array(np.ascontiguousarray(cut))
    canvas = np.full((*input_hw, 3), GREY if fit is Fit.LETTERBOX else BLACK, np.uint8)
    canvas[top : top + height, left : left + width] = picture
    return frozen_array(canvas)
