"""All masks at once are the masks one by one."""

from __future__ import annotations

import numpy as np
import pytest

from engines.tasks.instance_masks import masks_in_boxes
from streamer.masks import mask_from_rle, rle_from_mask

M, H, W = 5, 18, 32


@pytest.mark.parametrize("seed", range(20))
def test_they_are_those_of_the_dense_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    corners = np.sort(rng.uniform(0, 1, (n, 2, 2)), axis=1)
    boxes = np.concatenate([corners[:, 0], np.minimum(corners[:, 1] + 0.01, 1)], axis=1).astype(np.float32)
    boxes[rng.random(n) < 0.2] = [0, 0, 1, 1]
    boxes[rng.random(n) < 0.2, 1::2] = [0, 1]  # full height: runs flow from column to column
    kernels = rng.normal(size=(n, M)).astype(np.float32)
    features = (rng.normal(size=(M, H, W)) + rng.normal(size=(M, 1, 1))).astype(np.float32)
    masks = masks_in_boxes(kernels, features, boxes)
    assert len(masks) == n
    for mask, kernel, (x0, y0, x1, y1) in zip(masks, kernels, boxes, strict=True):
        rows = slice(int(np.floor(y0 * H)), int(np.ceil(y1 * H)))
        columns = slice(int(np.floor(x0 * W)), int(np.ceil(x1 * W)))
        dense = np.zeros((H, W), bool)
        dense[rows, columns] = np.tensordot(kernel, features, 1)[rows, columns] > 0
        np.testing.assert_array_equal(mask_from_rle(mask), dense)
        assert mask == rle_from_mask(dense)


def test_a_mask_may_be_empty_or_full_and_there_may_be_none() -> None:
    features = np.ones((1, H, W), np.float32)
    whole, corner = [0.0, 0.0, 1.0, 1.0], [0.9, 0.9, 1.0, 1.0]
    kernels = np.array([[1.0], [-1.0], [1.0]], np.float32)
    full, empty, foot = masks_in_boxes(kernels, features, np.array([whole, whole, corner], np.float32))
    assert (full.counts, empty.counts) == ((0, H * W), (H * W,))
    assert mask_from_rle(foot)[-1, -1] and sum(foot.counts) == H * W
    assert masks_in_boxes(kernels[:0], features, np.zeros((0, 4), np.float32)) == ()
