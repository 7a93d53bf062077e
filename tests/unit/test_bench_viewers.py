"""What `bench viewers` rests on: the painted number, the age of a picture, and whose result is drawn over it."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.commands.watching.camera import planar, to_and_fro
from streamer.commands.watching.page import age_ms, own_share
from streamer.commands.watching.painted import MODULUS, between, paint, read

NUMBERS = st.integers(0, MODULUS - 1)


@given(NUMBERS)
def test_a_painted_number_is_read_back(number):
    picture = np.full((64, 256, 3), 90, np.uint8)
    paint(picture, number)
    assert read(picture) == number


def test_it_outlives_a_coarse_codec():
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 256, 64, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": "40", "tune": "zerolatency"}
    decoder = av.CodecContext.create("h264", "r")
    numbers = [0, MODULUS - 1, 0xA5A5A5, 0x0F0F0F, 1, 12_345_678]
    packets = []
    for number in numbers:
        picture = np.random.default_rng(number).integers(0, 255, (64, 256, 3), np.uint8)
        paint(picture, number)
        packets += encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    packets += encoder.encode(None)
    pictures = [f for p in packets for f in decoder.decode(p)] + decoder.decode(None)
    assert [read(f.to_ndarray(format="rgb24")) for f in pictures] == numbers


@given(NUMBERS, st.integers(-(MODULUS // 2), MODULUS // 2 - 1))
def test_the_circle_is_measured_the_short_way(start, step):
    assert between((start + step) % MODULUS, start) == step


def test_the_age_of_a_picture_passes_the_wrap():
    assert age_ms(5 * MODULUS + 10, MODULUS - 20) == 30


def seen(results):
    """Frames 40 ms apart; `results[i]` is the frame whose result is drawn over frame i, or None."""
    first_ms, offset_ms = 1000, 7777
    return [
        [first_ms + 40 * i, 0, None if of is None else (first_ms + 40 * of + offset_ms) * 90]
        for i, of in enumerate(results)
    ]


@pytest.mark.parametrize(
    ("results", "share"),
    [
        ([0, 1, 2, 3, 4], 1.0),
        ([0, 1, 1, 3, 4], 0.8),  # the result of the frame before
        ([0, 1, None, None, 4], 0.6),
        ([None, None], 0.0),
    ],
)
def test_a_result_over_another_frame_is_found_out(results, share):
    assert own_share(seen(results)) == pytest.approx(share)


def test_a_number_painted_into_a_planar_picture_is_read_back_from_its_colours():
    picture = np.random.default_rng(5).integers(0, 255, (64, 256, 3), np.uint8)
    yuv = planar(picture)
    assert yuv.shape == (96, 256)
    paint(yuv, 0xA5A50F)
    back = av.VideoFrame.from_ndarray(yuv, format="yuv420p").to_ndarray(format="rgb24")
    assert read(back) == 0xA5A50F
    assert np.ptp(back[:32, :192].astype(int), axis=2).max() <= 2  # grey
    # beside it the picture is as it was, as far as four pixels may share a colour
    assert abs(back[36:, 200:].astype(int).mean() - picture[36:, 200:].mean()) < 3


def test_a_street_goes_to_and_fro_so_that_nobody_jumps():
    assert [to_and_fro(taken, 4) for taken in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [to_and_fro(taken, 1) for taken in range(3)] == [0, 0, 0]
