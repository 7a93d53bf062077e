"""Bytes to Event and Result, trusting nothing: another version or shape is refused with the field's name.

Fields that a newer minor version added are ignored.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Final, NoReturn

import numpy as np
import orjson

from streamer.errors import WireError
from streamer.masks import map_from_runs
from streamer.types import (
    EVENT_SCHEMA,
    F32,
    RESULT_SCHEMA,
    TICKS_90K,
    U8,
    Action,
    Detections,
    Event,
    EventKind,
    FrameRef,
    Hw,
    MaskRLE,
    Perception,
    Result,
    Timing,
    Tracks,
    frozen_array,
)

_PTS_BASE: Final = Fraction(1, TICKS_90K)
_KINDS: Final = frozenset(str(kind) for kind in EventKind)
_SPANS: Final = ("decode", "queue", "batch", "infer", "postprocess")


def decode_event(data: bytes | str) -> Event:
    """The Event in `data`. Raises WireError that names the first wrong field."""
    fields = _object(data, EVENT_SCHEMA, "event")
    kind = fields.text("kind")
    if kind not in _KINDS:
        fields.refuse("kind", f"{kind!r} is no kind of event known here", "update the reader")
    track_id = None if fields.get("track_id") is None else fields.whole("track_id")
    return Event(
        id=fields.text("id"),
        kind=EventKind(kind),
        stream=fields.text("stream"),
        epoch=fields.whole("epoch", low=0),
        seq=fields.whole("seq", low=0),
        wall_ns=fields.whole("wall_ns", low=0),
        track_id=track_id,
        attrs=fields.mapping("attrs"),
        evidence=fields.mapping("evidence"),
        latency_ms=fields.numbers("latency_ms"),
        provenance=fields.texts("provenance"),
    )


def decode_result(data: bytes | str) -> Result:
    """The Result in `data`. Raises WireError that names the first wrong field.

    Monotonic times never leave their host: `timing` counts from `captured_ns` = 0, and its total is the sum of its
    spans. `pts` is in 90 kHz ticks. `label_names` are those that occur, in order of occurrence. A result without
    `semantic`, `keypoint_names` or `actions`, as older writers' are, has none.
    """
    fields = _object(data, RESULT_SCHEMA, "result")
    ref = FrameRef(
        stream=fields.text("stream"),
        epoch=fields.whole("epoch", low=0),
        seq=fields.whole("seq", low=0),
        pts=fields.whole("pts90k"),
        time_base=_PTS_BASE,
        captured_ns=0,
        wall_ns=fields.whole("wall_ns", low=0),
    )
    rows = [_Fields(row, f"result.objects[{i}]") for i, row in enumerate(fields.list("objects"))]
    labels = [row.text("label") for row in rows]
    label_names = tuple(dict.fromkeys(labels))
    index = {name: i for i, name in enumerate(label_names)}
    masks = [_mask(row) for row in rows]
    present = [mask for mask in masks if mask is not None]
    if present and len(present) != len(masks):
        fields.refuse("objects", "some objects have a mask and some have none")
    detections = Detections(
        boxes_xyxy=frozen_array(
            np.array([row.vector("box_xyxy", 4) for row in rows], np.float32).reshape(-1, 4)
        ),
        scores=frozen_array(np.array([row.number("score") for row in rows], np.float32)),
        labels=frozen_array(np.array([index[label] for label in labels], np.int64)),
        masks=tuple(present) if present else None,
    )
    tracks = Tracks(
        detections=detections,
        track_ids=frozen_array(np.array([row.whole("id") for row in rows], np.int64)),
        ages=frozen_array(np.array([row.whole("age", low=0) for row in rows], np.int64)),
    )
    semantic, semantic_names = _semantic(fields)
    keypoints, keypoint_names = _keypoints(fields, rows)
    payload = Perception(
        tracks=tracks,
        label_names=label_names,
        semantic=semantic,
        keypoints=keypoints,
        semantic_names=semantic_names,
        keypoint_names=keypoint_names,
        actions=_actions(fields),
    )
    return Result(
        ref=ref,
        source_hw=fields.size_hw("source_hw"),
        payload=payload,
        timing=_timing(fields),
        provenance=fields.texts("provenance"),
    )


def _keypoints(whole: _Fields, rows: list[_Fields]) -> tuple[F32 | None, tuple[str, ...]]:
    """(N, K, 3), zeros for objects that have none, and the K names."""
    if whole.get("keypoint_names") is None:
        return None, ()
    names = whole.list("keypoint_names")
    if not all(isinstance(name, str) for name in names):
        whole.refuse("keypoint_names", "not a list of texts")
    found = np.zeros((len(rows), len(names), 3), np.float32)
    for row, points in zip(rows, found, strict=True):
        if row.get("keypoints") is None:
            continue
        given = row.list("keypoints")
        if len(given) != len(names) or not all(
            isinstance(point, list) and len(point) == 3 and all(map(_is_number, point)) for point in given
        ):
            row.refuse("keypoints", f"not {len(names)} times x, y and score")
        points[:] = given
    return frozen_array(found), tuple(names)


def _semantic(whole: _Fields) -> tuple[U8 | None, tuple[str, ...]]:
    if whole.get("semantic") is None:
        return None, ()
    fields = _Fields(whole.mapping("semantic"), f"{whole.where}.semantic")
    size_hw, values, counts, names = (
        fields.size_hw("size_hw"),
        fields.list("values"),
        fields.list("counts"),
        fields.list("names"),
    )
    if not all(isinstance(name, str) for name in names):
        fields.refuse("names", "not a list of texts")
    if any(type(value) is not int or not 0 <= value <= 255 for value in values):
        fields.refuse("values", "not a list of whole numbers, 0 to 255")
    if any(type(count) is not int or count < 0 for count in counts):
        fields.refuse("counts", "not a list of whole numbers, 0 or more")
    try:
        return frozen_array(map_from_runs(values, counts, size_hw)), tuple(names)
    except ValueError as error:
        fields.refuse("counts", str(error))


def _actions(whole: _Fields) -> tuple[Action, ...]:
    if whole.get("actions") is None:
        return ()
    rows = [_Fields(row, f"{whole.where}.actions[{i}]") for i, row in enumerate(whole.list("actions"))]
    return tuple(
        Action(
            name=row.text("name"),
            score=row.number("score"),
            track_id=None if row.get("track_id") is None else row.whole("track_id"),
            start_wall_ns=row.whole("start_wall_ns", low=0),
            end_wall_ns=row.whole("end_wall_ns", low=0),
        )
        for row in rows
    )


def _mask(row: _Fields) -> MaskRLE | None:
    if row.get("mask") is None:
        return None
    fields = _Fields(row.mapping("mask"), f"{row.where}.mask")
    size_hw = fields.size_hw("size_hw")
    counts = fields.list("counts")
    # bool is an int to isinstance, but not to type().
    if any(type(count) is not int or count < 0 for count in counts):
        fields.refuse("counts", "not a list of whole numbers, 0 or more")
    if sum(counts) != size_hw[0] * size_hw[1]:
        fields.refuse("counts", f"run lengths sum to {sum(counts)}, not to {size_hw[0]}x{size_hw[1]}")
    return MaskRLE(size_hw, tuple(counts))


def _timing(fields: _Fields) -> Timing:
    spans_ms = fields.numbers("timing_ms")
    times_ns = [0]
    for name in _SPANS:
        if name not in spans_ms:
            fields.refuse(f"timing_ms.{name}", "missing")
        times_ns.append(times_ns[-1] + round(spans_ms[name] * 1e6))
    return Timing(*times_ns)


def _object(data: bytes | str, schema: str, where: str) -> _Fields:
    try:
        whole = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise WireError(f"not JSON: {error}", where=where) from None
    fields = _Fields(whole, where)
    found = fields.get("schema")
    if found != schema:
        mend = "update whichever of writer and reader is older"
        fields.refuse("schema", f"{found!r} is not {schema!r}", mend)
    return fields


class _Fields:
    """A JSON object being read; every complaint names the field."""

    __slots__ = ("_data", "where")

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise WireError(f"not an object but {type(data).__name__}", where=where)
        self._data = data
        self.where = where

    def refuse(self, name: str, what: str, mend: str = "") -> NoReturn:
        raise WireError(what, where=f"{self.where}.{name}", mend=mend)

    def get(self, name: str) -> Any:
        return self._data.get(name)

    def need(self, name: str) -> Any:
        if name not in self._data:
            self.refuse(name, "missing")
        return self._data[name]

    def text(self, name: str) -> str:
        value = self.need(name)
        if not isinstance(value, str) or not value:
            self.refuse(name, "not a text, or empty")
        return value

    def whole(self, name: str, *, low: int = -(2**63)) -> int:
        value = self.need(name)
        if type(value) is not int or not low <= value < 2**63:
            self.refuse(name, "not a whole number" + (", 0 or more" if low == 0 else " of 64 bits"))
        return value

    def number(self, name: str) -> float:
        value = self.need(name)
        if not _is_number(value):
            self.refuse(name, "not a number")
        return float(value)

    def vector(self, name: str, length: int) -> list[float]:
        value = self.need(name)
        if not isinstance(value, list) or len(value) != length or not all(map(_is_number, value)):
            self.refuse(name, f"not a list of {length} numbers")
        return value

    def list(self, name: str) -> list[Any]:
        value = self.need(name)
        if not isinstance(value, list):
            self.refuse(name, "not a list")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.need(name)
        if not isinstance(value, dict):
            self.refuse(name, "not an object")
        return value

    def numbers(self, name: str) -> dict[str, float]:
        value = self.mapping(name)
        if not all(map(_is_number, value.values())):
            self.refuse(name, "not all of its values are numbers")
        return value

    def texts(self, name: str) -> dict[str, str]:
        value = self.mapping(name)
        if not all(isinstance(each, str) for each in value.values()):
            self.refuse(name, "not all of its values are texts")
        return value

    def size_hw(self, name: str) -> Hw:
        value = self.list(name)
        if len(value) != 2 or any(type(each) is not int or each <= 0 for each in value):
            self.refuse(name, "not a height and a width in pixels")
        return value[0], value[1]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
