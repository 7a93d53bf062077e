"""From a real RTSP camera to the packets that viewers read in Redis: passed on where they can be, else encoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import redis

from streamer.clock import SystemClock
from streamer.sinks.redis import RedisSink
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.sinks.video import VideoPublisher
from streamer.types import Frame
from streamer.wire import keys
from tests.fakes.clips import bar_index, write_clip
from tests.fakes.redis_rig import until
from tests.fakes.rtsp import rtsp_camera
from tests.fakes.sources import Spec, source_of
from tests.fakes.viewers import decoded, nal_types


class Worker:
    """A camera's source on a thread of its own, with its tap; `frames` are those that came to be analysed."""

    def __init__(self, url: str, sink: RedisSink, **fields: Any) -> None:
        self.sink = sink
        self.tap = VideoPublisher("gate", sink, SystemClock())
        self.frames: list[Frame] = []
        self._stop = threading.Event()
        self._source = source_of(Spec(url, **fields), tap=self.tap)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._source.open()
        for frame in self._source.frames():
            self.frames.append(frame)
            if self._stop.is_set():
                return

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._source.close()
        self._thread.join(10)
        self.tap.close()

    def has(self, frames: int) -> Callable[[], bool]:
        return lambda: len(self.frames) >= frames


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path) as server:
        yield server


@contextmanager
def worker(server: EmbeddedRedis, url: str, tmp_path: Path, **fields: Any) -> Iterator[Worker]:
    with RedisSink(server.url, tmp_path / "data") as sink, Worker(url, sink, **fields) as worker:
        yield worker


class Viewer:
    """Reads every packet from now on; what Redis still keeps of them is less."""

    def __init__(self, server: EmbeddedRedis, codec: str = "h264") -> None:
        self._redis = redis.Redis.from_url(server.url)
        self._key, self._after = keys.video("gate", codec), b"0"
        self.packets: list[dict[str, Any]] = []

    def has(self, packets: int) -> Callable[[], bool]:
        return lambda: len(self.read()) >= packets

    def read(self) -> list[dict[str, Any]]:
        entries: Any = self._redis.xrange(self._key, b"(" + self._after)
        for self._after, f in entries:
            self.packets.append(
                {"d": f[b"d"], "k": f[b"k"] == b"1", "p": int(f[b"p"]), "q": int(f[b"q"]), "c": f[b"c"]}
            )
        return self.packets


def shown_as_analysed(packets: list[dict[str, Any]], frames: list[Frame], codec: str = "h264") -> int:
    """How many packets show the very picture that was analysed under their time stamp; fails for one that does not."""
    by_pts = {frame.ref.pts90k: bar_index(frame.image) for frame in frames}
    shown = decoded(packets, codec)
    assert len(shown) == len(packets)
    pairs = [(by_pts[p["p"]], number) for p, number in zip(packets, shown, strict=True) if p["p"] in by_pts]
    assert all(analysed == number for analysed, number in pairs), pairs
    return len(pairs)


@pytest.mark.parametrize("sets_beside", [False, True], ids=["sets in the stream", "sets beside it"])
def test_a_cameras_packets_reach_a_late_viewer_as_they_are(
    server: EmbeddedRedis, tmp_path: Path, sets_beside: bool
) -> None:
    clip = write_clip(tmp_path / "bars.mp4", 500)
    with (
        rtsp_camera(clip, sets_beside=sets_beside) as camera,
        worker(server, camera.url, tmp_path, max_fps=12.5) as it,
    ):
        until(it.has(13), "pictures come")
        viewer = Viewer(server)
        assert viewer.read() == [], "nobody watches"
        newest = it.frames[-1].ref.pts90k
        it.tap.set_watched(True)
        until(viewer.has(25), "packets for the viewer")
        packets = viewer.packets
        assert packets[0]["k"] and packets[0]["p"] <= newest, "it begins in the past, at a key frame"
        kinds = [kind for kind in nal_types(packets[0]["d"]) if kind not in (6, 9)]
        assert kinds == ([7, 8, 5] if sets_beside else [7, 8, 7, 8, 5]), (
            "put in where missing, else as they came"
        )
        steps = {b["p"] - a["p"] for a, b in pairwise(packets)}
        assert steps == {3600}, "every picture of 25 a second, though half of them are analysed"
        until(lambda: it.frames[-1].ref.pts90k >= packets[-1]["p"], "the last of them is analysed")
        assert shown_as_analysed(packets, it.frames) >= 12
        assert it.tap.encoders_started == 0
        assert it.tap.fields()["viewer_video"] == "pass-through"


