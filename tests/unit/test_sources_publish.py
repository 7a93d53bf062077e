"""The source of what is published: where it begins, what a gap does, how it ends, and that nobody is no alarm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from streamer.addresses import checked_url, published_name
from streamer.client import Publication, PublishedFrame, PublishedPacket
from streamer.errors import SourceCode, SourceError, StoreError
from streamer.sources.publish import READ_MS, WAIT_S, PublishedSource
from tests.fakes.publishers import bar_at
from tests.fakes.sources import HW, Spec

SIZE = (48, 128)
STEP = 3000


def encoded(n: int, codec: str = "vp8", gop: int = 5) -> list[tuple[bytes, bool]]:
    """`n` pictures of a bar at 4 * i, with a key frame each `gop`."""
    encoder: Any = av.CodecContext.create({"vp8": "libvpx", "h264": "libx264"}[codec], "w")
    encoder.height, encoder.width = SIZE
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 90_000), Fraction(30)
    encoder.gop_size = gop
    encoder.options = (
        {"deadline": "realtime", "lag-in-frames": "0", "cpu-used": "8"}
        if codec == "vp8"
        else {"tune": "zerolatency", "preset": "ultrafast", "profile": "baseline"}
    )
    packets: list[tuple[bytes, bool]] = []
    for i in range(n):
        picture = np.full((*SIZE, 3), 60, np.uint8)
        picture[:, i * 4 % 80 : i * 4 % 80 + 40] = 220
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = i * STEP, Fraction(1, 90_000)
        packets += [(bytes(p), bool(p.is_keyframe)) for p in encoder.encode(frame)]
    assert len(packets) == n
    return packets


class Clock:
    """Time that only the store moves."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self.now_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now_ns += int(seconds * 1e9)
        return event.is_set()


