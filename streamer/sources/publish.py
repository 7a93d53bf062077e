"""What somebody publishes to this server by WHIP (a browser, or another publisher), read as any camera is.

The web process writes encoded packets to Redis; here they are decoded. One connection is one publication: it begins at
the last key frame that is kept, goes on while packets come, and is lost when the publisher ends, falls silent or is
displaced. Nobody publishing is no error but a state, waited in for a few seconds at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Final, Protocol, TypeVar, cast

import av
import av.error
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.addresses import published_name
from streamer.client import Publication, PublishedPacket
from streamer.client.publishing import PublishedFrame
from streamer.clock import Clock
from streamer.errors import SourceCode, SourceError, StoreError
from streamer.ports import PictureTap, SourceInfo
from streamer.sources.connection import SourceSpec
from streamer.sources.finishing import Finisher
from streamer.sources.packets import Packets
from streamer.sources.video import MAX_BAD_RUN
from streamer.types import TICKS_90K, Fit, Frame, Hw

T = TypeVar("T")

TIME_BASE: Final = Fraction(1, TICKS_90K)
# A read blocks this long, and `close` is heard after it.
READ_MS: Final = 200
# Nobody publishes: wait this long for the first packet, then say so.
WAIT_S: Final = 4.0
NOMINAL_S: Final = 1 / 25
# What came before its reader is shown no older than it is; clocks of two hosts may differ by as much.
MAX_AGE_S: Final = 10.0
_CODECS: Final = {"h264": "h264", "vp8": "vp8"}


class Publications(Protocol):
    """Where packets are read; `streamer.client.Client` is one. Every call raises StoreError while it is away."""

    def publication(self, name: str) -> Publication | None: ...

    def read_published(self, name: str, after: str, block_ms: int) -> list[PublishedPacket]: ...

    def ask_publisher(self, name: str) -> None: ...

    def close(self) -> None: ...


OpenPublications = Callable[[], Publications]


class PublishedSource:
    """One publication: `open`, then `frames` once, then `close`. A reconnect is a new object with a new epoch.

    `skipped` counts packets that could not be decoded or came after a gap, `caught_up` pictures from before the
    connection, decoded only to begin, `thinned` the frames left out for `max_fps`; all may be read from any thread.
    """

    def __init__(
        self,
        spec: SourceSpec,
        publications: OpenPublications | None,
        *,
        epoch: int,
        input_hw: Hw,
        clock: Clock,
        tap: PictureTap | None = None,
        fit: Fit = Fit.STRETCH,
    ) -> None:
        self._spec = spec
        self._name = published_name(spec.url, spec.name) or spec.name
        self._open_publications = publications
        self._epoch = epoch
        self._input_hw = input_hw
        self._fit = fit
        self._clock = clock
        self._tap = tap
        self._closed = threading.Event()
        self._lock = threading.Lock()  # held while the store is asked, so `close` cannot end it there
        self._store: Publications | None = None
        self._number = 0
        self._after = "0-0"
        self._began: Sequence[PublishedPacket] = ()
        self._decoder: VideoCodecContext | None = None
        self._next_index: int | None = None
        self._passing: Packets | None = None
        self._bad_run = 0
        self.skipped = 0
        self.caught_up = 0
        self._finisher: Finisher | None = None

    @property
    def thinned(self) -> int:
        return 0 if self._finisher is None else self._finisher.thinned

    # ------------------------------------------------------------------------------------------------ opening

    def open(self) -> SourceInfo:
        """Wait for a publication and its first key frame. Raises SourceError; code WAITING where nobody publishes."""
        if self._open_publications is None:
            raise self._error(
                SourceCode.WAITING,
                "what is published can be read in a running server only",
                "see POST /NAME/whip",
            )
        self._store = self._open_publications()
        found = self._published()
        self._number, self._after = found.number, found.after
        packets: list[PublishedPacket] = list(found.packets)
        if not packets:
            self._ask()
            packets = self._first_key()
        first = packets[0].frame
        assert first is not None
        self._began = packets
        height, width = self._size(first)
        self._start_decoder(first.codec)
        return SourceInfo(first.codec, width, height, None, True)

    def _size(self, key: PublishedFrame) -> Hw:
        """Height and width of a key frame, found by decoding it."""
        decoder = self._new_decoder(key.codec)
        try:
            picture = next(iter([*decoder.decode(Packet(key.data)), *decoder.decode(None)]), None)
        except av.error.FFmpegError:
            picture = None
        if picture is None:
            raise self._error(
                SourceCode.INVALID, "what is published cannot be decoded", "publish H.264 or VP8"
            )
        return picture.height, picture.width

    def _published(self) -> Publication:
        """What is published, waited for a little."""
        deadline_ns = self._clock.monotonic_ns() + int(min(WAIT_S, self._spec.open_timeout_s) * 1e9)
        after = "$"
        while True:
            found = self._asked(lambda store: store.publication(self._name))
            if found is not None:
                return found
            while not (came := self._read(after)):
                if self._clock.monotonic_ns() >= deadline_ns:
                    raise self._error(
                        SourceCode.WAITING,
                        "nobody publishes to this stream",
                        f"POST /{self._name}/whip, or publish from the page",
                    )
            after = came[-1].id

    def _first_key(self) -> list[PublishedPacket]:
        deadline_ns = self._clock.monotonic_ns() + int(self._spec.open_timeout_s * 1e9)
        while self._clock.monotonic_ns() < deadline_ns:
            packets = self._fresh()
            for i, packet in enumerate(packets):
                if packet.frame is not None and packet.frame.key:
                    return packets[i:]
        raise self._error(
            SourceCode.TIMEOUT, "the publisher sends no key frame", "set its key frame interval to 2 s"
        )

    # ------------------------------------------------------------------------------------------------ reading

    def frames(self) -> Iterator[Frame]:
        """Decoded frames, images uint8 (H, W, 3) RGB read-only at the engine's size.

        Ends soon after `close`; raises SourceError LOST when the publication ends, is displaced, or says nothing for
        `read_timeout_s`.
        """
        if self._decoder is None:
            raise RuntimeError("frames() before open()")
        finisher = Finisher(
            self._spec,
            epoch=self._epoch,
            input_hw=self._input_hw,
            fit=self._fit,
            clock=self._clock,
            tap=self._tap,
            time_base=TIME_BASE,
            nominal_s=NOMINAL_S,
        )
        self._finisher = finisher
        try:
            for packet, is_now in self._packets():
                for picture, arrival in self._decoded(packet):
                    pts, _ = finisher.stamp(picture)
                    stamps = self._stamps(arrival.wall_ns)
                    self.caught_up += not is_now
                    frame = finisher.finish(picture, pts, stamps, self._passing, analysed=is_now)
                    if frame is None:
                        continue
                    yield frame
                    if self._closed.is_set():
                        return
        finally:
            self._dispose()

    def _packets(self) -> Iterator[tuple[PublishedFrame, bool]]:
        """Each frame of this publication, and whether it is of now; raises SourceError at the publication's end."""
        last = self._clock.monotonic_ns()
        packets, is_now = list(self._began), False
        self._began = ()
        while not self._closed.is_set():
            for i, packet in enumerate(packets):
                assert packet.frame is not None
                if self._in_order(packet.frame):
                    yield packet.frame, is_now or i == len(packets) - 1
            packets, is_now = self._fresh(), True
            now_ns = self._clock.monotonic_ns()
            if packets:
                last = now_ns
            elif now_ns - last > self._spec.read_timeout_s * 1e9:
                raise self._error(SourceCode.LOST, "the publisher fell silent")

    def _fresh(self) -> list[PublishedPacket]:
        """New packets of this publication; raises SourceError (LOST) where it is over."""
        found = []
        for packet in self._read(self._after):
            self._after = packet.id
            if packet.publication < self._number:
                continue  # of one who was displaced and does not know it yet
            if packet.publication > self._number:
                raise self._error(SourceCode.LOST, "another publisher took over")
            if packet.ended:
                raise self._error(SourceCode.LOST, "the publisher ended it")
            found.append(packet)
        return found

    def _in_order(self, frame: PublishedFrame) -> bool:
        """Whether it can be decoded: nothing is missing before it, or it is a key frame."""
        expected = self._next_index is None or frame.index == self._next_index
        if frame.key or expected:
            self._next_index = frame.index + 1
            return True
        self._next_index = -1  # nothing but a key frame mends this
        self.skipped += 1
        self._ask()
        return False

    def _decoded(self, frame: PublishedFrame) -> list[tuple[VideoFrame, PublishedFrame]]:
        """The pictures that this frame brings, each with the packet it came in."""
        decoder = self._decoder
        assert decoder is not None
        if frame.codec != decoder.name:
            decoder = self._start_decoder(frame.codec)
        packet: Packet[Any] = Packet(frame.data)
        packet.pts, packet.time_base, packet.opaque = frame.pts90k, TIME_BASE, frame
        try:
            pictures = decoder.decode(packet)
        except av.error.FFmpegError:
            self.skipped += 1
            self._bad_run += 1
            if self._bad_run >= MAX_BAD_RUN:
                raise self._error(
                    SourceCode.INVALID, f"{MAX_BAD_RUN} packets in a row cannot be decoded"
                ) from None
            self._ask()
            return []
        self._bad_run = 0
        if self._passing is not None:
            self._passing.keep(packet, frame)
        return [(picture, cast(PublishedFrame, picture.opaque) or frame) for picture in pictures]

    def _stamps(self, wall_ns: int) -> tuple[int, int]:
        """(captured_ns, wall_ns): when it came to this server, on this host's monotonic clock and as Unix time."""
        age_ns = min(max(0, self._clock.wall_ns() - wall_ns), int(MAX_AGE_S * 1e9))
        return self._clock.monotonic_ns() - age_ns, wall_ns

    def _new_decoder(self, codec: str) -> VideoCodecContext:
        known = _CODECS.get(codec)
        if known is None:
            raise self._error(SourceCode.CODEC_UNSUPPORTED, f"{codec} is published", "publish H.264 or VP8")
        decoder = cast(VideoCodecContext, av.CodecContext.create(known, "r"))
        # One thread, as for cameras: more would hold pictures back.
        decoder.thread_type, decoder.thread_count, decoder.copy_opaque = "SLICE", 1, True
        return decoder

    def _start_decoder(self, codec: str) -> VideoCodecContext:
        decoder = self._new_decoder(codec)
        self._decoder = decoder
        if self._tap is not None:
            one = cast(VideoStream, SimpleNamespace(codec_context=decoder))
            self._passing = Packets(self._tap, one, played_in_time=True)
        return decoder

    # ------------------------------------------------------------------------------------------------ the store

    def _read(self, after: str) -> list[PublishedPacket]:
        if self._closed.is_set():
            raise self._error(SourceCode.LOST, "it was closed")
        return self._asked(lambda store: store.read_published(self._name, after, READ_MS))

    def _ask(self) -> None:
        self._asked(lambda store: store.ask_publisher(self._name))

    def _asked(self, question: Callable[[Publications], T]) -> T:
        with self._lock:
            if self._store is None:
                raise self._error(SourceCode.LOST, "it was closed")
            try:
                return question(self._store)
            except StoreError as error:
                raise self._error(SourceCode.LOST, error.what, error.mend) from None

    # ------------------------------------------------------------------------------------------------ closing

    def close(self) -> None:
        """Let go; from any thread, any number of times. A blocked read ends within 0.2 s."""
        self._closed.set()
        if self._lock.acquire(blocking=False):
            self._lock.release()
            self._dispose()

    def _dispose(self) -> None:
        with self._lock:
            store, self._store = self._store, None
            if store is not None:
                store.close()

    def _error(self, code: SourceCode, what: str, mend: str = "") -> SourceError:
        lasting = code is SourceCode.CODEC_UNSUPPORTED
        where = f"stream {self._spec.name}"
        return SourceError(
            f"whip://{self._name}: {what}", code=code, retryable=not lasting, where=where, mend=mend
        )
