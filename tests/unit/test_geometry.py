"""Boxes: conversions invert each other, overlaps obey their laws."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.geometry import (
    beside_line,
    cxcywh_from_xyxy,
    feet_unit,
    in_polygon,
    iou_matrix,
    source_px_from_unit,
    xyxy_from_cxcywh,
)

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


def test_a_point_is_in_a_polygon_or_on_its_edge() -> None:
    # A U: its gap between the arms is outside.
    corners = np.array([[0, 0], [1, 0], [1, 1], [0.7, 1], [0.7, 0.4], [0.3, 0.4], [0.3, 1], [0, 1]])
    points = np.array(
        [
            [0.1, 0.9],
            [0.5, 0.9],
            [0.9, 0.9],
            [0.5, 0.2],
            [1.2, 0.2],
            [1.0, 0.5],
            [0.15, 1.0],
            [0.5, 0.4],
            [0, 0],
        ]
    )
    for ring in (corners, corners[::-1], np.roll(corners, 3, axis=0)):
        assert in_polygon(points, ring).tolist() == [True, False, True, True, False, True, True, True, True]
    assert in_polygon(np.zeros((0, 2)), corners).shape == (0,)


def test_beside_a_line_is_right_and_left_as_seen_along_it() -> None:
    off, along = beside_line(
        np.array([[1.0, 1.0], [1.0, -2.0], [4.0, 0.0]]), np.zeros(2), np.array([2.0, 0.0])
    )
    assert off.tolist() == [1.0, -2.0, 0.0] and along.tolist() == [0.5, 0.5, 2.0]


def test_feet_are_the_middle_of_the_lower_edge() -> None:
    feet = feet_unit(np.array([[10, 20, 30, 50]], np.float32), (100, 200))
    assert feet.tolist() == [[0.1, 0.5]]
