"""Which packets may pass, and which are kept for a viewer who comes late."""

from __future__ import annotations

import pytest

from streamer.sinks.video_passing import (
    GOOD_GROUPS,
    GROUP_MAX_S,
    KEEP_BYTES,
    KEEP_PACKETS,
    LONG_GROUP,
    STALE_S,
    CameraPacket,
    Passing,
)
from tests.fakes.viewers import ref

PER_S = 25


def take(
    passing: Passing, seq: int, key: bool, *, epoch: int = 1, data: bytes = b"x", now_ns: int = 0
) -> bool:
    return passing.take(CameraPacket(ref(seq, epoch), data, key), now_ns)


def kept(passing: Passing, now_ns: int = 0) -> list[int]:
    return [packet.ref.seq for packet in passing.group(now_ns)]


def test_the_group_since_the_last_key_frame_is_kept() -> None:
    passing = Passing()
    assert (passing.known, passing.passes) == (False, False)
    assert not take(passing, 0, False), "there is nothing to begin with"
    assert not passing.known
    assert all(take(passing, seq, seq % 10 == 0) for seq in range(10, 38))
    assert passing.passes
    assert kept(passing) == list(range(30, 38))
    assert kept(passing) == list(range(30, 38)), "for the next one too"
    assert passing.given_up == 0


def test_a_new_connection_begins_at_its_key_frame() -> None:
    passing = Passing()
    take(passing, 0, True)
    take(passing, 1, False)
    assert not take(passing, 0, False, epoch=2)
    assert take(passing, 1, True, epoch=2)
    assert kept(passing) == [1]


def test_what_is_refused_stays_so_until_another_connection_brings_packets() -> None:
    passing = Passing()
    take(passing, 0, True)
    passing.refuse("b-frames")
    assert (passing.known, passing.passes, passing.why, kept(passing)) == (True, False, "b-frames", [])
    assert not take(passing, 1, False)
    assert passing.why == "b-frames"
    assert take(passing, 0, True, epoch=2)
    assert (passing.why, kept(passing)) == ("", [0])


def test_a_long_group_is_not_passed_until_several_were_short_again() -> None:
    passing = Passing()
    most = int(GROUP_MAX_S * PER_S)
    assert all(take(passing, seq, seq == 0) for seq in range(most + 1))
    assert not take(passing, most + 1, False)
    assert (passing.why, kept(passing)) == (LONG_GROUP, [])
    start = most + 20
    passed = [
        seq for seq in range(most + 2, start + 6 * PER_S) if take(passing, seq, (seq - start) % PER_S == 0)
    ]
    # The long group ends at `start`; the first three after it are watched, then packets pass from a key frame on.
    assert passed[0] == start + GOOD_GROUPS * PER_S
    assert passed == list(range(passed[0], start + 6 * PER_S))
    assert passing.why == ""


def test_one_more_long_group_begins_the_count_anew() -> None:
    passing = Passing()
    gap = int((GROUP_MAX_S + 1) * PER_S)
    at = 0
    for group in (gap, PER_S, PER_S, gap, PER_S, PER_S):
        take(passing, at, True)
        at += group
    assert not take(passing, at, True)
    assert take(passing, at + PER_S, True)


@pytest.mark.parametrize(
    ("size", "many"), [(1, KEEP_PACKETS), (KEEP_BYTES // 4, 4)], ids=["by count", "by bytes"]
)
def test_what_is_kept_is_bounded_and_what_is_given_up_is_counted(size: int, many: int) -> None:
    passing = Passing()
    data = bytes(size)
    # Five seconds are not over: so many packets come in one.
    packets = [CameraPacket(ref(0), data, True)] + [CameraPacket(ref(1), data, False)] * many
    assert all(passing.take(packet, 0) for packet in packets), "who has the key frame may have them all"
    assert (passing.given_up, passing.group(0)) == (1, [])
    take(passing, 2, False)
    assert kept(passing) == []
    take(passing, 3, True)
    assert (kept(passing), passing.given_up, passing.passes) == ([3], 1, True)


def test_a_picture_of_a_camera_that_went_silent_is_not_shown_as_live() -> None:
    passing = Passing()
    take(passing, 0, True, now_ns=10**9)
    assert kept(passing, 10**9 + int(STALE_S * 1e9)) == [0]
    assert kept(passing, 10**9 + int(STALE_S * 1e9) + 1) == []
    assert passing.given_up == 1
