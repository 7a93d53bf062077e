"""A camera's own packets for viewers: untouched, at once for who comes late, and never mixed up with encoded ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

import pytest

from streamer.clock import FakeClock
from streamer.sinks.video import NEXT_KEY, Encoder, VideoPublisher
from streamer.sinks.video_lane import QUEUE_PACKETS, SLOW_STORE
from streamer.sinks.video_passing import KEEP_BYTES, LONG_GROUP
from tests.fakes.clips import ROUND, bar_picture
from tests.fakes.viewers import STEP, Kept, decoded, ref, show

GROUP = 10


@cache
def camera(frames: int) -> tuple[tuple[bytes, bool], ...]:
    """What a camera sends of so many bar pictures: (H.264 Annex B, is a key frame), one key frame in ten."""
    encoder = Encoder((96, 256), 25)
    packets = [encoder.encode(bar_picture(i), i * STEP, key=i % GROUP == 0) for i in range(frames)]
    return tuple((data, key) for ((data, key, _),) in packets)


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


def send(publisher: VideoPublisher, seqs: range, *, epoch: int = 1) -> None:
    """Offer the camera's packets, and their pictures where they are wanted, as a source does."""
    packets = camera(60)
    for seq in seqs:
        data, key = packets[seq % 60]
        publisher.offer_packet(ref(seq, epoch), data, key)
        if publisher.wanted:
            publisher.offer(ref(seq, epoch), bar_picture(seq))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, what


def test_packets_pass_untouched_and_no_encoder_runs(publisher: VideoPublisher, kept: Kept) -> None:
    publisher.set_watched(True)
    assert publisher.fields()["viewer_video"] == ""
    send(publisher, range(25))
    kept.wait_for(lambda: len(kept.packets) == 25)
    assert [(p["d"], p["k"]) for p in kept.packets] == list(camera(60)[:25])
    assert [(p["p"], p["q"], p["e"], p["w"], p["c"]) for p in kept.packets] == [
        (seq * STEP, seq, 1, 1_000 + seq, "h264") for seq in range(25)
    ]
    assert decoded(kept.packets) == list(range(25))
    assert not publisher.wanted
    publisher.request_keyframe()  # the camera cannot be asked, and an encoder for one key frame is not worth it
    send(publisher, range(25, 30))
    kept.wait_for(lambda: len(kept.packets) == 30)
    counts = publisher.counts()["h264"]
    assert (counts.encoders_started, counts.passed, counts.encoded, counts.dropped) == (0, 30, 0, {})
    assert publisher.fields() == {
        "viewer_video": "pass-through",
        "viewer_video_why": "",
        "viewer_encoders": "0",
        "viewer_encoders_started": "0",
    }


