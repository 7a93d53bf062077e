"""Event and Result ↔ bytes: one JSON form, versioned, cheap to write and strict to read.

Writing is on the hot path, so it only arranges what is there and lets orjson serialise the arrays (f32 in their
shortest exact form): 31 µs for ten objects with masks. Reading trusts nothing: bytes of another version or shape are
refused with the field's name. Fields that a newer minor version added are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, NoReturn

import numpy as np
import orjson

from streamer.errors import WireError
from streamer.types import (
    EVENT_SCHEMA,
    RESULT_SCHEMA,
    TICKS_90K,
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

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
_PTS_BASE: Final = Fraction(1, TICKS_90K)
_KINDS: Final = frozenset(str(kind) for kind in EventKind)
_SPANS: Final = ("decode", "queue", "batch", "infer", "postprocess")


# ---------------------------------------------------------------------------------------------------- writing


def encode_result(result: Result) -> bytes:
    """One Result as JSON. Raises WireError for a box or score that is no finite number: JSON has no word for it.

    Semantic maps and key points are not part of `sightline.result/1`.
    """
    ref, payload = result.ref, result.payload
    found = payload.tracks.detections
    if not (np.isfinite(found.boxes_xyxy).all() and np.isfinite(found.scores).all()):
        raise WireError("a box or score is not a finite number", where=f"result {ref.key}")
    names = payload.label_names
    masks: tuple[MaskRLE | None, ...] = found.masks or (None,) * len(found)
    objects = [
        {
            "id": track_id,
            "label": names[label],
            "score": score,
            "box_xyxy": box,
            "age": age,
            "mask": mask and {"size_hw": mask.size_hw, "counts": mask.counts},
        }
        for track_id, label, score, box, age, mask in zip(
            payload.tracks.track_ids.tolist(),
            found.labels.tolist(),
            np.ascontiguousarray(found.scores),
            np.ascontiguousarray(found.boxes_xyxy),
            payload.tracks.ages.tolist(),
            masks,
            strict=True,
        )
    ]
    whole = {
        "schema": RESULT_SCHEMA,
        "stream": ref.stream,
        "epoch": ref.epoch,
        "seq": ref.seq,
        "pts90k": ref.pts90k,
        "wall_ns": ref.wall_ns,
        "source_hw": result.source_hw,
        "objects": objects,
        "timing_ms": result.timing.waterfall_ms(),
        "provenance": dict(result.provenance),
    }
    return orjson.dumps(whole, option=_NUMPY)


def encode_event(event: Event) -> bytes:
    """One Event as JSON. Raises WireError if `attrs` or `evidence` hold something that JSON cannot say."""
    whole = {
        "schema": event.schema,
        "id": event.id,
        "kind": event.kind,
        "stream": event.stream,
        "epoch": event.epoch,
        "seq": event.seq,
        "wall_ns": event.wall_ns,
        "track_id": event.track_id,
        "attrs": dict(event.attrs),
        "evidence": dict(event.evidence),
        "latency_ms": dict(event.latency_ms),
        "provenance": dict(event.provenance),
    }
    try:
        return orjson.dumps(whole, option=_NUMPY)
    except orjson.JSONEncodeError as error:
        raise WireError(f"cannot be written as JSON: {error}", where=f"event {event.id}") from None


# ---------------------------------------------------------------------------------------------------- reading


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
    spans. `pts` is in 90 kHz ticks. `label_names` are those that occur, in order of occurrence.
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
    return Result(
        ref=ref,
        source_hw=fields.size_hw("source_hw"),
        payload=Perception(tracks=tracks, label_names=label_names),
        timing=_timing(fields),
        provenance=fields.texts("provenance"),
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


# ---------------------------------------------------------------------------------------------------- schemas

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_HW: Final = {
    "description": "height, width in pixels",
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "minItems": 2,
    "maxItems": 2,
}
_BOX: Final = {
    "description": "left, top, right, bottom in pixels of the source picture",
    "type": "array",
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 4,
}
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_TIMES: Final = {"type": "object", "additionalProperties": {"type": "number"}}
_COUNT: Final = {"type": "integer", "minimum": 0}
_NAMED: Final = {
    "stream": {"description": "name of the stream", "type": "string", "minLength": 1},
    "epoch": {"description": "grows at every (re)connect, never used twice", **_COUNT},
    "seq": {"description": "number of the frame in its epoch, from 0", **_COUNT},
    "wall_ns": {"description": "Unix time of the frame in nanoseconds", **_COUNT},
}


def _schema(title: str, about: str, schema: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    # No additionalProperties: false: a newer minor version may add fields, and readers ignore them.
    return {
        "$schema": _DRAFT,
        "title": title,
        "description": about,
        "type": "object",
        "properties": {"schema": {"const": schema}, **properties},
        "required": ["schema", *properties],
    }


_OBJECT: Final = {
    "id": {"description": "track, unique in stream and epoch", "type": "integer"},
    "label": {"type": "string", "minLength": 1},
    "score": {"type": "number"},
    "box_xyxy": _BOX,
    "age": {"description": "frames since birth", **_COUNT},
    "mask": {
        "description": "run lengths, column by column, background first; the grid covers the whole picture",
        "type": ["object", "null"],
        "properties": {"size_hw": _HW, "counts": {"type": "array", "items": _COUNT}},
        "required": ["size_hw", "counts"],
    },
}

RESULT_JSON_SCHEMA: Final = _schema(
    "Sightline result",
    "What was seen in one frame; field `data` of the stream sl:{<stream>}:results",
    RESULT_SCHEMA,
    {
        **_NAMED,
        "pts90k": {
            "description": "time stamp in 90 kHz ticks, the same as its video packet's",
            "type": "integer",
        },
        "source_hw": _HW,
        "objects": {
            "type": "array",
            "items": {"type": "object", "properties": _OBJECT, "required": list(_OBJECT)},
        },
        "timing_ms": {
            "description": "milliseconds at each station",
            "required": [*_SPANS, "total"],
            **_TIMES,
        },
        "provenance": {"description": "model, engine digest, backend", **_TEXTS},
    },
)

EVENT_JSON_SCHEMA: Final = _schema(
    "Sightline event",
    "Something happened; field `data` of the stream sl:{<stream>}:events",
    EVENT_SCHEMA,
    {
        "id": {
            "description": "stream:epoch:seq:kind:track; the same event always has the same id",
            "type": "string",
            "minLength": 1,
        },
        "kind": {"enum": sorted(_KINDS)},
        **_NAMED,
        "track_id": {"description": "null for events of the stream itself", "type": ["integer", "null"]},
        "attrs": {
            "description": "of an object its label, score, box_xyxy and source_hw; of a stream code and message",
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "score": {"type": "number"},
                "box_xyxy": _BOX,
                "source_hw": _HW,
                "code": {"type": "string"},
                "message": {"type": "string"},
            },
        },
        "evidence": {"type": "object"},
        "latency_ms": {"description": "milliseconds from capture to the rule", **_TIMES},
        "provenance": {"description": "model, engine digest, backend", **_TEXTS},
    },
)
