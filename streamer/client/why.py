"""Questions why, and the models: calls as in `calls`, answers as the worker wrote them."""

from __future__ import annotations

from typing import Any

import orjson

from streamer.client.calls import Call
from streamer.wire import keys


def event_why(stream: str, event: str) -> Call[bytes | None]:
    """The attention kept with an event's evidence, as JSON; None where there is none."""
    (data,) = yield [("HGET", keys.evidence(stream, event), "why")]
    return data if data is None else bytes(data)


def ask_why(stream: str, question: str, **about: str | int) -> Call[int]:
    """Ask the workers about a `track_id` or an `event`; how many heard it. The answer: `why_answer`."""
    said = orjson.dumps({"op": "why", "stream": stream, "question": question, **about})
    (heard,) = yield [("PUBLISH", keys.CONTROL, said)]
    return int(heard)


def why_answer(stream: str, question: str) -> Call[bytes | None]:
    """What was answered, as JSON; None while there is no answer."""
    (data,) = yield [("GET", keys.why(stream, question))]
    return data if data is None else bytes(data)


def models() -> Call[list[dict[str, Any]]]:
    """What the worker said of each model that it knows, by name."""
    (raw,) = yield [("HGETALL", keys.MODELS)]
    return [orjson.loads(raw[name]) for name in sorted(raw)]
