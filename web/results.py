"""A result as viewers are told it: JSON text, or that text compressed for a player that says it can read it.

A data channel costs by the packet. aiortc and SCTP take about 0.2 ms of the server's CPU for each of 1200 bytes, and
the result of a street is ten of them, more than its picture; rounded to what can be seen and compressed it is three.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

import orjson

from streamer.errors import WireError

# The subprotocol of a data channel whose results come as bytes: raw deflate (RFC 1951) of the text and a line's end.
DEFLATE: Final = "deflate"
# Level 1 takes half the time and makes an eighth more, which is one packet of four for every viewer.
_LEVEL: Final = 5
_PIXEL_DIGITS, _POINT_DIGITS, _SCORE_DIGITS = 2, 1, 4


class ResultMessage:
    """One result for all viewers of its stream: each form is made once, when the first asks for it.

    `at` is (epoch, pts90k) of its picture. Raises WireError for bytes that name no frame.
    """

    def __init__(self, stored: bytes) -> None:
        self._stored = stored
        try:
            data = self.data
            self.at = int(data["epoch"]), int(data["pts90k"])
        except (KeyError, TypeError, ValueError) as error:
            raise WireError(f"cannot be told to viewers ({error!r})", where="result") from None

    @property
    def data(self) -> dict[str, Any]:
        """The result as it was stored, read anew: as objects it takes ten times its bytes, and a feed keeps many."""
        told: dict[str, Any] = orjson.loads(self._stored)
        return told

    @cached_property
    def text(self) -> str:
        """The message as it is sent: `{"t": "result", "data": …}`, boxes to a hundredth of a pixel, key points to a
        tenth, scores to four digits; what is of another shape stays as it is."""
        try:
            data = _rounded(self.data)
        except (KeyError, TypeError, ValueError, AttributeError):
            data = self.data
        return orjson.dumps({"t": "result", "data": data}).decode()

    @cached_property
    def deflated(self) -> bytes:
        """`text` and a line's end, compressed by itself and flushed to a byte without an end of the stream.

        So all that a viewer gets is one stream, whichever of it was dropped: a browser needs one inflater a session,
        and one for each result would be 45 kB of garbage every time.
        """
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(f"{self.text}\n".encode()) + packer.flush(zlib.Z_SYNC_FLUSH)

    def size(self, *, deflated: bool) -> int:
        """Bytes of the one form or the other (ASCII but for names)."""
        return len(self.deflated if deflated else self.text)


def _rounded(result: dict[str, Any]) -> dict[str, Any]:
    for found in result.get("objects", ()):
        found["score"] = round(found["score"], _SCORE_DIGITS)
        found["box_xyxy"] = _each(found["box_xyxy"], _PIXEL_DIGITS)
        if "keypoints" in found:
            found["keypoints"] = [
                [*_each(xy, _POINT_DIGITS), round(score, _SCORE_DIGITS)] for *xy, score in found["keypoints"]
            ]
    for action in result.get("actions", ()):
        action["score"] = round(action["score"], _SCORE_DIGITS)
    return result


def _each(values: Iterable[float], digits: int) -> list[float]:
    return [round(value, digits) for value in values]
