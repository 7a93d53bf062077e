"""VideoSource on real files: order, time, looping, pacing, thinning, and packets that cannot be decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamer.clock import FakeClock
from streamer.sources.address import parse_address
from streamer.types import FrameRef
from tests.fakes.clips import bar_index, write_clip
from tests.fakes.sources import HW, Spec, play, source_of

# ---------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(("suffix", "b_frames"), [(".mp4", 0), (".mp4", 3), (".ts", 2), (".mkv", 3)])
def test_every_picture_in_order_with_its_time(tmp_path: Path, suffix: str, b_frames: int) -> None:
    spec = Spec(str(write_clip(tmp_path / f"a{suffix}", 30, b_frames=b_frames)))
    frames = play(spec)
    assert [bar_index(f.image) for f in frames] == list(range(30))
    assert [f.ref.seq for f in frames] == list(range(30))
    assert {f.ref.epoch for f in frames} == {7}
    ticks = [f.ref.pts90k - frames[0].ref.pts90k for f in frames]
    assert all(abs(t - 3600 * i) <= 90 for i, t in enumerate(ticks)), ticks
    assert all(f.image.shape == (*HW, 3) and f.image.dtype == np.uint8 for f in frames)
    assert all(f.source_hw == (96, 256) and not f.image.flags.writeable for f in frames)
    assert all(f.ref.captured_ns <= f.decoded_ns for f in frames)


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    source = source_of(Spec(f"file:{write_clip(tmp_path / 'a.mp4')}"))
    info = source.open()
    assert (info.codec, info.width, info.height, info.fps, info.live) == ("h264", 256, 96, 25.0, False)
    source.close()


def test_pictures_stay_as_they_were_when_more_are_decoded(tmp_path: Path) -> None:
    source = source_of(Spec(str(write_clip(tmp_path / "a.mp4", 20))))
    source.open()
    frames = source.frames()
    first = next(frames)
    kept = first.image.copy()
    rest = list(frames)
    assert len(rest) == 19
    assert np.array_equal(first.image, kept)


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".h264"])
def test_a_loop_goes_on_in_time(tmp_path: Path, suffix: str) -> None:
    frames = play(Spec(str(write_clip(tmp_path / f"a{suffix}", 10)), loop=True), limit=35)
    assert [bar_index(f.image) for f in frames] == [i % 10 for i in range(35)]
    assert [f.ref.seq for f in frames] == list(range(35))
    steps = np.diff([f.ref.pts90k for f in frames])
    assert np.all(np.abs(steps - 3600) <= 90), steps


def test_realtime_waits_for_each_picture_on_the_given_clock(tmp_path: Path) -> None:
    clock = FakeClock()
    began_ns = clock.monotonic_ns()
    source = source_of(Spec(str(write_clip(tmp_path / "a.mp4", 50)), realtime=True), clock)
    assert not source.open().live
    due_ms = [round((f.ref.captured_ns - began_ns) / 1e6) for f in source.frames()]
    assert due_ms == [40 * i for i in range(50)]


def test_thinned_pictures_are_counted_and_leave_no_gap_in_seq(tmp_path: Path) -> None:
    source = source_of(Spec(str(write_clip(tmp_path / "a.mp4", 30)), max_fps=12.5))
    source.open()
    frames = list(source.frames())
    assert [bar_index(f.image) for f in frames] == list(range(0, 30, 2))
    assert [f.ref.seq for f in frames] == list(range(15))
    assert source.thinned == 15


def test_the_tap_sees_the_full_picture_only_while_wanted(tmp_path: Path) -> None:
    class Tap:
        wanted = True
        seen: list[tuple[FrameRef, Any]] = []  # noqa: RUF012

        def offer(self, ref: FrameRef, picture: Any) -> None:
            self.seen.append((ref, picture))
            self.wanted = len(self.seen) < 5

        def no_packets(self, why: str) -> None:
            assert why == "a file read as fast as it can be"

    tap = Tap()
    source = source_of(Spec(str(write_clip(tmp_path / "a.mp4", 20))), tap=tap)
    source.open()
    assert len(list(source.frames())) == 20
    assert [ref.seq for ref, _ in tap.seen] == [0, 1, 2, 3, 4]
    assert [bar_index(p.to_ndarray(format="rgb24")) for _, p in tap.seen] == [0, 1, 2, 3, 4]


def test_corrupt_packets_are_skipped_and_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 60)
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size and not p.is_keyframe]
    data = bytearray(path.read_bytes())
    for pos, size in places[5:50:9]:
        data[pos + 8 : pos + size - 8] = b"\xff" * (size - 16)
    path.write_bytes(data)
    source = source_of(Spec(str(path)))
    source.open()
    frames = list(source.frames())
    assert source.skipped >= 3
    assert 40 <= len(frames) <= 60 - source.skipped
    stamps = [f.ref.pts for f in frames]
    assert stamps == sorted(set(stamps))


# ---------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("url", "kind", "ffmpeg"),
    [
        ("rtsp://a:b@cam/1", "rtsp", "rtsp://a:b@cam/1"),
        ("rtsps://cam:322/1", "rtsp", "rtsps://cam:322/1"),
        ("https://x/live.m3u8", "http", "https://x/live.m3u8"),
        ("file:///v/a.mp4", "file", "file:/v/a.mp4"),
        ("/v/a b.mp4", "file", "file:/v/a b.mp4"),
        ("/v/pipe:0", "file", "file:/v/pipe:0"),
        ("device:2", "device", "/dev/video2"),
        ("/dev/video1", "device", "/dev/video1"),
        ("world://street?seed=7", "world", "world://street?seed=7"),
    ],
)
def test_urls_and_what_ffmpeg_is_told(url: str, kind: str, ffmpeg: str) -> None:
    address = parse_address(url)
    assert (address.kind.value, address.ffmpeg) == (kind, ffmpeg)
    assert "a:b" not in address.shown + repr(address)
