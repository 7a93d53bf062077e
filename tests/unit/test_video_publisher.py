"""Pictures for viewers: what is encoded can be decoded anywhere in it, and the decode thread never pays for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import av
import numpy as np
import pytest

from streamer.clock import FakeClock
from streamer.sinks.video import (
    KEY_EVERY_S,
    KEY_REQUEST_GAP_S,
    Encoder,
    VideoPublisher,
    bitrate_bps,
    encoded_hw,
)
from tests.fakes.clips import bar_picture
from tests.fakes.viewers import STEP, Kept, decoded, nal_types, ref, show


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def publisher(kept: Kept, clock: FakeClock) -> Iterator[VideoPublisher]:
    publisher = VideoPublisher("gate", kept, clock)
    yield publisher
    publisher.close()


def test_every_picture_becomes_one_packet_with_its_own_stamps(publisher: VideoPublisher, kept: Kept) -> None:
    publisher.set_watched(True)
    show(publisher, kept, range(30))
    assert [(p["s"], p["p"], p["q"], p["e"], p["w"]) for p in kept.packets] == [
        ("gate", seq * STEP, seq, 1, 1_000 + seq) for seq in range(30)
    ]
    assert decoded(kept.packets) == list(range(30))
    assert (publisher.encoders_started, publisher.packets, publisher.skipped) == (1, 30, 0)


def test_a_viewer_can_begin_at_any_key_frame(publisher: VideoPublisher, kept: Kept) -> None:
    publisher.set_watched(True)
    show(publisher, kept, range(120))
    keys = [i for i, p in enumerate(kept.packets) if p["k"]]
    assert keys == [0, 50, 100], "one each two seconds of stream time"
    assert KEY_EVERY_S == 2.0
    for i in keys:
        # Sequence and picture parameters stand in the stream (7, 8), then the picture (5): Annex B, nothing outside.
        assert [t for t in nal_types(kept.packets[i]["d"]) if t != 6] == [7, 8, 5]
        assert decoded(kept.packets[i : i + 10]) == [n % 50 for n in range(i, i + 10)]
    profile = kept.packets[0]["d"].split(b"\x00\x00\x01")[1][1]
    assert profile == 66, "baseline: what every browser answers to"


def test_a_requested_key_frame_comes_but_not_more_than_two_a_second(
    publisher: VideoPublisher, kept: Kept, clock: FakeClock
) -> None:
    publisher.set_watched(True)
    show(publisher, kept, range(3))
    publisher.request_keyframe()
    show(publisher, kept, range(3, 5))
    assert [p["k"] for p in kept.packets] == [True, False, False, False, False], (
        "the last key frame is too near"
    )
    clock.advance(KEY_REQUEST_GAP_S)
    show(publisher, kept, range(5, 8))
    assert [p["k"] for p in kept.packets[5:]] == [True, False, False], "the request was kept, and served once"


def test_nobody_watches_nothing_is_done(publisher: VideoPublisher, kept: Kept) -> None:
    assert not publisher.wanted
    publisher.offer(ref(0), bar_picture(0))
    assert publisher.encoders_started == 0
    before = threading.active_count()
    publisher.set_watched(True)
    assert publisher.wanted
    show(publisher, kept, range(3))
    publisher.set_watched(False)
    assert not publisher.wanted
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline, "the encoder's thread did not end"
    publisher.offer(ref(3), bar_picture(3))
    publisher.set_watched(True)
    show(publisher, kept, range(4, 6))
    assert [p["q"] for p in kept.packets] == [0, 1, 2, 4, 5]
    assert [p["k"] for p in kept.packets] == [True, False, False, True, False]
    assert publisher.encoders_started == 2


def test_a_slow_store_costs_pictures_and_never_the_decode_thread(
    publisher: VideoPublisher, kept: Kept
) -> None:
    publisher.set_watched(True)
    show(publisher, kept, range(1))
    kept.go.clear()
    publisher.offer(ref(1), bar_picture(1))
    began = time.monotonic()
    for seq in range(2, 200):
        publisher.offer(ref(seq), bar_picture(seq))
    assert time.monotonic() - began < 1
    kept.go.set()
    kept.wait_for(lambda: kept.packets[-1]["q"] == 199)
    assert len(kept.packets) + publisher.skipped == 200
    assert decoded(kept.packets)[-1] == 199 % 50


def test_a_broken_store_is_survived_and_viewers_go_on_at_a_key_frame(
    publisher: VideoPublisher, kept: Kept
) -> None:
    publisher.set_watched(True)
    show(publisher, kept, range(2))
    kept.broken = True
    publisher.offer(ref(2), bar_picture(2))
    deadline = time.monotonic() + 5
    while publisher.failures == 0:
        assert time.monotonic() < deadline
    kept.broken = False
    show(publisher, kept, range(3, 5))
    assert [p["k"] for p in kept.packets] == [True, False, True, False]


def test_a_new_epoch_or_size_begins_with_a_key_frame(publisher: VideoPublisher, kept: Kept) -> None:
    publisher.set_watched(True)
    show(publisher, kept, range(10, 12))
    show(publisher, kept, range(2), epoch=2)
    show(publisher, kept, range(2, 4), epoch=2, picture=np.zeros((120, 64, 3), np.uint8))
    assert [p["k"] for p in kept.packets] == [True, False] * 3
    assert publisher.encoders_started == 3


@pytest.mark.parametrize(
    ("source", "encoded"),
    [
        ((720, 1280), (720, 1280)),
        ((1080, 1920), (720, 1280)),
        ((2160, 3840), (720, 1280)),
        ((99, 101), (100, 100)),
        ((144, 256), (144, 256)),
        ((1920, 1080), (1280, 720)),
    ],
)
def test_sizes_are_even_and_bounded(source: tuple[int, int], encoded: tuple[int, int]) -> None:
    assert encoded_hw(source) == encoded
    assert 400_000 <= bitrate_bps(encoded, 25) <= 4_000_000


def test_a_decoded_frame_of_odd_size_and_other_format_is_taken() -> None:
    picture = av.VideoFrame.from_ndarray(np.full((99, 101, 3), 200, np.uint8), format="rgb24").reformat(
        format="yuv444p"
    )
    ((data, key, pts),) = Encoder(encoded_hw((99, 101)), 25).encode(picture, 7, key=True)
    assert (key, pts) == (True, 7)
    decoder = av.CodecContext.create("h264", "r")
    (shown,) = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]  # type: ignore[attr-defined]
    assert abs(float(shown.to_ndarray(format="rgb24").mean()) - 200) < 4


def test_a_browser_without_h264_has_vp8_and_only_while_it_watches(
    publisher: VideoPublisher, kept: Kept, clock: FakeClock
) -> None:
    publisher.set_watched(True, "vp8")
    assert publisher.wanted
    show(publisher, kept, range(3))
    publisher.request_keyframe("vp8")
    clock.advance(KEY_REQUEST_GAP_S)
    show(publisher, kept, range(3, 60))
    assert {p["c"] for p in kept.packets} == {"vp8"}
    assert [p["p"] for p in kept.packets] == [seq * STEP for seq in range(60)]
    assert [i for i, p in enumerate(kept.packets) if p["k"]] == [0, 3, 53]
    for start in (0, 3, 53):
        assert decoded(kept.packets[start : start + 7], "vp8") == [n % 50 for n in range(start, start + 7)]
    counts = publisher.counts()["vp8"]
    assert (counts.encoders_started, counts.encoders_running, counts.encoded) == (1, 1, 60)
    publisher.set_watched(False, "vp8")
    assert not publisher.wanted
    deadline = time.monotonic() + 5
    while publisher.counts()["vp8"].encoders_running:
        assert time.monotonic() < deadline, "the encoder is not freed"
    assert publisher.counts()["h264"].encoders_started == 0


def test_both_codecs_are_encoded_side_by_side(publisher: VideoPublisher, kept: Kept) -> None:
    publisher.set_watched(True)
    publisher.set_watched(True, "vp8")
    publisher.set_watched(True, "av1")  # whatever a message says
    publisher.request_keyframe("av1")
    for seq in range(10):
        publisher.offer(ref(seq), bar_picture(seq))
        kept.wait_for(lambda seq=seq: len(kept.packets) == 2 * (seq + 1))  # type: ignore[misc]
    for codec in ("h264", "vp8"):
        assert decoded([p for p in kept.packets if p["c"] == codec], codec) == list(range(10))
