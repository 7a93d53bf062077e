"""What is built of a user's graph: which gate compares it, and which task reads it."""

from __future__ import annotations

from pathlib import Path

from engines.build.recipe import Family
from streamer.errors import EngineError
from streamer.model_card import DetrHead, ModelCard, load_card
from streamer.model_names import card_of

BY_VALUE, BY_ROWS = "engines.build.closeness", "engines.build.rows"


def own_family(graph: Path) -> Family:
    """Of a graph with its card beside it.

    Raises EngineError if either is missing, ConfigError with a line for every mistake in the card.
    """
    if not graph.is_file():
        raise EngineError("there is no such file", where=str(graph))
    if not card_of(graph).is_file():
        raise EngineError(
            f"its card {card_of(graph).name} is missing",
            where=str(graph),
            mend="write one beside it that says what goes in and comes out (`sightline schema model-card`)",
        )
    card = load_card(card_of(graph))
    return Family(
        name=f"own-{card.outputs.kind}",
        format="onnx",
        loader="engines.own.graph:load_own",
        task="detect" if isinstance(card.outputs, DetrHead) else card.outputs.kind,
        gate=_gate(card),
        distributions=("onnxruntime",),
    )


def _gate(card: ModelCard) -> str:
    """Rows that a graph may have chosen or sorted are matched; those of anchors, and of plain DETR, stay in place."""
    head = card.outputs
    if head.kind == "yolo" or (isinstance(head, DetrHead) and head.scores == "softmax"):
        return BY_VALUE
    return BY_ROWS
