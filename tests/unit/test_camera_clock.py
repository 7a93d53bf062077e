"""The camera's clock: followed from report to report, but not into a false one; a clock that was set, in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.sources.camera_clock import CameraClock

S = 1_000_000_000
NOW = 1_700_000_000 * S


class Camera:
    """Packets at 10 a second, arriving 50 ms after they were stamped; `ahead` is how far the camera's clock is."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.clock, self.ahead_s, self.stamp_s = CameraClock(), ahead_s, 0.0
        self.offset_s = 0.0  # of the stamps

    def packet(self, false_s: float = 0.0, late_s: float = 0.05) -> float:
        """How far the answer is from this host's time at capture, in s; the report in force is off by `false_s`."""
        self.stamp_s += 0.1
        captured = NOW + round(self.stamp_s * S)
        told = captured + round((self.ahead_s + false_s) * S)
        stamp = round((self.stamp_s + self.offset_s) * S)
        return (self.clock.wall_ns(told, stamp, captured + round(late_s * S)) - captured) / S

    def packets(self, seconds: float, **how: float) -> list[float]:
        return [self.packet(**how) for _ in range(round(seconds * 10))]


@given(st.floats(-1e6, 1e6), st.floats(0, 5))
def test_any_clock_is_taken_as_the_camera_tells_it(ahead_s: float, late_s: float) -> None:
    camera = Camera(ahead_s)
    assert all(abs(off - ahead_s) < 1e-3 for off in camera.packets(3, late_s=late_s))


def test_drift_and_the_rounding_of_reports_are_followed() -> None:
    camera = Camera()
    for report in range(100):
        camera.ahead_s = 0.05 * report
        assert max(abs(off - camera.ahead_s) for off in camera.packets(5)) < 1e-3


def test_a_false_report_is_not_followed_and_the_next_right_one_is() -> None:
    camera = Camera(3.0)
    camera.packets(20)
    for false_s in (-38.0, 7.0, 3600.0):
        assert {round(off, 3) for off in camera.packets(6, false_s=false_s)} == {3.0}
        assert {round(off, 3) for off in camera.packets(6)} == {3.0}


def test_two_false_reports_that_differ_do_not_prop_each_other_up() -> None:
    camera = Camera()
    camera.packets(5)
    for false_s in (-38.0, 20.0, -38.0, 20.0):
        assert {round(off, 3) for off in camera.packets(6, false_s=false_s)} == {0.0}


def test_a_camera_that_set_its_clock_is_believed_after_twelve_seconds() -> None:
    camera = Camera(-3600.0)
    camera.packets(5)
    camera.ahead_s = 0.0
    told = [round(off, 3) for off in camera.packets(20)]
    assert told == [-3600.0] * 120 + [0.0] * 80


def test_a_first_report_that_was_false_is_mended_after_twelve_seconds() -> None:
    camera = Camera()
    camera.packets(5, false_s=-40.0)
    told = [round(off, 3) for off in camera.packets(13)]
    assert (told[0], told[-1]) == (-40.0, 0.0)


def test_packets_that_come_in_a_burst_keep_their_time() -> None:
    camera = Camera()
    camera.packets(5)
    assert {round(off, 3) for off in camera.packets(5, late_s=8.0)} == {0.0}


def test_stamps_that_start_anew_do_not_move_the_clock() -> None:
    camera = Camera(2.0)
    camera.packets(5)
    camera.offset_s = -4.0
    assert {round(off, 3) for off in camera.packets(5)} == {2.0}
    camera.offset_s = 90_000.0
    assert {round(off, 3) for off in camera.packets(5)} == {2.0}