def test_a_late_viewer_is_given_the_running_group_first(publisher: VideoPublisher, kept: Kept) -> None:
    send(publisher, range(38))
    assert kept.packets == [] and not publisher.wanted
    publisher.set_watched(True)
    kept.wait_for(lambda: len(kept.packets) == 8)
    send(publisher, range(38, 45))
    kept.wait_for(lambda: len(kept.packets) == 15)
    assert [p["p"] // STEP for p in kept.packets] == list(range(30, 45)), "under the camera's own time stamps"
    assert decoded(kept.packets) == list(range(30, 45))
    publisher.set_watched(False)
    send(publisher, range(45, 47))
    publisher.set_watched(True)
    kept.wait_for(lambda: len(kept.packets) == 22)
    assert [p["q"] for p in kept.packets[15:]] == list(range(40, 47)), (
        "the next one begins at a key frame too"
    )


def test_a_camera_that_turns_to_b_frames_is_encoded_from_that_picture_on(
    publisher: VideoPublisher, kept: Kept
) -> None:
    publisher.set_watched(True)
    send(publisher, range(13))
    publisher.no_packets("b-frames")
    assert publisher.wanted
    assert publisher.fields()["viewer_video"] == "encoded"
    assert publisher.fields()["viewer_video_why"] == "b-frames"
    kept.wait_for(lambda: len(kept.packets) == 13)
    show(publisher, kept, range(13, 20))
    assert [p["q"] for p in kept.packets] == list(range(20))
    assert [i for i, p in enumerate(kept.packets) if p["k"]] == [0, 10, 13]
    assert decoded(kept.packets) == list(range(20))
    assert decoded(kept.packets[13:]) == list(range(13, 20)), "the encoder begins with a key frame"
    assert publisher.counts()["h264"].encoders_running == 1
    # Its next connection can be passed again; the encoder is freed.
    send(publisher, range(15), epoch=2)
    kept.wait_for(lambda: len(kept.packets) == 35)
    assert decoded(kept.packets[20:]) == list(range(15))
    assert publisher.fields()["viewer_video"] == "pass-through"
    assert publisher.counts()["h264"].encoders_running == 0
    assert publisher.encoders_started == 1


def test_a_long_group_is_cut_short_by_the_encoder(publisher: VideoPublisher, kept: Kept) -> None:
    publisher.set_watched(True)
    data, (_, last) = camera(60), (0, 125)
    for seq in range(last + 1):
        publisher.offer_packet(ref(seq), data[seq % 60][0], seq == 0)
    assert not publisher.wanted
    publisher.offer_packet(ref(last + 1), data[1][0], False)
    assert publisher.wanted and publisher.fields()["viewer_video_why"] == LONG_GROUP
    kept.wait_for(lambda: len(kept.packets) == last + 1)
    show(publisher, kept, range(last + 1, last + 5))
    assert [p["q"] for p in kept.packets] == list(range(last + 5))
    assert [p["q"] for p in kept.packets if p["k"]] == [0, last + 1]
    assert decoded(kept.packets[-4:]) == [n % ROUND for n in range(last + 1, last + 5)]


def test_where_the_group_is_too_large_to_keep_the_encoder_helps_until_the_next_key_frame(
    publisher: VideoPublisher, kept: Kept
) -> None:
    packets = camera(60)
    publisher.offer_packet(ref(0), packets[0][0] + bytes(KEEP_BYTES), True)
    publisher.offer_packet(ref(1), packets[1][0], False)
    assert publisher.groups_given_up == 1
    publisher.set_watched(True)
    assert publisher.wanted and publisher.fields()["viewer_video_why"] == NEXT_KEY
    for seq in range(2, 10):
        publisher.offer_packet(ref(seq), packets[seq][0], False)
        show(publisher, kept, range(seq, seq + 1))
    send(publisher, range(10, 16))
    kept.wait_for(lambda: len(kept.packets) == 14)
    assert [p["q"] for p in kept.packets] == list(range(2, 16))
    assert [p["q"] for p in kept.packets if p["k"]] == [2, 10]
    assert decoded(kept.packets) == list(range(2, 16))
    assert publisher.fields()["viewer_video"] == "pass-through" and not publisher.wanted


def test_a_slow_store_costs_whole_groups_and_every_packet_is_accounted_for(
    publisher: VideoPublisher, kept: Kept
) -> None:
    publisher.set_watched(True)
    send(publisher, range(1))
    kept.wait_for(lambda: len(kept.packets) == 1)
    kept.go.clear()
    sent = 2 * QUEUE_PACKETS + 25
    began = time.monotonic()
    send(publisher, range(1, sent))
    assert time.monotonic() - began < 2, "the decode thread does not wait"
    kept.go.set()
    kept.wait_for(lambda: kept.packets[-1]["q"] == sent - 1)
    lost = publisher.counts()["h264"].dropped[SLOW_STORE]
    assert lost > 0 and len(kept.packets) + lost == sent
    seqs = [p["q"] for p in kept.packets]
    after = [b for a, b in pairwise(seqs) if b != a + 1]
    assert after and all(seq % GROUP == 0 for seq in after), "behind each hole comes a key frame"


def test_a_store_that_fails_once_costs_the_rest_of_the_group(publisher: VideoPublisher, kept: Kept) -> None:
    publisher.set_watched(True)
    send(publisher, range(3))
    kept.wait_for(lambda: len(kept.packets) == 3)
    kept.broken = True
    send(publisher, range(3, 4))
    until(lambda: publisher.failures == 1, "the failure is counted")
    kept.broken = False
    send(publisher, range(4, 12))
    kept.wait_for(lambda: len(kept.packets) == 5)
    assert [p["q"] for p in kept.packets] == [0, 1, 2, 10, 11]


def test_vp8_is_encoded_beside_packets_that_pass(publisher: VideoPublisher, kept: Kept) -> None:
    publisher.set_watched(True)
    publisher.set_watched(True, "vp8")
    for seq in range(12):
        send(publisher, range(seq, seq + 1))
        kept.wait_for(lambda seq=seq: len(kept.packets) == 2 * (seq + 1))  # type: ignore[misc]
    by_codec = {c: [p for p in kept.packets if p["c"] == c] for c in ("h264", "vp8")}
    assert [p["d"] for p in by_codec["h264"]] == [data for data, _ in camera(60)[:12]]
    assert decoded(by_codec["vp8"], "vp8") == list(range(12))
    assert [p["p"] for p in by_codec["vp8"]] == [p["p"] for p in by_codec["h264"]]
    counts = publisher.counts()
    assert (counts["h264"].encoders_started, counts["vp8"].encoders_started) == (0, 1)
    publisher.set_watched(False, "vp8")
    send(publisher, range(12, 14))
    kept.wait_for(lambda: len(kept.packets) == 26)
    assert not publisher.wanted
    until(lambda: publisher.counts()["vp8"].encoders_running == 0, "the VP8 encoder is freed")
