"""H.264 as a row of NAL units between start codes (ITU-T H.264, annex B), as browsers are sent it.

A browser shows nothing until it has met the parameter sets (SPS and PPS) in the stream itself, while cameras may name
them once, beside it: then they are put into each key frame.
"""

from __future__ import annotations

from typing import Final

START: Final = b"\x00\x00\x01"
SLICES: Final = frozenset(range(1, 6))
IDR: Final = 5
SPS: Final = 7
PPS: Final = 8
DELIMITER: Final = 9


def nal_units(data: bytes) -> list[tuple[int, int]]:
    """(type, place of its start code) of each NAL unit of an Annex B byte stream, in order."""
    units: list[tuple[int, int]] = []
    at = data.find(START)
    while 0 <= at < len(data) - len(START):
        begins = at - 1 if at > 0 and data[at - 1] == 0 else at
        units.append((data[at + 3] & 0x1F, begins))
        at = data.find(START, at + 3)
    return units


def is_annexb(extradata: bytes) -> bool:
    """Whether these parameter sets are NAL units after start codes; what MP4 and MKV keep (avcC) is not."""
    return extradata.startswith((START, b"\x00" + START))


def with_parameter_sets(data: bytes, sets: bytes) -> bytes:
    """The key frame `data` with `sets` (Annex B) put before its first unit that is no delimiter."""
    units = nal_units(data)
    places = [place for kind, place in units if kind != DELIMITER]
    at = places[0] if places else len(data)
    return data[:at] + sets + data[at:]
