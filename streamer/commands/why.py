"""The parts that answer "why?" and tell the models, as the worker composes them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from streamer.clock import Clock
from streamer.errors import EngineError, SightlineError
from streamer.metrics import Metrics
from streamer.ports import Engine, EventSink, Explainer, Recorder
from streamer.remembered import Memory, Served
from streamer.sinks.redis_why import WhyWriter
from streamer.types import Event
from streamer.why import Asker
from streamer.wire.answers import encode_refusal

if TYPE_CHECKING:
    from engines.zoo import ModelCard

log = logging.getLogger(__name__)

OFF = EngineError("this server does not keep attention", mend="set evidence: {why: true}")


class Whys:
    """Asker, writer and memory of one worker. With `on` False every question is refused and nothing is remembered."""

    def __init__(
        self, redis_url: str, data_dir: Path, *, on: bool, backend: str, clock: Clock, metrics: Metrics
    ) -> None:
        self.writer = WhyWriter(redis_url, clock, models=known_models())
        self._cache_dir, self._backend = data_dir / "engines", backend
        self._serving: dict[
            str, tuple[str, str]
        ] = {}  # by the engine's name: what opens it, and its precision
        self._memory = Memory()
        self.asker: Asker | None = None
        if on:
            from engines.tasks.asked import query_of

            self.asker = Asker(self._memory, self._open, query_of, self.writer, clock=clock, metrics=metrics)

    def open(self) -> None:
        self.writer.open()
        if self.asker is not None:
            self.asker.start()

    def close(self, timeout_s: float) -> None:
        if self.asker is not None:
            self.asker.close(timeout_s)
        self.writer.close()

    def recorder(self, model: str, engine: Engine) -> Recorder | None:
        """What the pipeline of this engine, opened as `model`, keeps its frames with."""
        if self.asker is None:
            return None
        from engines.attention import can_show

        spec = engine.spec
        served = Served(model, spec.name, spec.precision)
        return self._memory.recorder(served, worth=can_show(spec))

    def events(self, sink: EventSink) -> EventSink:
        """The sink, and the asker behind it."""
        return sink if self.asker is None else _Told(sink, self.asker)

    def hearing(self, tell: Callable[[Mapping[str, Any]], None]) -> Callable[[Mapping[str, Any]], None]:
        """Control messages as they are, but for the questions."""

        def heard(message: Mapping[str, Any]) -> None:
            if message.get("op") != "why":
                tell(message)
            elif self.asker is not None:
                self.asker.asked(message)
            else:
                stream, question = str(message.get("stream", "")), str(message.get("question", ""))
                self.writer.answer_why(stream, question, encode_refusal(OFF, 409))

        return heard

    def forget(self, stream: str) -> None:
        """The stream was removed."""
        if self.asker is not None:
            self.asker.forget(stream)

    def _open(self, served: Served, hurry: threading.Event) -> Explainer:
        """Beside the streams, for as long as nobody waits; `hurry` says that somebody does."""
        try:
            return self._opened(served, hurry)
        except EngineError:
            if not hurry.is_set():
                raise
            return self._opened(served, None)

    def _opened(self, served: Served, hurry: threading.Event | None) -> Explainer:
        from engines.attention import open_attention

        return open_attention(
            served.address,
            backend=self._backend,
            precision=served.precision,
            cache_dir=self._cache_dir,
            on_progress=lambda line: log.info("why %s: %s", served.name, line),
            hurry=hurry,
        )


class _Told:
    """An event sink that tells the asker as well, once the events are on their way."""

    def __init__(self, sink: EventSink, asker: Asker) -> None:
        self._sink, self._asker = sink, asker

    def emit_events(self, events: Sequence[Event]) -> None:
        self._sink.emit_events(events)
        self._asker.happened(events)


def known_models() -> dict[str, bytes]:
    """The cards of all models that this machine knows, by name, as JSON for the page."""
    from engines.zoo import list_models

    try:
        return {card.name: orjson.dumps(model_fields(card)) for card in list_models()}
    except SightlineError as error:  # one broken file among the imported ones
        log.warning("the models cannot be listed: %s", error)
        return {}


def model_fields(card: ModelCard) -> dict[str, Any]:
    """What is told of one model: numbers of its card, its text, and what it can see. No path of this machine."""
    from engines.attention import can_show_family

    text = card.weights.with_suffix(".md")
    measured = card.card.get("measured", {})
    height, width = card.config.get("height"), card.config.get("width")
    return {
        "name": card.name,
        "family": card.family,
        "task": card.task,
        "size_bytes": card.size_bytes,
        "input_hw": [height, width] if height and width else None,
        "labels": list(card.config.get("labels", ())),
        "actions": list(card.config.get("action_labels", ())),
        "attention": can_show_family(card.family),
        "shown": {name: value for name, value in measured.items() if isinstance(value, int | float)},
        "data": card.card.get("data"),
        "intended_use": card.card.get("intended_use"),
        "text": text.read_text("utf-8") if text.is_file() else "",
    }
