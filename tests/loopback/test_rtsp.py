"""VideoSource against a real RTSP server: pictures, loss and return, refusals, and the camera's own clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest

from streamer.errors import SourceCode, SourceError
from streamer.ports import Source
from tests.fakes.clips import ROUND, bar_index, write_clip
from tests.fakes.rtsp import RtspCamera, rtsp_camera
from tests.fakes.sources import Spec, failure_of, play, source_of


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of bars, so that no test meets its end."""
    return write_clip(tmp_path_factory.mktemp("clips") / "bars.mp4", 1500)


@pytest.fixture
def camera(minute: Path) -> Iterator[RtspCamera]:
    with rtsp_camera(minute) as camera:
        yield camera


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_arrive_in_order_and_on_time(camera: RtspCamera, transport: str) -> None:
    source = source_of(Spec(camera.url, transport=transport))
    info = source.open()
    assert (info.codec, info.width, info.height, info.live) == ("h264", 256, 96, True)
    frames = list(islice(source.frames(), 40))
    source.close()
    steps = {(bar_index(b.image) - bar_index(a.image)) % ROUND for a, b in pairwise(frames)}
    assert steps == {1}
    assert {b.ref.pts90k - a.ref.pts90k for a, b in pairwise(frames)} == {3600}
    # From packet to picture on this thread: were frames held back, each would take 40 ms or more.
    assert min(f.decoded_ns - f.ref.captured_ns for f in frames) < 20e6


def test_the_cameras_wall_clock_is_taken_from_its_reports(camera: RtspCamera) -> None:
    source = source_of(Spec(camera.url))
    source.open()
    # gst-rtsp-server's first sender report comes within some seconds; from then on the stamps are the camera's, which
    # are as even as its pictures, while times of arrival never are.
    run: list[int] = []
    deadline = time.monotonic() + 15
    for frame in source.frames():
        run.append(frame.ref.wall_ns)
        if len(run) > 10 and all(abs(b - a - 40_000_000) < 20_000 for a, b in pairwise(run[-10:])):
            break
        assert time.monotonic() < deadline, "no sender report was used"
    assert abs(run[-1] - time.time_ns()) < 2e9
    source.close()


def test_a_killed_server_is_noticed_and_its_return_too(camera: RtspCamera) -> None:
    source: Source = source_of(Spec(camera.url, read_timeout_s=2))
    source.open()
    frames = source.frames()
    assert len(list(islice(frames, 10))) == 10
    camera.kill()
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        for _ in frames:
            pass
    assert caught.value.code in (SourceCode.LOST, SourceCode.TIMEOUT)
    assert caught.value.retryable
    assert time.monotonic() - began < 4
    source.close()
    assert failure_of(Spec(camera.url)).code is SourceCode.REFUSED
    camera.start()
    assert [f.ref.seq for f in play(Spec(camera.url), limit=10)] == list(range(10))


def test_the_end_of_a_live_stream_is_a_loss(tmp_path: Path) -> None:
    with rtsp_camera(write_clip(tmp_path / "short.mp4", 20)) as camera:
        error = failure_of(Spec(camera.url, read_timeout_s=2))
    assert error.code in (SourceCode.LOST, SourceCode.TIMEOUT)
    assert error.retryable


def test_a_wrong_path_is_not_found(camera: RtspCamera) -> None:
    error = failure_of(Spec(camera.url + "/nothing-here"))
    assert (error.code, error.retryable) == (SourceCode.NOT_FOUND, True)


def test_a_password_is_needed_used_and_never_shown(minute: Path) -> None:
    with rtsp_camera(minute, user="viewer", password="open-sesame") as camera:
        assert failure_of(Spec(camera.url)).code is SourceCode.AUTH_FAILED
        wrong = failure_of(Spec(camera.url.replace("//", "//viewer:hunter2@")))
        assert wrong.code is SourceCode.AUTH_FAILED
        assert "hunter2" not in str(wrong)
        right = camera.url.replace("//", "//viewer:open-sesame@")
        assert len(play(Spec(right), limit=5)) == 5


@pytest.mark.media
def test_a_real_corridor_camera_with_b_frames(people_mp4: Path) -> None:
    with rtsp_camera(people_mp4) as camera:
        frames = play(Spec(camera.url), limit=25)
    assert {f.source_hw for f in frames} == {(432, 768)}
    assert {b.ref.pts90k - a.ref.pts90k for a, b in pairwise(frames)} == {9000}
    assert min(float(f.image.std()) for f in frames) > 10


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_guarded_stream_plays_from_a_name_and_is_refused_where_it_may_not_go(
    camera: RtspCamera, transport: str
) -> None:
    url = camera.url.replace("127.0.0.1", "localhost")
    assert url != camera.url
    assert len(play(Spec(url, transport=transport, guard=("localhost",)), limit=5)) == 5
    error = failure_of(Spec(url, transport=transport, guard=()))
    assert error.code is SourceCode.REFUSED and "not admitted" in str(error)
