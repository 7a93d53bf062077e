"""Weights as a pure function of a tensor's name and shape, so that a reference and our model hold the same ones.

A golden file then need not hold weights: the reference was filled by these rules, from its own key names, and so is
the checkpoint file in the authors' layout that a test writes and imports.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Scales that keep activations near 1 through many layers, so that a wrong operator shows and nothing overflows.
NORM_WORDS = ("norm", "bn", ".gn", "layernorm", "downsample.1")


def filled(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """The float32 tensor of this name: the same on every machine."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    low = name.lower()
    if low.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if low.endswith("running_mean"):
        return (0.05 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) >= 2:
        fan_in = max(1, int(np.prod(shape[1:])))
        return (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
    if low.endswith("weight") and any(word in low for word in NORM_WORDS):
        return rng.uniform(0.7, 1.1, shape).astype(np.float32)
    return (0.05 * rng.standard_normal(shape)).astype(np.float32)


def filled_layout(
    layout: Sequence[Sequence[Any]] | Mapping[str, Sequence[int]],
) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a layout: pairs (name, shape), or a mapping from name to shape."""
    pairs = layout.items() if isinstance(layout, Mapping) else ((n, s) for n, s in layout)
    return {str(name): filled(str(name), tuple(shape)) for name, shape in pairs}
