"""From a decoded picture to a frame of its stream: stamped, offered to viewers, thinned, and laid out for the engine.

What every source of encoded video does alike, whoever decoded the picture. For the stream's own thread.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from streamer.clock import Clock
from streamer.ports import PictureTap
from streamer.sources.connection import SourceSpec
from streamer.sources.fitting import laid
from streamer.sources.packets import Packets
from streamer.sources.timeline import Thinner, Timeline
from streamer.types import U8, Fit, Frame, FrameRef, Hw


class Finisher:
    """One connection's frames, numbered from 0. `thinned` counts those left out for `max_fps`.

    `nominal_s` is the time between pictures where the stream does not tell; stamps count in `time_base`.
    """

    def __init__(
        self,
        spec: SourceSpec,
        *,
        epoch: int,
        input_hw: Hw,
        fit: Fit,
        clock: Clock,
        tap: PictureTap | None,
        time_base: Fraction,
        nominal_s: float,
    ) -> None:
        self._stream, self._epoch = spec.name, epoch
        self._input_hw, self._fit = input_hw, fit
        self._clock, self._tap = clock, tap
        self._time_base = time_base
        self._timeline = Timeline(time_base, nominal_s)
        self._thinner = Thinner(spec.max_fps)
        self._reformatter = VideoReformatter()
        self._seq = 0
        self.thinned = 0

    def restart(self) -> None:
        """The pictures begin anew: a file that is played again."""
        self._timeline.restart()

    def stamp(self, picture: VideoFrame) -> tuple[int, float]:
        """The picture's place in the stream, which only grows: in `time_base`, and in seconds."""
        pts = self._timeline.stamp(picture.pts)
        return pts, float(pts * self._time_base)

    def finish(
        self,
        picture: VideoFrame,
        pts: int,
        stamps: tuple[int, int],
        viewers: Packets | None,
        *,
        analysed: bool = True,
    ) -> Frame | None:
        """The frame, its image uint8 (H, W, 3) RGB read-only at the engine's size; None where only viewers get it.

        `stamps` are (captured_ns, wall_ns) of the picture. Without `analysed` it is for viewers alone.
        """
        ref = FrameRef(self._stream, self._epoch, self._seq, pts, self._time_base, *stamps)
        if viewers is not None:
            viewers.offer(ref, picture)
        if not analysed:
            return None
        if not self._thinner.keeps(float(pts * self._time_base)):
            self.thinned += 1
            return None
        source_hw = picture.height, picture.width
        image = laid(partial(resized, self._reformatter, picture), source_hw, self._input_hw, self._fit)
        decoded_ns = self._clock.monotonic_ns()
        if self._tap is not None and self._tap.wanted:
            self._tap.offer(ref, picture)
        self._seq += 1
        return Frame(ref, image, source_hw, decoded_ns)


def resized(reformatter: VideoReformatter, picture: VideoFrame, hw: Hw) -> U8:
    """uint8 (H, W, 3) RGB, read-only: a view of swscale's own output, no copy."""
    height, width = hw
    # One thread: swscale's default is one per core, which costs more than it gains at this size.
    small = reformatter.reformat(
        picture, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
    )
    plane = small.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, : width * 3]
    image: U8 = rows.reshape(height, width, 3)
    image.setflags(write=False)
    return image
