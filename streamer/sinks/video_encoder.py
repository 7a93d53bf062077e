"""Pictures of one size in, packets for browsers out: H.264 by x264, or VP8 by libvpx, both without any delay.

Both are set for one core and a live picture: no B-frames, no look-ahead, bits bounded by size and rate, and a key
frame exactly where it is asked for. VP8 costs half as much again as H.264 (2.4 ms against 1.6 for 768x432 on one core);
it is for browsers without the other.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from streamer.types import TICKS_90K, Hw

MAX_WIDTH: Final = 1280
MAX_HEIGHT: Final = 1280
# Bits per pixel and second's frame at which superfast x264 looks clean on street scenes; CRF spends less on still ones.
_BITS_PER_PX: Final = 0.14
_BITRATE_BPS: Final = (400_000, 4_000_000)
_CRF: Final = 25
# libvpx's own scale (0 best, 63 worst) at which its pictures look like those above.
_VP8_CRF: Final = 20
_TIME_BASE: Final = Fraction(1, TICKS_90K)
_LIBRARY: Final = {"h264": "libx264", "vp8": "libvpx"}

EncodedPacket = tuple[bytes, bool, int]
"""(data, is a key frame, pts90k)"""


def encoded_hw(source_hw: Hw) -> Hw:
    """The size at which a picture of `source_hw` is encoded: the nearest even one, at most 1280 wide and high."""
    height, width = source_hw
    scale = min(1.0, MAX_WIDTH / width, MAX_HEIGHT / height)
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def bitrate_bps(hw: Hw, fps: float) -> int:
    """The most bits a second that a picture of this size may take."""
    low, high = _BITRATE_BPS
    return int(min(high, max(low, hw[0] * hw[1] * fps * _BITS_PER_PX)))


def hw_of(picture: Any) -> Hw:
    """Height and width of a picture, `av.VideoFrame` or uint8 (H, W, 3)."""
    if isinstance(picture, VideoFrame):
        return picture.height, picture.width
    height, width = picture.shape[:2]
    return int(height), int(width)


class Encoder:
    """One encoder for pictures of any size, which it scales to `hw`. One thread at a time."""

    def __init__(self, hw: Hw, fps: float, codec: str = "h264") -> None:
        self.hw = hw
        self._fps = fps
        self._reformatter = VideoReformatter()
        rate = bitrate_bps(hw, fps)
        context = av.CodecContext.create(_LIBRARY[codec], "w")
        assert isinstance(context, VideoCodecContext)
        context.height, context.width = hw
        context.pix_fmt = "yuv420p"
        context.time_base = _TIME_BASE
        context.framerate = Fraction(fps).limit_denominator(1000)
        if codec == "vp8":
            context.bit_rate = rate
            context.thread_count = 1
        context.options = _vp8(rate) if codec == "vp8" else _h264(rate)
        self._context = context

    def encode(self, picture: Any, pts90k: int, *, key: bool) -> list[EncodedPacket]:
        """What this picture (`av.VideoFrame`, or uint8 (H, W, 3) RGB) becomes: one packet, since there is no delay."""
        frame = self._prepared(picture)
        frame.pts = pts90k
        frame.time_base = _TIME_BASE
        # libvpx spends by the time a picture is shown; a decoded frame's own is in its source's units.
        frame.duration = round(TICKS_90K / self._fps)
        # A decoded frame still says which type it had in its source, and the encoder would follow it.
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

    def close(self) -> list[EncodedPacket]:
        """What was still inside (nothing, without delay), after which it is of no more use."""
        return [_plain(packet) for packet in self._context.encode(None)]


# In both, key frames are forced by stream time, since a stream's rate may change; the library places none itself.


def _h264(rate: int) -> dict[str, str]:
    return {
        "preset": "superfast",
        "tune": "zerolatency",
        "profile": "baseline",
        "crf": str(_CRF),
        "maxrate": str(rate),
        "bufsize": str(rate),
        "forced-idr": "1",
        "x264-params": "repeat-headers=1:annexb=1:keyint=infinite:scenecut=0:threads=1:sliced-threads=0",
    }


def _vp8(rate: int) -> dict[str, str]:
    return {
        "deadline": "realtime",
        "cpu-used": "8",
        "lag-in-frames": "0",
        "auto-alt-ref": "0",
        "error-resilient": "1",  # a lost packet must not spoil the probabilities of the next
        "crf": str(_VP8_CRF),
        "qmin": "4",
        "qmax": "56",
        "maxrate": str(rate),
        "bufsize": str(rate),
        "g": "100000",
    }


def _plain(packet: av.Packet[Any]) -> EncodedPacket:
    assert packet.pts is not None
    return bytes(packet), packet.is_keyframe, packet.pts
