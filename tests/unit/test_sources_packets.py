"""The packets that a source offers to viewers: whole, in order, stamped as their pictures; or why there are none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from av.video.frame import PictureType

from streamer.clock import FakeClock
from streamer.sinks.video_encoder import Encoder
from streamer.sources.annexb import is_annexb, nal_units, with_parameter_sets
from streamer.sources.packets import MAX_PENDING, Packets
from streamer.types import Frame, FrameRef
from tests.fakes.clips import ROUND, bar_index, bar_picture, write_clip
from tests.fakes.sources import Spec, source_of
from tests.fakes.viewers import decoded, nal_types, ref


class Tap:
    """Keeps all that is offered, and never wants a picture."""

    wanted = False

    def __init__(self) -> None:
        self.offered: list[tuple[FrameRef, bytes, bool]] = []
        self.whys: list[str] = []
        self.pictures: list[FrameRef] = []

    def offer(self, ref: FrameRef, picture: Any) -> None:
        self.pictures.append(ref)

    def offer_packet(self, ref: FrameRef, data: bytes, key: bool) -> None:
        self.offered.append((ref, data, key))

    def no_packets(self, why: str) -> None:
        self.whys.append(why)

    def fields(self) -> dict[str, str]:
        return {}

    @property
    def numbers(self) -> list[int]:
        """The numbers of the pictures that a browser would show."""
        return decoded([{"d": data} for _, data, _ in self.offered])


def watch(path: Path, *, limit: int = 10_000, **fields: Any) -> tuple[Tap, list[Frame]]:
    """Play a file at its own speed on a clock that runs ahead; what the tap was offered, and the frames."""
    tap, frames = Tap(), []
    source = source_of(Spec(str(path), **{"realtime": True, **fields}), FakeClock(), tap)
    source.open()
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == limit:
            break
    source.close()
    return tap, frames


# -------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".h264"])
def test_every_packet_is_offered_as_the_picture_decoded_from_it(tmp_path: Path, suffix: str) -> None:
    tap, frames = watch(write_clip(tmp_path / f"a{suffix}", 30))
    assert tap.whys == []
    assert [offered for offered, _, _ in tap.offered] == [frame.ref for frame in frames]
    assert tap.numbers == list(range(30))
    for i, (_, data, key) in enumerate(tap.offered):
        assert is_annexb(data)
        kinds = [kind for kind in nal_types(data) if kind not in (6, 9)]
        assert key is (i % 10 == 0)
        assert kinds == ([7, 8, 5] if key else [1]), "parameter sets at each key frame"
    # A browser may begin at any key frame.
    assert decoded([{"d": data} for _, data, _ in tap.offered[20:]]) == list(range(20, 30))


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".h264"])
def test_stamps_stay_equal_over_a_loop(tmp_path: Path, suffix: str) -> None:
    tap, frames = watch(write_clip(tmp_path / f"a{suffix}", 15), loop=True, limit=50)
    assert [offered.pts90k for offered, _, _ in tap.offered] == [frame.ref.pts90k for frame in frames]
    assert all(a.pts90k < b.pts90k for (a, _, _), (b, _, _) in pairwise(tap.offered))
    assert [i for i, (_, _, key) in enumerate(tap.offered) if key] == [0, 10, 15, 25, 30, 40, 45]
    assert tap.numbers == [bar_index(frame.image) for frame in frames] == [i % 15 for i in range(50)]


def test_with_max_fps_the_packets_go_out_all_the_same(tmp_path: Path) -> None:
    tap, frames = watch(write_clip(tmp_path / "a.mp4", 30), max_fps=12.5)
    assert len(frames) == 15
    assert tap.numbers == list(range(30))
    stamps = [offered.pts90k for offered, _, _ in tap.offered]
    assert stamps[::2] == [frame.ref.pts90k for frame in frames], "each result finds its picture"
    assert [offered.seq for offered, _, _ in tap.offered] == [(i + 1) // 2 for i in range(30)]


def test_a_paced_file_sends_its_packets_when_they_are_due(tmp_path: Path) -> None:
    clock, tap = FakeClock(), Tap()
    began_ns = clock.monotonic_ns()
    source = source_of(Spec(str(write_clip(tmp_path / "a.mp4", 20)), realtime=True, max_fps=5), clock, tap)
    source.open()
    assert len(list(source.frames())) == 4
    due_ms = [round((offered.captured_ns - began_ns) / 1e6) for offered, _, _ in tap.offered]
    assert due_ms == [40 * i for i in range(20)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_b_frames_are_never_offered(tmp_path: Path, suffix: str) -> None:
    tap, frames = watch(write_clip(tmp_path / f"a{suffix}", 30, b_frames=3))
    assert (len(frames), tap.offered, tap.whys) == (30, [], ["b-frames"])


def test_b_frames_that_come_later_end_it_at_once(tmp_path: Path) -> None:
    many = 250  # opening a file looks some way into it, and must not see them yet
    plain = write_clip(tmp_path / "plain.h264", many).read_bytes()
    reordered = write_clip(tmp_path / "b.h264", 20, b_frames=3).read_bytes()
    both = tmp_path / "both.h264"
    both.write_bytes(plain + reordered)
    tap, frames = watch(both)
    assert tap.whys == ["b-frames"]
    assert tap.numbers[:many] == [i % ROUND for i in range(many)]
    assert many <= len(tap.offered) <= many + 1, "one key frame, as yet without B-frames, may have gone"
    assert [offered.pts90k for offered, _, _ in tap.offered] == [
        frame.ref.pts90k for frame in frames[: len(tap.offered)]
    ]
    assert len(frames) >= many + 19


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "why"),
    [
        ("libx265", "yuv420p", "hevc"),
        ("mpeg4", "yuv420p", "mpeg4"),
        ("libx264", "yuv422p", "profile High 4:2:2"),
        ("libx264", "yuv420p10le", "profile High 10"),
    ],
)
def test_what_browsers_do_not_play_is_named(tmp_path: Path, codec: str, pix_fmt: str, why: str) -> None:
    tap, frames = watch(write_clip(tmp_path / "a.mkv", 12, codec=codec, pix_fmt=pix_fmt))
    assert (len(frames), tap.offered, tap.whys) == (12, [], [why])


def test_a_file_read_as_fast_as_it_can_be_is_not_passed(tmp_path: Path) -> None:
    tap, _ = watch(write_clip(tmp_path / "a.mp4", 12), realtime=None)
    assert (tap.offered, tap.whys) == ([], ["a file read as fast as it can be"])


def test_a_packet_that_cannot_be_decoded_leaves_the_others_with_their_own_stamps(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 60)
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size and not p.is_keyframe]
    data = bytearray(path.read_bytes())
    for pos, size in places[5:50:9]:
        data[pos + 8 : pos + size - 8] = b"\xff" * (size - 16)
    path.write_bytes(data)
    tap, frames = watch(path)
    assert tap.whys == []
    assert [offered for offered, _, _ in tap.offered] == [frame.ref for frame in frames]
    assert 40 <= len(frames) < 60


# ------------------------------------------------------------------------------------------- packets made by hand


def stream_of(**fields: Any) -> Any:
    """What `Packets` reads of a stream."""
    known = {"extradata": None, "has_b_frames": False, "profile": "Main", "pix_fmt": "yuv420p", **fields}
    return SimpleNamespace(codec_context=SimpleNamespace(codec=SimpleNamespace(name="h264"), **known))


def picture_of(arrival: object, kind: PictureType = PictureType.P, interlaced: bool = False) -> Any:
    return SimpleNamespace(opaque=arrival, pict_type=kind, interlaced_frame=interlaced)


def camera(frames: int) -> list[bytes]:
    encoder = Encoder((96, 256), 25)
    return [encoder.encode(bar_picture(i), i * 3600, key=i == 0)[0][0] for i in range(frames)]


def split(key: bytes) -> tuple[bytes, bytes]:
    """(parameter sets, the rest) of a key frame."""
    units = nal_units(key)
    slices = next(place for kind, place in units if kind in (5, 6))
    return key[:slices], key[slices:]


def test_parameter_sets_that_lie_beside_the_stream_are_put_into_each_key_frame() -> None:
    key, *others = camera(4)
    sets, bare = split(key)
    assert nal_types(bare)[-1] == 5 and 7 not in nal_types(bare)
    tap = Tap()
    packets = Packets(tap, stream_of(extradata=sets), played_in_time=True)
    for seq, data in enumerate([bare, *others, b"\x00\x00\x00\x01\x09\x30" + bare]):
        arrival = (seq,)
        packets.keep(av.Packet(data), arrival)
        packets.offer(ref(seq), picture_of(arrival))
    assert [key for _, _, key in tap.offered] == [True, False, False, False, True]
    assert tap.offered[0][1] == key, "as the camera would have sent it"
    assert nal_types(tap.offered[4][1])[:3] == [9, 7, 8], "behind the delimiter, which must be first"
    assert tap.numbers == [0, 1, 2, 3, 0]


def test_parameter_sets_in_a_packet_of_their_own_go_with_their_picture() -> None:
    key, *others = camera(3)
    sets, bare = split(key)
    tap = Tap()
    packets = Packets(tap, stream_of(), played_in_time=True)
    packets.keep(av.Packet(sets), "sets")
    for seq, data in enumerate([bare, *others]):
        packets.keep(av.Packet(data), seq_token := (seq,))
        packets.offer(ref(seq), picture_of(seq_token))
    assert tap.offered[0][1] == key
    assert tap.numbers == [0, 1, 2]


def test_a_connection_begins_at_a_key_frame() -> None:
    key, *others = camera(3)
    tap = Tap()
    packets = Packets(tap, stream_of(), played_in_time=True)
    for seq, data in enumerate([*others, key, *others]):
        packets.keep(av.Packet(data), token := (seq,))
        packets.offer(ref(seq), picture_of(token))
    assert [offered.seq for offered, _, _ in tap.offered] == [2, 3, 4]


def test_a_camera_that_never_sends_a_key_frame_is_encoded() -> None:
    _, other = camera(2)
    tap = Tap()
    packets = Packets(tap, stream_of(), played_in_time=True)
    for seq in range(127):
        assert tap.whys == [], "a camera is met within its group, and its key frame is awaited"
        packets.keep(av.Packet(other), token := (seq,))
        packets.offer(ref(seq), picture_of(token))
    assert (tap.offered, tap.whys) == ([], ["no key frames"])


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"kind": PictureType.B}, "b-frames"),
        ({"interlaced": True}, "interlaced"),
        ({"arrival": "another packet"}, "b-frames"),
    ],
)
def test_the_picture_itself_tells(second: dict[str, Any], why: str) -> None:
    key, other = camera(2)
    tap = Tap()
    packets = Packets(tap, stream_of(), played_in_time=True)
    packets.keep(av.Packet(key), first := ("key",))
    packets.offer(ref(0), picture_of(first))
    packets.keep(av.Packet(other), token := ("other",))
    packets.offer(ref(1), picture_of(**{"arrival": token, **second}))
    packets.keep(av.Packet(key), third := ("third",))
    packets.offer(ref(2), picture_of(third))
    assert [offered.seq for offered, _, _ in tap.offered] == [0]
    assert tap.whys == [why], "said once, and for the whole connection"


def test_packets_without_a_picture_are_bounded_and_counted() -> None:
    key, other = camera(2)
    tap = Tap()
    packets = Packets(tap, stream_of(), played_in_time=True)
    packets.keep(av.Packet(key), first := ("key",))
    packets.offer(ref(0), picture_of(first))
    for seq in range(MAX_PENDING + 4):
        packets.keep(av.Packet(other), token := (seq,))
    assert packets.lost == 4
    packets.offer(ref(1), picture_of(token))
    assert packets.lost == MAX_PENDING + 3
    assert [offered.seq for offered, _, _ in tap.offered] == [0, 1]


def test_units_are_found_whatever_their_start_codes() -> None:
    data = b"\x00\x00\x00\x01\x09\x30\x00\x00\x01\x67\x42\x00\x00\x03\x00\x00\x00\x01\x65\x88\x00\x00\x01"
    assert nal_units(data) == [(9, 0), (7, 6), (5, 14)]
    assert nal_units(b"") == nal_units(b"\x00\x00\x01") == []
    assert with_parameter_sets(data, b"<sets>") == data[:6] + b"<sets>" + data[6:]
    assert with_parameter_sets(data[14:], b"<sets>") == b"<sets>" + data[14:]
