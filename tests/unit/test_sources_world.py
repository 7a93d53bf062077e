"""The synthetic camera keeps its beat on the clock it is given, and says clearly what is wrong with its url."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from streamer.clock import FakeClock, SystemClock
from streamer.errors import SourceCode, SourceError
from streamer.sources.world import parse_world_url
from streamer.types import FrameRef
from streamer.world import World
from tests.fakes.sources import HW, Spec, failure_of, play, source_of

URL = "world://street?seed=8&people=5&fps=12.5&size=160x96&noise=0"


class Tap:
    """A viewer that watches or not."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.seen: list[tuple[FrameRef, np.ndarray[Any, Any]]] = []
        self.why: list[str] = []

    def no_packets(self, why: str) -> None:
        self.why.append(why)

    def offer(self, ref: FrameRef, picture: Any) -> None:
        self.seen.append((ref, picture))


def test_the_url_says_what_the_street_is() -> None:
    config = parse_world_url(
        "world://street?seed=7&people=6&vehicles=2&dogs=1&weather=rain&fps=25&size=320x180&hour=21.5&noise=3&theme=brick"
    )
    assert (config.seed, config.people, config.vehicles, config.dogs, config.weather) == (7, 6, 2, 1, "rain")
    assert (config.fps, config.width, config.height) == (25, 320, 180)
    assert (config.hour, config.noise, config.theme) == (21.5, 3, "brick")
    camera = parse_world_url(
        "world://street?weather=fog&theme=glass&view=high&shake=2.5&zoom=0.4&blur=0.8&exposure=0.2&compression=40"
        "&lookalikes=0.5&events=0.75"
    )
    assert (camera.weather, camera.theme, camera.view) == ("fog", "glass", "high")
    assert (camera.shake, camera.zoom, camera.blur, camera.exposure) == (2.5, 0.4, 0.8, 0.2)
    assert (camera.compression, camera.lookalikes, camera.events) == (40, 0.5, 0.75)
    plain = parse_world_url("world://street")
    assert (plain.lookalikes, plain.events) == (0, 0)
    assert (plain.view, plain.shake, plain.zoom, plain.compression) == (None, None, 0, 0)
    assert (plain.width, plain.height, plain.fps, plain.people) == (640, 360, 12.5, None)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("world://street?sead=7", "sead"),
        ("world://street?seed=seven", "seed=seven"),
        ("world://street?seed=", "seed="),
        ("world://street?seed=1&seed=2", "twice"),
        ("world://street?size=640", "size=640"),
        ("world://street?size=4x4", "out of range"),
        ("world://street?weather=hail", "hail"),
        ("world://street?theme=marble", "marble"),
        ("world://street?fps=0", "fps"),
        ("world://street?hour=nan", "hour"),
        ("world://street?people=-1", "people"),
        ("world://street?view=sideways", "sideways"),
        ("world://street?shake=99", "shake"),
        ("world://street?shake=much", "shake=much"),
        ("world://street?zoom=1.5", "zoom"),
        ("world://street?blur=-1", "blur"),
        ("world://street?events=2", "events"),
        ("world://street?lookalikes=-1", "lookalikes"),
        ("world://street?exposure=nan", "exposure"),
        ("world://street?compression=1", "compression"),
        ("world://street?compression=50.5", "compression=50.5"),
        ("world://moon?seed=1", "moon"),
        ("world://", "world://"),
    ],
)
def test_a_bad_url_is_one_line_and_not_tried_again(url: str, named: str) -> None:
    error = failure_of(Spec(url))
    assert named in str(error) and error.mend
    assert error.code is SourceCode.INVALID and not error.retryable


