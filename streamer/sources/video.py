"""One connection to one camera, stream or file, through FFmpeg: packets in, frames at the engine's size out.

Decoding and resizing happen on the calling thread, which is the stream's own; FFmpeg releases the GIL for both, so
streams run side by side. One decoder thread per stream: on a 768x432 H.264 file a second one costs 25-50 % more CPU
a frame, and frame threading would hold live pictures back by a frame per thread. A live stream larger than full HD
gets slice threads, which add no delay.

The camera's wall clock: FFmpeg attaches a producer reference time to each RTP packet once the first RTCP sender
report has come, and `FrameRef.wall_ns` is that (camera_clock.py says when not). Before it, and for everything that is
not RTP, it is this host's time of arrival.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from typing import cast

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.clock import Clock
from streamer.errors import SourceCode, SourceError
from streamer.ports import PictureTap, SourceInfo
from streamer.sources.address import Address, Kind
from streamer.sources.camera_clock import CameraClock
from streamer.sources.connection import SourceSpec, connect
from streamer.sources.failure import failure, source_error
from streamer.sources.finishing import Finisher
from streamer.sources.interrupt import Guard
from streamer.sources.packets import Packets
from streamer.sources.timeline import Pace
from streamer.types import Fit, Frame, Hw

# Bad packets in a row, with no good one between, after which the stream is called unreadable.
MAX_BAD_RUN = 500
# A camera whose clock says an earlier year was never set; its time is worth nothing.
_YEAR_2000_NS = 946_684_800 * 1_000_000_000
_DEFAULT_FPS = 25.0


class VideoSource:
    """One connection: `open`, then `frames` once, then `close`. A reconnect is a new object with a new epoch.

    A file with `realtime` is played at its own speed but is not live: every picture of it is analysed. `skipped` counts
    packets that could not be decoded, `thinned` the frames left out for `max_fps`; both may be read from any thread.
    """

    def __init__(
        self,
        spec: SourceSpec,
        address: Address,
        *,
        epoch: int,
        input_hw: Hw,
        clock: Clock,
        tap: PictureTap | None = None,
        fit: Fit = Fit.STRETCH,
    ) -> None:
        self._spec = spec
        self._address = address
        self._where = f"stream {spec.name}"
        self._epoch = epoch
        self._input_hw = input_hw
        self._fit = fit
        self._clock = clock
        self._tap = tap
        self._guard = Guard()
        self._lock = (
            threading.Lock()
        )  # held while FFmpeg works on the container, so `close` cannot free it there
        self._container: InputContainer | None = None
        self._stream: VideoStream | None = None
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._for_viewers: Packets | None = None
        self._camera_clock = CameraClock()
        self._paced = False
        self._live = False
        self._bad_run = 0
        self._last_picture_ns = 0
        # A camera's key frame may be many seconds away, so silence of pictures is given more time than of packets.
        self._no_picture_ns = int(max(30.0, 3 * spec.read_timeout_s) * 1e9)
        self._finisher: Finisher | None = None
        self.skipped = 0

    @property
    def thinned(self) -> int:
        return 0 if self._finisher is None else self._finisher.thinned

    # ------------------------------------------------------------------------------------------------ opening

    def open(self) -> SourceInfo:
        """Connect and read enough to know what comes; at most `open_timeout_s`. Raises SourceError."""
        with self._lock:
            if self._guard.cancelled.is_set():
                raise self._error(SourceCode.LOST, "it was closed while it was being opened")
            try:
                with self._guarded(self._spec.open_timeout_s):
                    info = self._connect()
            except (av.error.FFmpegError, OSError, ValueError) as error:
                self._dispose()
                if self._guard.cancelled.is_set():
                    raise self._error(SourceCode.LOST, "it was closed while it was being opened") from None
                raise self._failure(error, opening=True) from None
            except BaseException:
                self._dispose()
                raise
        if self._guard.cancelled.is_set():
            self.close()
            raise self._error(SourceCode.LOST, "it was closed while it was being opened")
        return info

    def _connect(self) -> SourceInfo:
        connection = connect(self._spec, self._address, self._guard, where=self._where)
        self._container, self._stream = connection.container, connection.stream
        self._packets = connection.container.demux(connection.stream)
        self._paced = bool(self._spec.realtime) and connection.finite
        self._live = not connection.finite
        context = connection.stream.codec_context
        rate = connection.stream.average_rate or connection.stream.guessed_rate
        fps = float(rate) if rate and 0 < rate <= 1000 else None
        return SourceInfo(context.codec.name, context.width, context.height, fps, self._live)

    # ------------------------------------------------------------------------------------------------ reading

    def frames(self) -> Iterator[Frame]:
        """Decoded frames, images uint8 (H, W, 3) RGB read-only at the engine's size.

        Ends at the end of a file (never with `loop`) and soon after `close`; raises SourceError when a live stream is
        lost, says nothing for `read_timeout_s`, or cannot be decoded.
        """
        stream = self._stream
        if stream is None:
            raise RuntimeError("frames() before open()")
        nominal = stream.average_rate or stream.guessed_rate or _DEFAULT_FPS
        finisher = Finisher(
            self._spec,
            epoch=self._epoch,
            input_hw=self._input_hw,
            fit=self._fit,
            clock=self._clock,
            tap=self._tap,
            time_base=stream.time_base or Fraction(1, 90_000),
            nominal_s=1.0 / float(nominal),
        )
        self._finisher = finisher
        pace = Pace(self._clock, self._guard.cancelled)
        if self._tap is not None:
            self._for_viewers = Packets(self._tap, stream, played_in_time=self._live or self._paced)
        decoded = decoded_before_round = 0
        self._last_picture_ns = self._clock.monotonic_ns()
        try:
            while True:
                pictures = self._next_pictures()
                if self._guard.cancelled.is_set():
                    return
                if pictures is None:
                    if self._live:
                        raise self._error(SourceCode.LOST, "the server ended the stream")
                    if decoded == decoded_before_round:
                        raise self._error(SourceCode.INVALID, "no picture in it can be decoded")
                    if not self._spec.loop:
                        return
                    decoded_before_round = decoded
                    self._rewind()
                    finisher.restart()
                    continue
                for picture in pictures:
                    decoded += 1
                    pts, time_s = finisher.stamp(picture)
                    if self._paced and pace.wait_for(time_s):
                        return
                    # A paced file's picture is captured when it is due, not when it was read ahead of time.
                    stamps = None if self._paced else cast(tuple[int, int] | None, picture.opaque)
                    now = stamps or (self._clock.monotonic_ns(), self._clock.wall_ns())
                    frame = finisher.finish(picture, pts, now, self._for_viewers)
                    if frame is None:
                        continue
                    yield frame
                    if self._guard.cancelled.is_set():
                        return
        finally:
            with self._lock:
                self._dispose()

    def _next_pictures(self) -> list[VideoFrame] | None:
        """What the next packet decodes to (often one picture, or none); None at the end or when closed."""
        with self._lock:
            if self._guard.cancelled.is_set() or self._container is None:
                return None
            with self._guarded(self._spec.read_timeout_s):
                packet = self._read()
            if packet is None or self._guard.cancelled.is_set():
                return None
            now_ns = self._clock.monotonic_ns()
            arrival, is_end = (now_ns, self._wall_ns(packet)), not packet.size
            if not is_end:
                packet.opaque = arrival
            try:
                pictures = packet.decode()
            except av.error.InvalidDataError:
                self._count_bad()
                return []
            except av.error.EOFError:
                return None
            except av.error.FFmpegError as error:
                raise self._failure(error) from None
            if self._for_viewers is not None:
                self._for_viewers.keep(packet, arrival)
            if pictures:
                self._bad_run = 0
                self._last_picture_ns = now_ns
            elif is_end:
                return None
            elif self._live and now_ns - self._last_picture_ns > self._no_picture_ns:
                raise self._error(SourceCode.TIMEOUT, "packets come, but no picture for too long")
            return pictures

    def _read(self) -> Packet[VideoStream] | None:
        """The next packet of the video; None at the end."""
        while True:
            try:
                return next(self._packets, None)
            except av.error.InvalidDataError:
                self._count_bad()
                assert self._container is not None and self._stream is not None
                self._packets = self._container.demux(self._stream)
            except (av.error.FFmpegError, OSError) as error:
                if self._guard.cancelled.is_set():
                    return None
                raise self._failure(error) from None

    def _count_bad(self) -> None:
        self.skipped += 1
        self._bad_run += 1
        if self._bad_run >= MAX_BAD_RUN:
            raise self._error(SourceCode.INVALID, f"{MAX_BAD_RUN} packets in a row cannot be decoded")

    def _wall_ns(self, packet: Packet[VideoStream]) -> int:
        """Unix time of the packet: the camera's where it is known and sane, else this host's now."""
        now_ns = self._clock.wall_ns()
        if self._address.kind is not Kind.RTSP or not packet.has_sidedata("prft"):
            return now_ns
        data = bytes(packet.get_sidedata("prft"))
        if len(data) < 8:
            return now_ns
        told_ns = int(struct.unpack_from("=q", data)[0]) * 1000  # AVProducerReferenceTime.wallclock, us
        if told_ns <= _YEAR_2000_NS:
            return now_ns
        if packet.pts is None or packet.time_base is None:
            return told_ns
        return self._camera_clock.wall_ns(told_ns, int(packet.pts * packet.time_base * 1_000_000_000), now_ns)

    def _rewind(self) -> None:
        """Back to the first frame; a file that cannot seek is opened again."""
        with self._lock:
            if self._guard.cancelled.is_set() or self._container is None or self._stream is None:
                return
            try:
                with self._guarded(self._spec.open_timeout_s):
                    try:
                        self._container.seek(self._stream.start_time or 0, stream=self._stream)
                        self._packets = self._container.demux(self._stream)
                    except av.error.FFmpegError:
                        self._dispose()
                        self._connect()
                    if self._for_viewers is not None:
                        self._for_viewers.restart(self._stream)
            except (av.error.FFmpegError, OSError) as error:
                raise self._failure(error, opening=True) from None

    # ------------------------------------------------------------------------------------------------ closing

    def close(self) -> None:
        """Let go of the connection; from any thread, any number of times. A blocked call ends within 0.2 s or so."""
        self._guard.cancel()
        # Whoever holds the lock is inside FFmpeg: the guard gets it out, and it disposes of the container itself.
        if self._lock.acquire(blocking=False):
            try:
                self._dispose()
            finally:
                self._lock.release()

    def _dispose(self) -> None:
        """Free the container; the caller holds the lock."""
        self._packets = iter(())
        self._stream = None
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _guarded(self, seconds: float) -> AbstractContextManager[None]:
        return nullcontext() if self._address.kind is Kind.FILE else self._guard.within(seconds)

    def _failure(self, error: BaseException, *, opening: bool = False) -> SourceError:
        overdue = self._guard.fired and not self._guard.cancelled.is_set()
        return failure(error, self._address, where=self._where, opening=opening, overdue=overdue)

    def _error(self, code: SourceCode, what: str, mend: str = "") -> SourceError:
        return source_error(self._address, code, what, where=self._where, mend=mend)
