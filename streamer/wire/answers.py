"""Answers to "why?", worker to web: attention as small maps of bytes, or a refusal in words. JSON.

Maps are scaled by their own maximum, so 255 is where a query looked most; each row of the picture's attention by that
row's. Attention says where a network looked, not why it answered: each answer says so.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from streamer.errors import SightlineError
from streamer.ports import Looks
from streamer.types import F32, U8

NOTE: Final = "attention, not cause"


def encode_why(
    looks: Looks,
    *,
    model: str,
    layer: str,
    wall_ns: int,
    track_id: int,
    similarity: Sequence[tuple[int, float]],
    jpeg: bytes | None = None,
) -> bytes:
    """One answer. `similarity` are (wall_ns, cosine) of the track's query in its earlier frames, oldest first.

    `jpeg` is the picture that was asked about, or None where the asker has it.
    """
    picture = None
    if looks.picture is not None and looks.picture_hw is not None:
        rows = scaled_bytes(looks.picture, by_row=True)
        picture = {"grid_hw": looks.picture_hw, "rows": base64.b64encode(rows.tobytes()).decode()}
    return orjson.dumps(
        {
            "note": NOTE,
            "model": model,
            "layer": layer,
            "wall_ns": wall_ns,
            "track_id": track_id,
            "query": {
                "size_hw": looks.query.shape,
                "values": scaled_bytes(looks.query, by_row=False).ravel().tolist(),
            },
            "picture_attention": picture,
            "similarity": [{"wall_ns": at, "value": round(value, 4)} for at, value in similarity],
            "picture": jpeg and f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        }
    )


def encode_refusal(error: SightlineError, status: int) -> bytes:
    """That a question has no answer, as HTTP would say it."""
    words = {"status": status, "what": error.what, "where": error.where, "mend": error.mend}
    return orjson.dumps({"refused": words})


def refusal_of(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What `encode_refusal` said, if it was one: status, what, where, mend."""
    refused = answer.get("refused")
    return refused if isinstance(refused, dict) else None


def scaled_bytes(values: F32, *, by_row: bool) -> U8:
    """Attention f32, at least 0, as u8: its largest value, or each row's own, becomes 255."""
    top = values.max(axis=-1, keepdims=True) if by_row else values.max()
    scaled: U8 = np.rint(values * (255 / np.maximum(top, 1e-12))).astype(np.uint8)
    return scaled
