"""How a source's picture is laid into the engine's, and how boxes find the way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.geometry import placed, source_px_from_unit
from streamer.sources.fitting import BLACK, GREY, laid
from streamer.types import U8, Fit, Hw

SIDES = st.integers(16, 400)


def painted(source_hw: Hw) -> tuple[U8, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """A white picture with one red box in its middle, and the box, xyxy in pixels."""
    h, w = source_hw
    box = np.array([[w // 4, h // 4, w - w // 4, h - h // 4]], np.float32)
    picture = np.full((h, w, 3), 255, np.uint8)
    x0, y0, x1, y1 = box[0].astype(int)
    picture[y0:y1, x0:x1] = (255, 0, 0)
    return picture, box


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("source_hw", [(90, 160), (160, 90), (100, 100)])
def test_a_box_seen_in_the_engines_picture_comes_back_in_source_pixels(fit: Fit, source_hw: Hw) -> None:
    input_hw = (128, 128)
    picture, box = painted(source_hw)
    image = laid(
        lambda hw: np.asarray(cv2.resize(picture, hw[::-1], interpolation=cv2.INTER_NEAREST), np.uint8),
        source_hw,
        input_hw,
        fit,
    )
    assert image.shape == (*input_hw, 3)
    assert not image.flags.writeable
    red = (image[..., 0] == 255) & (image[..., 1] == 0)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    seen = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32) / 128
    back = source_px_from_unit(seen, source_hw, input_hw, fit)
    if fit is Fit.CROP:  # what was cut off cannot come back
        top, left, height, width = placed(source_hw, input_hw, fit)
        low = np.array([-left / width * source_hw[1], -top / height * source_hw[0]])
        high = np.array([source_hw[1], source_hw[0]]) - low
        box = np.concatenate((np.maximum(box[:, :2], low), np.minimum(box[:, 2:], high)), axis=1)
    np.testing.assert_allclose(back, box, atol=2.0)


def test_what_lies_beside_a_kept_aspect() -> None:
    white = lambda hw: np.full((*hw, 3), 255, np.uint8)  # noqa: E731
    pad = laid(white, (50, 100), (100, 100), Fit.PAD)
    assert (pad[:50] == 255).all() and (pad[50:] == BLACK).all()
    box = laid(white, (50, 100), (100, 100), Fit.LETTERBOX)
    assert (box[25:75] == 255).all() and (box[:25] == GREY).all() and (box[75:] == GREY).all()


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.sampled_from(list(Fit)))
def test_a_picture_is_never_empty_and_never_larger_than_it_may(source: Hw, engine: Hw, fit: Fit) -> None:
    top, left, height, width = placed(source, engine, fit)
    assert height >= 1 and width >= 1
    if fit is Fit.CROP:
        assert top <= 0 and left <= 0 and height >= engine[0] and width >= engine[1]
    else:
        assert top >= 0 and left >= 0 and top + height <= engine[0] and left + width <= engine[1]
