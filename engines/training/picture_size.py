"""How large a picture file is, from its first bytes where that is possible: a data set may have a million of them.

PNG: W3C's specification, 11.2.2. JPEG: ITU-T T.81, B.1.1. Other kinds are decoded.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.errors import SightlineError

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # Huffman tables, reserved, arithmetic conditioning: among the marks of frames


def size_of(path: Path) -> tuple[int, int] | None:
    """Height and width as stored, in pixels; None for a file that is no picture. OSError if it cannot be read."""
    with path.open("rb") as file:
        start = file.read(24)
        if start.startswith(_PNG) and len(start) == 24:
            width, height = struct.unpack(">II", start[16:24])
            return (height, width) if height and width else None
        if start.startswith(_JPEG):
            file.seek(2)
            return _jpeg_size(file)
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if image is None else (int(image.shape[0]), int(image.shape[1]))


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Walks from segment to segment up to the one that begins the frame."""
    while True:
        mark = file.read(2)
        while mark[1:] == b"\xff":  # fill bytes
            mark = b"\xff" + file.read(1)
        length = file.read(2)
        if len(mark) < 2 or mark[0] != 0xFF or len(length) < 2:
            return None
        size = int.from_bytes(length, "big")
        if 0xC0 <= mark[1] <= 0xCF and mark[1] not in _NO_FRAME:
            frame = file.read(5)
            if len(frame) < 5:
                return None
            height, width = struct.unpack(">HH", frame[1:])
            return (height, width) if height and width else None
        if size < 2 or mark[1] in (0xD9, 0xDA):
            return None
        file.seek(size - 2, 1)


def read_rgb(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """The picture, u8 (height, width, 3) RGB; turned as its camera noted only if it fits no other way.

    Raises SightlineError if it cannot be decoded or is of another size.
    """
    size = (0, 0)
    for how in (cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, cv2.IMREAD_COLOR):
        image = cv2.imread(str(path), how)
        if image is None:
            raise SightlineError(
                "the picture cannot be decoded", where=str(path), mend="replace the file or leave it out"
            )
        size = image.shape[:2]
        if size == (height, width):
            rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            return rgb
    raise SightlineError(
        f"the picture is {size[1]}x{size[0]}, the annotations say {width}x{height}",
        where=str(path),
        mend="correct the annotations' width and height",
    )
