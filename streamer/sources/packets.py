"""A camera's packets for viewers, each offered with the picture that was decoded from it.

So a packet's time stamp is its picture's, over loops, jumps and new starts of the camera's clock, and a packet that a
browser could not play is known as such before it has gone out: the decoder says what it was. B-frames are why: with
them pictures come in another order than packets, and browsers show one or two a second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import av.error
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from streamer.ports import PictureTap
from streamer.sources.annexb import IDR, PPS, SLICES, SPS, is_annexb, nal_units, with_parameter_sets
from streamer.types import TICKS_90K, FrameRef

# Chromium decodes these, whatever profile was negotiated; 4:2:0 at 8 bit is in their definition but for High's.
PROFILES: Final = ("Baseline", "Constrained Baseline", "Main", "High", "Constrained High")
PIXELS: Final = ("yuv420p", "yuvj420p")
# A decoder that holds more packets than this without a picture is lost, or reorders them.
MAX_PENDING: Final = 16
# Parameter sets sent before their picture in packets of their own; more than this is something else.
MAX_AHEAD_BYTES: Final = 16 << 10

# Pictures come for so long and no key frame: the camera refreshes its picture bit by bit, and nobody could begin.
NO_KEY_S: Final = 5.0

B_FRAMES: Final = "b-frames"
NO_KEY: Final = "no key frames"
TOO_FAST: Final = "a file read as fast as it can be"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A packet whose picture has not come out of the decoder yet; `arrival` is the object both carry."""

    arrival: object
    data: bytes
    key: bool


class Packets:
    """Offers the packets of one connection to `tap`, or says why not. Used on the decoding thread only.

    For each packet `keep`, then `offer` for each picture that it decoded to. `lost` counts packets without a picture:
    viewers miss them as the decoder did, and heal when it does.
    """

    def __init__(self, tap: PictureTap, stream: VideoStream, *, played_in_time: bool) -> None:
        self._tap = tap
        self._pending: deque[_Kept] = deque()
        self._over = False
        self.lost = 0
        self.restart(stream)
        codec = self._context.codec.name
        if codec != "h264":
            self._stop(codec)
        elif not played_in_time:
            self._stop(TOO_FAST)
        elif self._context.has_b_frames:
            self._stop(B_FRAMES)

    def restart(self, stream: VideoStream) -> None:
        """The stream begins again, at a key frame (a file played in a loop); `stream` may be newly opened."""
        self._context: VideoCodecContext = stream.codec_context
        extradata = bytes(self._context.extradata or b"")
        self._sets = extradata if is_annexb(extradata) else b""
        avcc = bool(extradata) and not self._sets
        self._filter = BitStreamFilterContext("h264_mp4toannexb", stream) if avcc and self._is_h264 else None
        self._pending.clear()
        self._ahead = b""
        self._started = False
        self._first_pts90k: int | None = None

    @property
    def _is_h264(self) -> bool:
        return self._context.codec.name == "h264"

    def keep(self, packet: Packet[VideoStream], arrival: object) -> None:
        """Note the packet that was just decoded; its pictures carry `arrival` as their `opaque`. Empties `packet`."""
        if self._over or not packet.size:
            return
        try:
            data = self._annexb(packet)
        except av.error.FFmpegError as error:
            return self._stop(f"packets out of order: {error.strerror}")
        kinds = {kind for kind, _ in nal_units(data)}
        if not kinds & SLICES:
            self._ahead = (self._ahead + data)[-MAX_AHEAD_BYTES:]
            return
        data, self._ahead = self._ahead + data, b""
        key = IDR in kinds
        if key and self._sets and not {SPS, PPS} <= {kind for kind, _ in nal_units(data)}:
            data = with_parameter_sets(data, self._sets)
        self._pending.append(_Kept(arrival, data, key))
        if len(self._pending) > MAX_PENDING:
            self._pending.popleft()
            self.lost += 1

    def offer(self, ref: FrameRef, picture: VideoFrame) -> None:
        """This picture came out of the decoder and is `ref`: its packet may go, unless it or its order forbids it."""
        if self._over:
            return
        arrival = picture.opaque
        if picture.pict_type == PictureType.B or not self._in_order(arrival):
            return self._stop(B_FRAMES)
        if picture.interlaced_frame:
            return self._stop("interlaced")
        while self._pending[0].arrival is not arrival:
            self._pending.popleft()
            self.lost += 1
        kept = self._pending.popleft()
        if kept.key and (why := self._unplayable()):
            return self._stop(why)
        self._started = self._started or kept.key
        if self._started:
            return self._tap.offer_packet(ref, kept.data, kept.key)
        self._first_pts90k = ref.pts90k if self._first_pts90k is None else self._first_pts90k
        if ref.pts90k - self._first_pts90k > NO_KEY_S * TICKS_90K:
            self._stop(NO_KEY)

    def _in_order(self, arrival: object) -> bool:
        return any(kept.arrival is arrival for kept in self._pending)

    def _unplayable(self) -> str:
        if self._context.profile not in PROFILES:
            return f"profile {self._context.profile}"
        return "" if self._context.pix_fmt in PIXELS else f"pixels {self._context.pix_fmt}"

    def _annexb(self, packet: Packet[VideoStream]) -> bytes:
        if self._filter is None:
            return bytes(packet)
        return b"".join(bytes(out) for out in self._filter.filter(packet))

    def _stop(self, why: str) -> None:
        """Nothing of this connection is passed on any more."""
        self._over = True
        self._pending.clear()
        self._tap.no_packets(why)
