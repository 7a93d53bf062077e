"""`fill` for vision transformers: positions and class tokens loud enough that a wrong one is heard.

By the common rule a position embedding's standard deviation is about 1/400 of a token's: one in the wrong place would
hide in the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.golden.fill import filled

LOUD = ("pos_embed", "cls_token")


def filled_vit(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """As `filled`, but of unit variance, halved, where the name ends in one of LOUD."""
    tensor = filled(name, shape)
    if name.endswith(LOUD):
        tensor = (tensor * (0.5 * np.sqrt(np.prod(shape[1:])))).astype(np.float32)
    return tensor


def filled_vit_layout(layout: Sequence[Sequence[Any]]) -> dict[str, NDArray[np.float32]]:
    """Every tensor of pairs (name, shape)."""
    return {str(name): filled_vit(str(name), tuple(shape)) for name, shape in layout}
