"""What goes on of encoded frames: time that never wraps, nothing dirty after a loss, key frames with their sets."""

from __future__ import annotations

from web.encoded import KEY_AGAIN_S, KEY_EVERY_S, KEY_GAP_S, Gate, KeyWish, RtpTime

SPS, PPS, SEI = b"\0\0\0\1\x67sps", b"\0\0\0\1\x68pps", b"\0\0\0\1\x06sei"
IDR, SLICE = b"\0\0\0\1\x65idr", b"\0\0\0\1\x41slice"


def test_time_goes_on_where_it_wraps_and_steps_back_where_pictures_do() -> None:
    time = RtpTime()
    start = (1 << 32) - 3000
    stamps = [start, 0, 6000, 3000, 9000]
    assert [time.map(stamp % (1 << 32)) for stamp in stamps] == [0, 3000, 9000, 6000, 12_000]


def test_time_does_not_tire_of_wrapping() -> None:
    time = RtpTime()
    step = (1 << 31) - 1
    assert [time.map(i * step % (1 << 32)) for i in range(9)] == [i * step for i in range(9)]


def test_h264_begins_with_a_key_frame_and_after_a_loss_again() -> None:
    gate = Gate()
    assert gate.waiting
    assert gate.take("h264", SLICE, 0) is None
    key = gate.take("h264", SPS + PPS + SEI + IDR, 1)
    assert key is not None and key.key and key.data == SPS + PPS + SEI + IDR
    after = gate.take("h264", SEI + SLICE, 2)
    assert after is not None and not after.key
    gate.lost()
    assert gate.take("h264", SLICE, 3) is None
    assert gate.take("h264", IDR, 4) is not None
    assert gate.dropped == {"no key frame yet": 2}


def test_a_key_frame_without_its_parameter_sets_gets_the_last_ones() -> None:
    gate = Gate()
    gate.take("h264", SPS + PPS + IDR, 0)
    again = gate.take("h264", IDR, 1)
    assert again is not None and again.data.startswith(SPS + PPS) and again.data.endswith(IDR)
    alone = Gate()
    assert alone.take("h264", SPS + PPS, 0) is None, "no picture"
    key = alone.take("h264", IDR, 0)
    assert key is not None and key.data == SPS + PPS + IDR


def test_vp8_says_in_its_first_bit_what_it_is() -> None:
    gate = Gate()
    assert gate.take("vp8", b"\x11rest", 0) is None
    key = gate.take("vp8", b"\x10rest", 0)
    assert key is not None and key.key
    later = gate.take("vp8", b"\x11rest", 0)
    assert later is not None and not later.key
    assert gate.take("vp8", b"", 0) is not None


def test_key_frames_are_asked_for_at_the_start_at_a_wish_and_when_they_stay_away() -> None:
    wish = KeyWish()
    assert wish.due(0.0, waiting=True), "at the start"
    assert not wish.due(KEY_AGAIN_S / 2, waiting=True)
    assert wish.due(KEY_AGAIN_S, waiting=True), "nobody heard"
    wish.came(1.1)
    assert not wish.due(2.0, waiting=False)
    wish.want()
    assert wish.due(2.0, waiting=False), "a reader's wish"
    wish.want()
    assert not wish.due(2.0 + KEY_GAP_S / 2, waiting=False), "not more often than that"
    assert wish.due(2.01 + KEY_GAP_S, waiting=False)
    wish.came(2.5)
    assert not wish.due(2.5 + KEY_EVERY_S - 0.1, waiting=False)
    assert wish.due(2.5 + KEY_EVERY_S, waiting=False), "they stay away"
