"""A number painted into a picture, so that whoever shows the picture can be asked which one it is.

Twenty-four bits as black and white squares, most significant first, in two rows at the top left. They are large enough
to outlive a codec, and small enough to leave the picture to the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 24
COLUMNS = 12
SIDE_PX = 16  # of 640x360; a square's middle is read, so its rim may blur
MODULUS = 1 << BITS


def paint(picture: NDArray[np.uint8], number: int) -> None:
    """Write `number` (mod 2^24) into uint8 (H, W, C) or (H, W), in place; H >= 32, W >= 192."""
    for bit in range(BITS):
        row, column = divmod(bit, COLUMNS)
        white = number >> (BITS - 1 - bit) & 1
        y, x = row * SIDE_PX, column * SIDE_PX
        picture[y : y + SIDE_PX, x : x + SIDE_PX] = 235 if white else 16


def read(picture: NDArray[Any]) -> int:
    """The number in uint8 (H, W, C) or (H, W), as `paint` wrote it."""
    grey = picture if picture.ndim == 2 else picture[..., 1]
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, COLUMNS)
        y, x = row * SIDE_PX + SIDE_PX // 2, column * SIDE_PX + SIDE_PX // 2
        number = number * 2 + int(grey[y - 2 : y + 3, x - 2 : x + 3].mean() > 127)
    return number


def between(later: int, earlier: int) -> int:
    """`later` - `earlier` on the circle of 2^24."""
    return (later - earlier + MODULUS // 2) % MODULUS - MODULUS // 2
