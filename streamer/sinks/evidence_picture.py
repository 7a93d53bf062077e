"""A picture as evidence keeps it: small, in the decoder's own colours, and as JPEG when somebody shall look at it.

It is made once, on the decode thread, by area averaging. One core takes 0.6 ms for it and its place in the ring from
1080p, 2 ms from 4K, and 0.2 ms (a copy) from 640x360, as from a drawn RGB picture of that size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from streamer.types import FrameRef, Hw

# What a person needs to see who it was; three seconds of 25 such pictures are 26 MB.
MAX_SIDE: Final = 640
JPEG_QUALITY: Final = 80


@dataclass(frozen=True, slots=True)
class SmallPicture:
    """One picture: `frame` is yuv420p of an even size that nobody else holds; `time_s` is stream time."""

    ref: FrameRef
    frame: VideoFrame
    time_s: float

    @property
    def hw(self) -> Hw:
        return self.frame.height, self.frame.width

    @property
    def bytes(self) -> int:
        return sum(plane.buffer_size for plane in self.frame.planes)


def small_hw(source_hw: Hw) -> Hw:
    """The nearest even size of at most 640 px on either side."""
    height, width = source_hw
    scale = min(1.0, MAX_SIDE / max(height, width))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


class Shrinker:
    """Makes small pictures of one stream's. One thread at a time."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def small(self, ref: FrameRef, picture: Any) -> SmallPicture:
        """A copy of `picture` (an `av.VideoFrame`, or uint8 (H, W, 3) RGB) that shares no memory with it."""
        frame = self._of_decoded(picture) if isinstance(picture, VideoFrame) else _of_rgb(picture)
        # A decoded frame still says which type it had in its source, and an encoder would follow it.
        frame.pict_type = PictureType.NONE
        return SmallPicture(ref, frame, float(ref.pts * ref.time_base))

    def _of_decoded(self, picture: VideoFrame) -> VideoFrame:
        height, width = small_hw((picture.height, picture.width))
        small = self._reformatter.reformat(
            picture, width, height, "yuv420p", interpolation=Interpolation.AREA, threads=1
        )
        if small is not picture:
            return small
        # Nothing had to be done, so this is the decoder's own frame, which the viewers' encoder stamps as it likes.
        copy = VideoFrame.from_numpy_buffer(picture.to_ndarray(), format="yuv420p")
        copy.colorspace, copy.color_range = picture.colorspace, picture.color_range
        return copy


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
