"""The JSON Schemas of what is written: for readers in other languages, and to check samples against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamer.types import EVENT_SCHEMA, INTRUSION, RESULT_SCHEMA, WRONG_WAY, EventKind

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


def _schema(
    title: str, about: str, schema: str, properties: Mapping[str, Any], may: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    # No additionalProperties: false: a newer minor version may add fields, and readers ignore them.
    return {
        "$schema": _DRAFT,
        "title": title,
        "description": about,
        "type": "object",
        "properties": {"schema": {"const": schema}, **properties, **(may or {})},
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

_KEYPOINTS: Final = {
    "description": "x, y in pixels of the source picture and score 0 to 1, named by keypoint_names; of persons only",
    "type": ["array", "null"],
    "items": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
}

_ACTION: Final = {
    "name": {"type": "string", "minLength": 1},
    "score": {"type": "number"},
    "track_id": {"description": "who does it; null for the scene as a whole", "type": ["integer", "null"]},
    "start_wall_ns": {"description": "Unix time since when it has been named, in nanoseconds", **_COUNT},
    "end_wall_ns": {"description": "Unix time of the last frame it was named in, in nanoseconds", **_COUNT},
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
            "items": {
                "type": "object",
                "properties": {**_OBJECT, "keypoints": _KEYPOINTS},
                "required": list(_OBJECT),
            },
        },
        "timing_ms": {
            "description": "milliseconds at each station",
            "required": ["decode", "queue", "batch", "infer", "postprocess", "total"],
            **_TIMES,
        },
        "provenance": {"description": "model, engine digest, backend", **_TEXTS},
    },
    may={
        "keypoint_names": {
            "description": "what each object's key points are, from models that find them",
            "type": ["array", "null"],
            "items": {"type": "string"},
        },
        "semantic": {
            "description": "a class for every place of the whole picture, from models that draw such a map: runs, "
            "column by column, of `values` (numbers in `names`; 255: the model did not look), `counts` cells long",
            "type": ["object", "null"],
            "properties": {
                "size_hw": _HW,
                "names": {"type": "array", "items": {"type": "string"}},
                "values": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
                "counts": {"type": "array", "items": _COUNT},
            },
            "required": ["size_hw", "names", "values", "counts"],
        },
        "actions": {
            "description": "what is being done, by a track or in the scene, the likeliest first; from models that name "
            "the picture, what it shows",
            "type": ["array", "null"],
            "items": {"type": "object", "properties": _ACTION, "required": list(_ACTION)},
        },
    },
)

EVENT_JSON_SCHEMA: Final = _schema(
    "Sightline event",
    "Something happened; field `data` of the stream sl:{<stream>}:events",
    EVENT_SCHEMA,
    {
        "id": {
            "description": "stream:epoch:seq:kind:track, for a zone or line :name behind it; the same event always has "
            "the same id",
            "type": "string",
            "minLength": 1,
        },
        "kind": {"enum": [str(kind) for kind in EventKind]},
        **_NAMED,
        "track_id": {"description": "null for events of the stream itself", "type": ["integer", "null"]},
        "attrs": {
            "description": "of an object its label, score, box_xyxy and source_hw, of an action also its name and the "
            "Unix time it began at; enter, exit and dwell the zone, cross the line and its direction (in: from the "
            "line's left to its right); of a stream code and message",
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "score": {"type": "number"},
                "box_xyxy": _BOX,
                "source_hw": _HW,
                "action": {"type": "string"},
                "start_wall_ns": _COUNT,
                "zone": {"description": "its name", "type": "string"},
                "dwell_s": {"description": "for so long it has stayed in the zone", "type": "number"},
                "line": {"description": "its name", "type": "string"},
                "direction": {"enum": ["in", "out"]},
                "alarm": {
                    "description": "what its region forbids: an enter into the zone, a cross the wrong way",
                    "enum": [INTRUSION, WRONG_WAY],
                },
                "code": {"type": "string"},
                "message": {"type": "string"},
            },
        },
        "evidence": {"type": "object"},
        "latency_ms": {"description": "milliseconds from capture to the rule", **_TIMES},
        "provenance": {"description": "model, engine digest, backend", **_TEXTS},
    },
)
