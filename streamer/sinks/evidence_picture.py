"""A picture as evidence keeps it: small, in the decoder's own colours, and as JPEG when somebody shall look at it.

Most pictures are never looked at, so a decoded one that is not large is kept as it is, by reference, and made small
when an event or a clip needs it; that costs the decode thread nothing. A large one is made small at once, by area
averaging, since the ring could hold few of them: 0.7 ms of one core from 1080p, 2 ms from 4K. So is a drawn picture.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import cv2
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from streamer.types import FrameRef, Hw

# What a person needs to see who it was; three seconds of 25 such pictures are 26 MB.
MAX_SIDE: Final = 640
JPEG_QUALITY: Final = 80
# A decoded picture of at most so many bytes (768x432 is one) is kept whole: three seconds of 25 are within the ring's.
WHOLE_BYTES: Final = 512 << 10
_WHOLE: Final = ("yuv420p", "yuvj420p")

_own = threading.local()


def small_hw(source_hw: Hw) -> Hw:
    """The nearest even size of at most 640 px on either side."""
    height, width = source_hw
    scale = min(1.0, MAX_SIDE / max(height, width))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


class SmallPicture:
    """One picture, `hw` large when it is looked at; `time_s` is stream time, `bytes` what it keeps in memory at most.

    Made of a frame that is small already, or of a larger one (`whole`) that stays as it is: others may hold that too.
    """

    __slots__ = ("_frame", "_whole", "bytes", "hw", "ref", "time_s")

    def __init__(
        self, ref: FrameRef, frame: VideoFrame | None = None, *, whole: VideoFrame | None = None
    ) -> None:
        source = frame or whole
        assert source is not None
        self.ref, self._frame, self._whole = ref, frame, whole
        self.hw = small_hw((source.height, source.width))
        self.time_s = float(ref.pts * ref.time_base)
        self.bytes = _bytes_of(source)

    @property
    def frame(self) -> VideoFrame:
        """It as yuv420p of size `hw` that nobody else holds. One thread at a time."""
        if self._frame is None:
            assert self._whole is not None
            self._frame, self._whole = _small(self._whole, _reformatter()), None
        return self._frame


class Shrinker:
    """Makes small pictures of one stream's. One thread at a time."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def small(self, ref: FrameRef, picture: Any) -> SmallPicture:
        """Keep `picture`, an `av.VideoFrame` or uint8 (H, W, 3) RGB, whose pixels nobody may change afterwards."""
        if not isinstance(picture, VideoFrame):
            return SmallPicture(ref, _of_rgb(picture))
        if picture.format.name in _WHOLE and _bytes_of(picture) <= WHOLE_BYTES:
            return SmallPicture(ref, whole=picture)
        return SmallPicture(ref, _small(picture, self._reformatter))


def _small(picture: VideoFrame, reformatter: VideoReformatter) -> VideoFrame:
    height, width = small_hw((picture.height, picture.width))
    small = reformatter.reformat(
        picture, width, height, "yuv420p", interpolation=Interpolation.AREA, threads=1
    )
    if small is picture:
        # Nothing had to be done, so this is the decoder's own frame, which the viewers' encoder stamps as it likes.
        small = VideoFrame.from_numpy_buffer(picture.to_ndarray(), format="yuv420p")
        small.colorspace, small.color_range = picture.colorspace, picture.color_range
    # A decoded frame still says which type it had in its source, and an encoder would follow it.
    small.pict_type = PictureType.NONE
    return small


def _reformatter() -> VideoReformatter:
    """This thread's own."""
    found: VideoReformatter | None = getattr(_own, "reformatter", None)
    if found is None:
        found = _own.reformatter = VideoReformatter()
    return found


def _bytes_of(frame: VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)


def _of_rgb(picture: np.ndarray[Any, Any]) -> VideoFrame:
    height, width = small_hw((picture.shape[0], picture.shape[1]))
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
    return VideoFrame.from_numpy_buffer(planes, format="yuv420p")


def jpeg(picture: SmallPicture) -> bytes:
    """The picture as JPEG; 0.7 ms."""
    done, data = cv2.imencode(
        ".jpg", picture.frame.to_ndarray(format="bgr24"), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not done:
        raise ValueError("the picture cannot be written as JPEG")
    return bytes(data)