def test_frames_come_on_the_beat_with_their_time() -> None:
    clock = FakeClock()
    began_ns = clock.monotonic_ns()
    source = source_of(Spec(URL), clock)
    info = source.open()
    assert (info.codec, info.width, info.height, info.fps, info.live) == ("world", 160, 96, 12.5, True)
    assert source.last_truth is None
    frames, world = [], World(parse_world_url(URL))
    for frame in source.frames():
        _, truth = world.step()
        assert np.array_equal(source.last_truth.instances, truth.instances)
        frames.append(frame)
        if len(frames) == 10:
            break
    source.close()
    assert [round((f.ref.captured_ns - began_ns) / 1e6) for f in frames] == [80 * i for i in range(10)]
    assert [f.ref.pts90k for f in frames] == [7200 * i for i in range(10)]
    assert [f.ref.seq for f in frames] == list(range(10))
    assert {(f.ref.stream, f.ref.epoch, f.source_hw) for f in frames} == {("gate", 7, (96, 160))}
    assert all(f.image.shape == (*HW, 3) and not f.image.flags.writeable for f in frames)
    assert all(f.ref.captured_ns <= f.decoded_ns for f in frames)


def test_a_late_reader_loses_frames_and_never_gains_delay() -> None:
    clock = FakeClock()
    source = source_of(Spec(URL), clock)
    source.open()
    frames = source.frames()
    began_ns = clock.monotonic_ns()
    next(frames)
    clock.advance(0.5)  # six beats and a quarter: the sixth is due, five are lost
    late = next(frames)
    assert late.ref.pts90k == 6 * 7200 and late.ref.seq == 1 and source.skipped == 5
    world = World(parse_world_url(URL))
    world.skip(6)
    assert np.array_equal(source.last_truth.instances, world.step()[1].instances)
    after = next(frames)
    assert (after.ref.captured_ns - began_ns) / 1e9 == pytest.approx(7 * 0.08)
    assert source.skipped == 5


def test_a_long_sleep_is_not_lived_through() -> None:
    clock = FakeClock()
    source = source_of(Spec(URL), clock)
    source.open()
    frames = source.frames()
    next(frames)
    clock.advance(86_400)
    frame = next(frames)
    assert frame.ref.pts90k == 86_400 * 90_000 and source.last_truth.frame == 126


def test_max_fps_thins_evenly() -> None:
    source = source_of(Spec(URL, max_fps=5.0), FakeClock())
    source.open()
    frames = source.frames()
    steps = np.diff([next(frames).ref.pts90k for _ in range(11)])
    assert steps.sum() == 10 * 18_000 and set(steps.tolist()) == {14_400, 21_600}
    assert source.thinned == 15


def test_as_fast_as_it_is_read_without_realtime() -> None:
    clock = FakeClock()
    began_ns = clock.monotonic_ns()
    source = source_of(Spec(URL, realtime=False), clock)
    assert not source.open().live
    frames = source.frames()
    assert [next(frames).ref.pts90k for _ in range(5)] == [7200 * i for i in range(5)]
    assert clock.monotonic_ns() == began_ns


@pytest.mark.parametrize("wanted", [True, False])
def test_the_viewer_gets_the_full_picture_while_it_watches(wanted: bool) -> None:
    tap = Tap(wanted)
    source = source_of(Spec(URL), FakeClock(), tap)
    source.open()
    frame = next(source.frames())
    assert tap.why == ["no packets: drawn"]
    if not wanted:
        assert tap.seen == []
        return
    ((ref, picture),) = tap.seen
    assert ref is frame.ref
    assert np.array_equal(picture, World(parse_world_url(URL)).step()[0])


def test_two_openings_show_the_same_street() -> None:
    first, again = (play(Spec(URL), 4, FakeClock()) for _ in range(2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))


def test_close_ends_a_waiting_reader_from_another_thread() -> None:
    source = source_of(Spec("world://street?fps=0.1&size=64x48"), SystemClock())
    source.open()
    frames = source.frames()
    next(frames)
    ended = threading.Event()

    def read() -> None:
        assert list(frames) == []
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    source.close()
    source.close()
    assert ended.wait(5)
    reader.join(5)


def test_a_closed_source_does_not_open() -> None:
    source = source_of(Spec(URL))
    source.close()
    with pytest.raises(SourceError, match="closed"):
        source.open()
