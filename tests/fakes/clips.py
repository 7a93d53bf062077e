"""Small H.264 files whose pictures tell their number: frame i has a white bar whose left edge is at
4 * (i mod 50) pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

HW = (96, 256)
PX_PER_FRAME = 4
ROUND = 50  # the bar is back at the left edge after so many frames


def bar_picture(index: int) -> NDArray[np.uint8]:
    """uint8 (96, 256, 3): dark grey with a white bar, 40 px wide, from column 4 * (index mod 50)."""
    picture = np.full((*HW, 3), 50, np.uint8)
    left = PX_PER_FRAME * (index % ROUND)
    picture[:, left : left + 40] = 230
    return picture


def bar_index(image: NDArray[np.uint8]) -> int:
    """Which frame, modulo 50, this picture (of any size) is."""
    row = image[image.shape[0] // 2].mean(axis=-1) if image.ndim == 3 else image[image.shape[0] // 2]
    return round(int(np.argmax(row > 140)) * HW[1] / image.shape[1] / PX_PER_FRAME)


def write_clip(
    path: Path,
    frames: int = 25,
    *,
    b_frames: int = 0,
    codec: str = "libx264",
    fps: int = 25,
    pix_fmt: str = "yuv420p",
) -> Path:
    """An H.264 (codec libx265: H.265) file of `frames` bar pictures at `fps`; its container is the suffix's."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = HW
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, fps)
        if codec == "libx264":
            stream.codec_context.options = {
                "preset": "superfast",
                "bf": str(b_frames),
                "g": "10",
                "threads": "1",
            }
            stream.codec_context.max_b_frames = b_frames
        if codec == "libx265":
            stream.codec_context.options = {
                "preset": "ultrafast",
                "x265-params": "keyint=10:bframes=0:log-level=none",
            }
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(bar_picture(i), format="rgb24")
            frame.pts = i
            frame.time_base = Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
