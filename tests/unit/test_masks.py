"""Run lengths round-trip for any mask, and agree with COCO's own encoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from streamer.masks import areas, mask_from_rle, rle_from_crop, rle_from_mask
from streamer.types import MaskRLE

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(masks)
def test_round_trip_and_area(mask: np.ndarray) -> None:
    rle = rle_from_mask(mask)
    assert np.array_equal(mask_from_rle(rle), mask)
    assert areas([rle]) == [int(mask.sum())]
    assert all(c > 0 for c in rle.counts[1:])


@given(masks)
def test_agrees_with_coco(mask: np.ndarray) -> None:
    rle = rle_from_mask(mask)
    packed = coco.frPyObjects({"size": list(rle.size_hw), "counts": list(rle.counts)}, *rle.size_hw)
    assert np.array_equal(coco.decode(packed).astype(bool), mask)


@given(masks, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_crop_is_the_same_as_the_whole_grid(
    mask: np.ndarray, top: int, left: int, below: int, right: int
) -> None:
    grid = np.pad(mask, ((top, below), (left, right)))
    assert rle_from_crop(mask, (top, left), grid.shape) == rle_from_mask(grid)


def test_refuses_counts_that_do_not_fill_the_grid() -> None:
    with pytest.raises(ValueError, match="sum to 5"):
        mask_from_rle(MaskRLE((2, 3), (5,)))


def test_refuses_a_crop_outside_the_grid() -> None:
    with pytest.raises(ValueError, match="leaves the grid"):
        rle_from_crop(np.ones((2, 2), bool), (1, 0), (2, 2))
