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

# The subprotocol of a data channel whose results come as bytes: the text, in zlib's format (RFC 1950).
DEFLATE: Final = "deflate"
# Level 1 takes half the time and makes an eighth more, which is one packet of four for every viewer.
_LEVEL: Final = 5
_PIXEL_DIGITS, _POINT_DIGITS, _SCORE_DIGITS = 2, 1, 4


class ToldResult:
    """One result for all viewers of its stream: made once, compressed when the first asks for it.

    Its boxes are rounded to a hundredth of a pixel, key points to a tenth and scores to four digits; as it was stored it
    comes from the API. Raises WireError for bytes that are no result.
    """

    def __init__(self, stored: bytes) -> None:
        try:
            data = _rounded(orjson.loads(stored))
            self.epoch, self.pts90k = int(data["epoch"]), int(data["pts90k"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WireError(f"cannot be told to viewers ({error!r})", where="result") from None
        self.text = orjson.dumps({"t": "result", "data": data}).decode()

    @property
    def data(self) -> dict[str, Any]:
        """The result, read anew: as objects it takes ten times its text, and a feed keeps many."""
        told: dict[str, Any] = orjson.loads(self.text)["data"]
        return told

    @cached_property
    def deflated(self) -> bytes:
        """`text`, compressed."""
        return zlib.compress(self.text.encode(), _LEVEL)


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
