"""Pictures for viewers: one H.264 encoder per stream while somebody watches, and none while nobody does.

The encoder has its own thread, fed through one slot in which the newest picture wins, so that decoding never waits
for it; pictures passed over are counted. Encoding once and sending the packets to every viewer costs 19 % of a core
for twenty viewers of 640x360 at 25 fps, where an encoder per viewer takes all it can get and still falls to 13.5 fps.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from streamer.clock import Clock
from streamer.types import TICKS_90K, FrameRef, Hw

log = logging.getLogger(__name__)

# A late viewer starts from the last key frame, and a lossy one heals at the next: two seconds bound both.
KEY_EVERY_S = 2.0
# Key frames are large; a viewer in trouble asks for many. One per half second is what a link in trouble can take.
KEY_REQUEST_GAP_S = 0.5
MAX_WIDTH = 1280
MAX_HEIGHT = 1280
# Bits per pixel and second's frame at which superfast x264 looks clean on street scenes; CRF spends less on still ones.
_BITS_PER_PX = 0.14
_BITRATE_BPS = (400_000, 4_000_000)
_CRF = 25
_TIME_BASE = Fraction(1, TICKS_90K)


class PacketWriter(Protocol):
    """Takes encoded packets: H.264 Annex B, parameter sets in band at each key frame; `pts90k` in 90 kHz ticks."""

    def write_packet(
        self, stream: str, data: bytes, key: bool, pts90k: int, epoch: int, seq: int, wall_ns: int
    ) -> None: ...


def encoded_hw(source_hw: Hw) -> Hw:
    """The size at which a picture of `source_hw` is encoded: the nearest even one, at most 1280 wide and high."""
    height, width = source_hw
    scale = min(1.0, MAX_WIDTH / width, MAX_HEIGHT / height)
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def bitrate_bps(hw: Hw, fps: float) -> int:
    """The most bits a second that a picture of this size may take."""
    low, high = _BITRATE_BPS
    return int(min(high, max(low, hw[0] * hw[1] * fps * _BITS_PER_PX)))


@dataclass(frozen=True, slots=True)
class _Offer:
    ref: FrameRef
    picture: Any  # av.VideoFrame, or uint8 (H, W, 3) RGB


class Encoder:
    """Pictures of one size in, H.264 packets out: baseline, no B-frames, no delay, key frames where asked for."""

    def __init__(self, hw: Hw, fps: float) -> None:
        self.hw = hw
        self._reformatter = VideoReformatter()
        rate = bitrate_bps(hw, fps)
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, VideoCodecContext)
        context.height, context.width = hw
        context.pix_fmt = "yuv420p"
        context.time_base = _TIME_BASE
        context.framerate = Fraction(fps).limit_denominator(1000)
        context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": str(_CRF),
            "maxrate": str(rate),
            "bufsize": str(rate),
            "forced-idr": "1",
            # Key frames are forced by stream time (below), since a stream's rate may change; x264 places none itself.
            "x264-params": "repeat-headers=1:annexb=1:keyint=infinite:scenecut=0:threads=1:sliced-threads=0",
        }
        self._context = context

    def encode(self, picture: Any, pts90k: int, *, key: bool) -> list[tuple[bytes, bool, int]]:
        """(data, is a key frame, pts90k) of each packet this picture completes: one, since there is no delay."""
        frame = self._prepared(picture)
        frame.pts = pts90k
        frame.time_base = _TIME_BASE
        # A decoded frame still says which type it had in its source, and x264 would follow it.
        frame.pict_type = PictureType.I if key else PictureType.NONE
        return [_plain(packet) for packet in self._context.encode(frame)]

    def _prepared(self, picture: Any) -> VideoFrame:
        height, width = self.hw
        options: dict[str, Any] = {"interpolation": Interpolation.FAST_BILINEAR, "threads": 1}
        if isinstance(picture, VideoFrame):
            return self._reformatter.reformat(picture, width, height, "yuv420p", **options)
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        return self._reformatter.reformat(
            rgb, width, height, "yuv420p", dst_colorspace=Colorspace.ITU601, **options
        )

    def close(self) -> list[tuple[bytes, bool, int]]:
        """What was still inside (nothing, with zerolatency), after which it is of no more use."""
        return [_plain(packet) for packet in self._context.encode(None)]


def _plain(packet: av.Packet[Any]) -> tuple[bytes, bool, int]:
    assert packet.pts is not None
    return bytes(packet), packet.is_keyframe, packet.pts


class VideoPublisher:
    """A PictureTap that encodes what it is offered and hands the packets to `writer`, while watched.

    `set_watched`, `request_keyframe`, `offer` and `close` may be called from any thread; none blocks on the encoder
    (`close` joins its thread). The counts may be read at any time.
    """

    def __init__(self, stream: str, writer: PacketWriter, clock: Clock) -> None:
        self._stream = stream
        self._writer = writer
        self._clock = clock
        self._ready = threading.Condition()
        self._slot: _Offer | None = None
        self._watched = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._key_wanted = False
        self._key_served_ns: int | None = None
        self._last_offer_pts90k: int | None = None
        self._fps = 25.0
        self.encoders_started = 0
        self.skipped = 0
        self.packets = 0
        self.failures = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody watches; the source asks before it does any work for viewers."""
        return self._watched

    def set_watched(self, watched: bool) -> None:
        """Start encoding with the next picture, or stop and free the encoder. Saying it again changes nothing."""
        with self._ready:
            self._watched = watched and not self._closed
            self._slot = None if not self._watched else self._slot
            if self._watched and self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"encode {self._stream}", daemon=True)
                self._thread.start()
            self._ready.notify_all()

    def request_keyframe(self) -> None:
        """Make the next picture a key frame, at most once per half second (a later request is kept for then)."""
        with self._ready:
            self._key_wanted = True

    def offer(self, ref: FrameRef, picture: Any) -> None:
        """Take this picture for viewers. It must not be changed afterwards. Returns at once, never raises."""
        with self._ready:
            if not self._watched:
                return
            pts90k = ref.pts90k
            if self._last_offer_pts90k is not None and pts90k > self._last_offer_pts90k:
                self._fps = min(60.0, max(1.0, TICKS_90K / (pts90k - self._last_offer_pts90k)))
            self._last_offer_pts90k = pts90k
            self.skipped += self._slot is not None
            self._slot = _Offer(ref, picture)
            self._ready.notify_all()

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop for good; waits for the encoder's thread, at most `timeout_s`."""
        with self._ready:
            self._closed = True
            thread = self._thread
        self.set_watched(False)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _take(self) -> _Offer | None:
        """The newest picture, waited for; None when nobody watches any more (and then the thread has signed off)."""
        with self._ready:
            while self._watched and self._slot is None:
                self._ready.wait()
            if not self._watched:
                self._thread = None
                return None
            offer, self._slot = self._slot, None
            return offer

    def _run(self) -> None:
        encoder: Encoder | None = None
        epoch, source_hw, last_key_pts90k = -1, (0, 0), 0
        while (offer := self._take()) is not None:
            try:
                ref, hw = offer.ref, _hw_of(offer.picture)
                if encoder is None or ref.epoch != epoch or hw != source_hw:
                    encoder = None
                    fresh = Encoder(encoded_hw(hw), self._fps)
                    encoder, epoch, source_hw = fresh, ref.epoch, hw
                    self.encoders_started += 1
                    key = True
                else:
                    key = ref.pts90k - last_key_pts90k >= KEY_EVERY_S * TICKS_90K or self._key_due()
                for data, is_key, pts90k in encoder.encode(offer.picture, ref.pts90k, key=key):
                    if is_key:
                        last_key_pts90k = pts90k
                        self._key_given()
                    self._writer.write_packet(
                        self._stream, data, is_key, pts90k, ref.epoch, ref.seq, ref.wall_ns
                    )
                    self.packets += 1
            except Exception as error:  # viewers may go without; the stream's own work must not notice
                encoder = None
                self.failures += 1
                if self.failures & (self.failures - 1) == 0:  # told at 1, 2, 4, 8, ...
                    log.warning("stream %s: no picture for viewers: %s", self._stream, error)

    def _key_due(self) -> bool:
        with self._ready:
            if not self._key_wanted:
                return False
            served_ns = self._key_served_ns
            return served_ns is None or self._clock.monotonic_ns() - served_ns >= KEY_REQUEST_GAP_S * 1e9

    def _key_given(self) -> None:
        with self._ready:
            self._key_wanted = False
            self._key_served_ns = self._clock.monotonic_ns()


def _hw_of(picture: Any) -> Hw:
    if isinstance(picture, VideoFrame):
        return picture.height, picture.width
    height, width = picture.shape[:2]
    return int(height), int(width)
