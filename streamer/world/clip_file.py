"""Pictures to a file: H.264 in any container that PyAV knows by the file's suffix."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from streamer.errors import SightlineError

QUALITY_CRF = "18"


def write_pictures(pictures: Iterable[NDArray[np.uint8]], fps: float, out_path: Path) -> int:
    """Write pictures uint8 (H, W, 3) RGB, all of one even size, at `fps` a second; returns how many there were.

    What was written is removed if anything fails. Raises SightlineError for a path that cannot be written.
    """
    rate = Fraction(fps).limit_denominator(1001)
    count = 0
    try:
        with av.open(str(out_path), "w") as container:
            stream = container.add_stream(
                "libx264", rate=rate, options={"crf": QUALITY_CRF, "preset": "veryfast"}
            )
            for picture in pictures:
                if not count:
                    stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = count, 1 / rate
                container.mux(stream.encode(frame))
                count += 1
            container.mux(stream.encode(None))
    except BaseException as error:
        if out_path.is_file():
            out_path.unlink()
        if isinstance(error, OSError | av.error.FFmpegError | ValueError):
            raise SightlineError(
                f"the clip cannot be written ({getattr(error, 'strerror', None) or error})",
                where=str(out_path),
                mend="give a path in a folder that exists, ending in .mp4 or .mkv",
            ) from error
        raise
    return count
