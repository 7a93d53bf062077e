"""Boxes: conversions invert each other, overlaps obey their laws."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.geometry import cxcywh_from_xyxy, iou_matrix, source_px_from_unit, xyxy_from_cxcywh

unit = st.floats(0.0, 1.0, width=32)


@given(st.lists(st.tuples(unit, unit, unit, unit), max_size=5))
def test_conversions_invert(rows: list[tuple[float, ...]]) -> None:
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    assert np.allclose(cxcywh_from_xyxy(xyxy_from_cxcywh(boxes)), boxes, atol=1e-6)


def test_overlap_of_known_boxes() -> None:
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    b = np.array([[1, 0, 3, 2], [5, 5, 6, 6], [0, 0, 2, 2]], np.float32)
    assert np.allclose(iou_matrix(a, b), [[1 / 3, 0, 1], [0, 0, 0]])


def test_boxes_come_back_in_source_pixels_and_inside() -> None:
    out = source_px_from_unit(np.array([[-0.1, 0.25, 1.2, 0.5]], np.float32), (432, 768))
    assert out.tolist() == [[0.0, 108.0, 768.0, 216.0]]
