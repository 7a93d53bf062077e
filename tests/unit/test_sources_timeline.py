"""Time stamps, thinning and back-off: pure, so every odd camera is a line here."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.sources.backoff import Backoff
from streamer.sources.timeline import Thinner, Timeline

MS = Fraction(1, 1000)


def stamps(pts: list[int | None], frame_s: float = 0.04) -> list[int]:
    line = Timeline(MS, frame_s)
    return [line.stamp(p) for p in pts]


@pytest.mark.parametrize(
    ("sent", "made"),
    [
        ([0, 40, 80], [0, 40, 80]),
        ([500, 540, 590], [500, 540, 590]),
        ([None, None, None], [0, 40, 80]),
        ([0, None, 80], [0, 40, 80]),
        ([0, 40, 40, 80], [0, 40, 41, 80]),
        ([0, 40, 39, 80], [0, 40, 41, 80]),
        # The camera's clock starts anew: the picture goes on, one frame later, at its own pace.
        ([90_000, 90_040, 0, 40, 80], [90_000, 90_040, 90_080, 90_120, 90_160]),
        # The camera has set its clock by a year: no gap of a year.
        ([0, 40, 31_536_000_000, 31_536_000_040], [0, 40, 80, 120]),
        # A pause of ten seconds is one.
        ([0, 40, 10_040], [0, 40, 10_040]),
    ],
)
def test_stamps_of_odd_cameras(sent: list[int | None], made: list[int]) -> None:
    assert stamps(sent) == made


def test_a_round_begins_one_frame_after_the_last() -> None:
    line = Timeline(MS, 0.04)
    first = [line.stamp(p) for p in (0, 40, 80)]
    line.restart()
    second = [line.stamp(p) for p in (0, 40, 80)]
    line.restart()
    assert [*first, *second, line.stamp(None), line.stamp(40)] == [0, 40, 80, 120, 160, 200, 240, 280]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), min_size=2, max_size=40))
def test_stamps_only_grow(sent: list[int | None]) -> None:
    assert all(a < b for a, b in pairwise(stamps(sent)))


@pytest.mark.parametrize(
    ("fps", "max_fps", "kept"), [(25, 12.5, 125), (25, 10, 100), (25, 25, 250), (25, 60, 250)]
)
def test_thinning_keeps_the_wanted_rate(fps: float, max_fps: float, kept: int) -> None:
    thinner = Thinner(max_fps)
    assert sum(thinner.keeps(i / fps) for i in range(250)) == kept


def test_thinning_is_even_and_does_not_make_up_for_a_pause() -> None:
    thinner = Thinner(12.5)
    assert [thinner.keeps(i / 25) for i in range(6)] == [True, False] * 3
    assert [thinner.keeps(100 + i / 25) for i in range(6)] == [True, False] * 3


def test_backoff_doubles_to_its_cap_and_spreads() -> None:
    late, early = Backoff(0.5, 20, random01=lambda: 0.0), Backoff(0.5, 20, random01=lambda: 1.0)
    assert [late.delay_s(n) for n in range(7)] == [0.5, 1, 2, 4, 8, 16, 20]
    assert [early.delay_s(n) for n in range(7)] == [0.25, 0.5, 1, 2, 4, 8, 10]
    assert late.delay_s(10_000) == 20
    assert len({Backoff().delay_s(5) for _ in range(20)}) > 10


@pytest.mark.parametrize(
    "wrong", [{"first_s": 0}, {"first_s": 9, "cap_s": 1}, {"factor": 0.5}, {"spread": 2}]
)
def test_a_senseless_backoff_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="factor"):
        Backoff(**wrong)  # type: ignore[arg-type]
