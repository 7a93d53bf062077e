"""The border between processes: Event and Result ↔ bytes, versioned; their JSON Schemas; the names in Redis."""

from streamer.wire.reading import decode_event, decode_result
from streamer.wire.schemas import EVENT_JSON_SCHEMA, RESULT_JSON_SCHEMA
from streamer.wire.writing import encode_event, encode_result

__all__ = [
    "EVENT_JSON_SCHEMA",
    "RESULT_JSON_SCHEMA",
    "decode_event",
    "decode_result",
    "encode_event",
    "encode_result",
]
