"""Run-length masks, pure: encode, decode, and COCO's order (column-major, background first)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.types import U8, Hw, MaskRLE


def rle_from_mask(mask: NDArray[np.bool_]) -> MaskRLE:
    """Encode a bool (H, W) mask."""
    h, w = mask.shape
    return rle_from_crop(mask, (0, 0), (h, w))


def rle_from_crop(crop: NDArray[np.bool_], top_left_yx: tuple[int, int], size_hw: Hw) -> MaskRLE:
    """Encode a bool (h, w) crop lying at `top_left_yx` of an otherwise empty (H, W) grid, without building the grid.

    Only the crop is walked, so a small object costs little on a large grid.
    """
    height, width = size_hw
    y0, x0 = top_left_yx
    h, w = crop.shape
    if y0 < 0 or x0 < 0 or y0 + h > height or x0 + w > width:
        raise ValueError(f"crop {h}x{w} at {top_left_yx} leaves the grid {height}x{width}")
    # One row of zeros under each column keeps runs of neighbouring columns apart, unless the crop is full height.
    padded = np.zeros((w, h + 2), np.int8)
    padded[:, 1:-1] = crop.T
    edges = np.diff(padded, axis=1)
    columns, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    if len(starts) == 0:
        return MaskRLE(size_hw, (height * width,))
    base = (columns + x0) * height + y0
    flat = np.empty(2 * len(starts), np.int64)
    flat[0::2] = base + starts
    flat[1::2] = base + ends
    if y0 == 0 and h == height:  # a run may flow over the foot of a column into the head of the next
        touching = np.nonzero(flat[1:-1:2] == flat[2::2])[0]
        flat = np.delete(flat, np.concatenate([2 * touching + 1, 2 * touching + 2]))
    bounds = np.concatenate([[0], flat, [height * width]])
    counts = np.diff(bounds).tolist()
    if counts[-1] == 0:
        counts.pop()
    return MaskRLE(size_hw, tuple(counts))


def mask_from_rle(rle: MaskRLE) -> NDArray[np.bool_]:
    """Decode to a bool (H, W) mask; raises ValueError if the counts do not fill the grid."""
    h, w = rle.size_hw
    if sum(rle.counts) != h * w or any(c < 0 for c in rle.counts):
        raise ValueError(f"run lengths sum to {sum(rle.counts)}, not to {h}x{w}")
    values = np.arange(len(rle.counts)) % 2 == 1
    return np.repeat(values, rle.counts).reshape(w, h).T


def areas(masks: Sequence[MaskRLE]) -> list[int]:
    """Foreground pixels of each mask."""
    return [sum(m.counts[1::2]) for m in masks]


def runs_from_map(classes: U8) -> tuple[U8, NDArray[np.int64]]:
    """A class map u8 (H, W) as runs, column by column: classes (n,) and lengths (n,), no two neighbours alike."""
    flat = classes.ravel(order="F")
    bounds = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    return flat[bounds[:-1]], np.diff(bounds)


def map_from_runs(values: Sequence[int], counts: Sequence[int], size_hw: Hw) -> U8:
    """The class map u8 (H, W) of `runs_from_map`; raises ValueError if the runs do not fill the grid."""
    h, w = size_hw
    if len(values) != len(counts) or sum(counts) != h * w or any(c < 0 for c in counts):
        raise ValueError(
            f"{len(values)} runs, {len(counts)} lengths that sum to {sum(counts)}, not to {h}x{w}"
        )
    return np.repeat(np.asarray(values, np.uint8), counts).reshape(w, h).T