class Store:
    """What Redis holds, as a list; `then` are done in turn where a reader waits in vain, who else waits in fact."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.packets: list[PublishedPacket] = []
        self.then: list[Callable[[], None]] = []
        self.asked = 0
        self.closed = False
        self.broken = False

    def put(self, number: int, index: int, packet: tuple[bytes, bool] | None, codec: str = "vp8") -> None:
        wall_ns = self.clock.wall_ns()
        frame = packet and PublishedFrame(packet[0], packet[1], index * STEP, codec, index, wall_ns)
        self.packets.append(PublishedPacket(str(len(self.packets) + 1), number, frame or None))

    def publication(self, name: str) -> Publication | None:
        assert name == "desk"
        if self.broken:
            raise StoreError("Redis does not answer")
        if not self.packets or self.packets[-1].ended:
            return None
        number = self.packets[-1].publication
        own = [p for p in self.packets if p.publication == number]
        begins = max((i for i, p in enumerate(own) if p.frame and p.frame.key), default=len(own))
        return Publication(number, own[begins:], self.packets[-1].id)

    def read_published(self, name: str, after: str, block_ms: int) -> list[PublishedPacket]:
        if self.broken:
            raise StoreError("Redis does not answer")
        at = len(self.packets) if after == "$" else int(after)
        if at == len(self.packets):
            if self.then:
                self.then.pop(0)()
            else:
                self.clock.now_ns += block_ms * 1_000_000
        return self.packets[at:]

    def ask_publisher(self, name: str) -> None:
        self.asked += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def store() -> Store:
    return Store(Clock())


def source_of(store: Store, *, epoch: int = 1, tap: Any = None, url: str = "whip://desk") -> PublishedSource:
    spec = Spec(url, name="gate")
    return PublishedSource(spec, lambda: store, epoch=epoch, input_hw=HW, clock=store.clock, tap=tap)


def read(source: PublishedSource) -> tuple[list[int], SourceError]:
    """Where the bar was in each frame, and how it ended."""
    found: list[int] = []
    with pytest.raises(SourceError) as caught:
        for frame in source.frames():
            assert frame.image.shape == (*HW, 3)
            assert frame.ref.epoch == source._epoch and frame.ref.seq == len(found)
            found.append(bar_at(frame.image))
    source.close()
    return found, caught.value


def near(found: list[int], wanted: list[int]) -> bool:
    return len(found) == len(wanted) and all(abs(a - b) <= 2 for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_it_begins_at_the_last_key_frame_and_analyses_what_is_of_now(store: Store, codec: str) -> None:
    packets = encoded(12, codec)
    for i in range(8):
        store.put(3, i, packets[i], codec)
    for i in range(8, 12):
        store.then.append(lambda i=i: store.put(3, i, packets[i], codec))  # type: ignore[misc]
    store.then.append(lambda: store.put(3, 0, None))
    source = source_of(store)
    info = source.open()
    assert (info.codec, info.height, info.width, info.live) == (codec, *SIZE, True)
    found, error = read(source)
    assert near(found, [28, 32, 36, 40, 44]), found
    assert source.caught_up == 2, "pictures 5 and 6 were decoded to get there"
    assert (error.code, error.retryable) == (SourceCode.LOST, True)
    assert str(error) == "stream gate: whip://desk: the publisher ended it"
    assert store.closed


def test_times_are_the_publishers_and_its_arrival(store: Store) -> None:
    packets = encoded(3)
    store.put(1, 0, packets[0])
    arrived = store.clock.wall_ns()
    store.clock.now_ns += 2_000_000_000
    source = source_of(store)
    source.open()
    frame = next(iter(source.frames()))
    assert frame.ref.wall_ns == arrived
    assert frame.ref.captured_ns == 0, "two seconds ago by this host's own clock"
    assert frame.ref.time_base == Fraction(1, 90_000)


def test_nobody_publishing_is_said_in_words_and_ends_when_somebody_does(store: Store) -> None:
    with pytest.raises(SourceError) as caught:
        source_of(store).open()
    error = caught.value
    assert (error.code, error.retryable) == (SourceCode.WAITING, True)
    assert (
        str(error)
        == "stream gate: whip://desk: nobody publishes to this stream — POST /desk/whip, or publish from the page"
    )
    waited_s = store.clock.now_ns / 1e9
    assert WAIT_S <= waited_s <= WAIT_S + READ_MS / 1000
    packets = encoded(1)
    store.then.append(lambda: None)
    store.then.append(lambda: store.put(1, 0, packets[0]))
    assert source_of(store).open().codec == "vp8"


def test_a_publication_without_a_key_frame_is_asked_for_one(store: Store) -> None:
    packets = encoded(7)
    store.put(1, 3, packets[3])
    store.then += [lambda: store.put(1, 4, packets[4]), lambda: store.put(1, 5, packets[5])]
    source = source_of(store)
    source.open()
    assert store.asked == 1
    found, error = read(source)
    assert near(found, [20])
    assert "fell silent" in str(error)


def test_silence_is_a_loss(store: Store) -> None:
    store.put(1, 0, encoded(1)[0])
    source = source_of(store)
    source.open()
    _, error = read(source)
    assert (error.code, store.clock.now_ns / 1e9 >= Spec("").read_timeout_s) == (SourceCode.LOST, True)


def test_another_publisher_is_another_connection_and_the_displaced_one_is_not_heard(store: Store) -> None:
    packets = encoded(4)
    store.put(1, 0, packets[0])
    store.then += [lambda: store.put(1, 1, packets[1]), lambda: store.put(2, 0, packets[0])]
    first = source_of(store)
    first.open()
    found, error = read(first)
    assert near(found, [0, 4])
    assert "another publisher took over" in str(error)
    store.then += [lambda: store.put(1, 2, packets[2]), lambda: store.put(2, 1, packets[1])]
    second = source_of(store, epoch=2)
    second.open()
    found, _ = read(second)
    assert near(found, [0, 4]), "what the displaced one still sends is passed over"


def test_after_a_gap_nothing_is_decoded_until_a_key_frame_and_one_is_asked_for(store: Store) -> None:
    packets = encoded(12)
    for i in (0, 1, 3, 4, 5, 6):
        store.put(1, i, packets[i])
    store.packets, late = store.packets[:1], store.packets[1:]
    for packet in late:
        store.then.append(lambda packet=packet: store.packets.append(packet))  # type: ignore[misc]
    for i, packet in enumerate(late):
        late[i] = PublishedPacket(str(i + 2), packet.publication, packet.frame)
    store.then = [lambda packet=packet: store.packets.append(packet) for packet in late]  # type: ignore[misc]
    source = source_of(store)
    source.open()
    found, _ = read(source)
    assert near(found, [0, 4, 20, 24]), found
    assert source.skipped == 2
    assert store.asked == 2


def test_what_is_no_video_is_counted_and_ends_in_words(store: Store) -> None:
    store.put(1, 0, (b"\x10nothing", True))
    with pytest.raises(SourceError, match="cannot be decoded") as caught:
        source_of(store).open()
    assert caught.value.code is SourceCode.INVALID
    other = Store(Clock())
    other.put(1, 0, (b"x", True), "av1")
    with pytest.raises(SourceError) as refused:
        source_of(other).open()
    assert (refused.value.code, refused.value.retryable) == (SourceCode.CODEC_UNSUPPORTED, False)


def test_redis_away_is_a_loss_in_words(store: Store) -> None:
    store.broken = True
    with pytest.raises(SourceError, match="Redis does not answer") as caught:
        source_of(store).open()
    assert (caught.value.code, caught.value.retryable) == (SourceCode.LOST, True)


def test_closing_ends_it(store: Store) -> None:
    packets = encoded(3)
    store.put(1, 0, packets[0])
    source = source_of(store)
    source.open()
    frames = source.frames()
    next(iter(frames))
    source.close()
    assert list(frames) == []
    assert store.closed
    waiting = source_of(Store(Clock()))
    waiting.close()
    with pytest.raises(SourceError, match="closed"):
        waiting.open()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("whip://desk", "desk"),
        ("whip://", "gate"),
        ("WHIP://a.b-c", "a.b-c"),
        ("rtsp://x/y", None),
        ("whip", None),
    ],
)
def test_the_name_of_what_is_published(url: str, name: str | None) -> None:
    assert published_name(url, "gate") == name
    checked_url(url)


@pytest.mark.parametrize("url", ["whip://a/b", "whip:desk", "whip://a b", "whip://-a", "whip:///"])
def test_names_that_no_stream_has_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="whip://"):
        checked_url(url)