def test_the_packets_of_a_camera_with_b_frames_are_encoded(server: EmbeddedRedis, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "bars.mp4", 500, b_frames=3)
    with rtsp_camera(clip) as camera, worker(server, camera.url, tmp_path) as it:
        it.tap.set_watched(True)
        it.tap.set_watched(True, "vp8")
        h264, vp8 = Viewer(server), Viewer(server, "vp8")
        until(h264.has(30), "packets")
        until(vp8.has(30), "packets in the other codec")
        fields = it.tap.fields()
        assert (fields["viewer_video"], fields["viewer_video_why"]) == ("encoded", "b-frames")
        assert fields["viewer_encoders"] == "2"
        packets = h264.packets
        assert packets[0]["k"] and {p["c"] for p in packets} == {b"h264"}
        assert vp8.packets[0]["k"] and {p["c"] for p in vp8.packets} == {b"vp8"}
        stamps = [p["p"] for p in packets]
        assert stamps == sorted(set(stamps))
        until(lambda: it.frames[-1].ref.pts90k >= packets[-1]["p"], "the last of them is analysed")
        assert shown_as_analysed(packets, it.frames) >= 29
        assert shown_as_analysed(vp8.packets[:25], it.frames, "vp8") == 25
        assert it.tap.counts()["h264"].encoders_started == 1


def test_an_h265_camera_is_seen_through_the_encoder(server: EmbeddedRedis, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "bars.mp4", 500, codec="libx265")
    with rtsp_camera(clip, h265=True) as camera, worker(server, camera.url, tmp_path) as it:
        it.tap.set_watched(True)
        viewer = Viewer(server)
        until(viewer.has(30), "packets")
        packets = list(viewer.packets)
        fields = it.tap.fields()
        assert (fields["viewer_video"], fields["viewer_video_why"]) == ("encoded", "hevc")
        assert packets[0]["k"] and {p["c"] for p in packets} == {b"h264"}
        until(lambda: it.frames[-1].ref.pts90k >= packets[-1]["p"], "the last of them is analysed")
        assert shown_as_analysed(packets, it.frames) >= 29
        assert it.tap.encoders_started == 1


@pytest.mark.media
def test_real_footage_with_b_frames_is_encoded(
    server: EmbeddedRedis, tmp_path: Path, people_mp4: Path
) -> None:
    with rtsp_camera(people_mp4) as camera, worker(server, camera.url, tmp_path) as it:
        it.tap.set_watched(True)
        viewer = Viewer(server)
        until(viewer.has(8), "packets")
        assert it.tap.fields()["viewer_video_why"] == "b-frames"
        packets = list(viewer.packets)
        decoder = av.CodecContext.create("h264", "r")
        pictures = [p for packet in packets for p in decoder.decode(av.Packet(packet["d"]))]
        until(lambda: it.frames[-1].ref.pts90k >= packets[len(pictures) - 1]["p"], "they are analysed")
        by_pts = {frame.ref.pts90k: frame.image for frame in it.frames}
        for packet, picture in zip(packets, pictures, strict=False):
            analysed = by_pts[packet["p"]]
            height, width = analysed.shape[:2]
            seen = picture.reformat(width, height, "rgb24").to_ndarray()
            assert float(np.abs(seen.astype(int) - analysed).mean()) < 6
