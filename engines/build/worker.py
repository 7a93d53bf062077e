"""The child that builds one engine: `python -m engines.build.worker FOLDER DIGEST RECIPE_JSON` (see child.py)."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.backends import registry
from engines.backends.registry import Artefact
from engines.build.cache import PARITY_FILE, load, write_engine_file
from engines.build.child import speak
from engines.build.recipe import Recipe
from streamer.errors import EngineError
from streamer.ports import EngineSpec


def build(recipe: Recipe, digest: str, folder: Path, say: Callable[[str], None]) -> None:
    """Fill `folder` with the engine: graph, compiled blobs, parity report, and engine.json last.

    Raises EngineError or ParityError.
    """
    backend = registry.backend(recipe.backend)
    backend.ready()
    from engines.backends import torch as reference_backend  # torch comes in here, and only in this process
    from engines.build import graphs, judging

    say("loading the weights")
    module = reference_backend.load_module(recipe.family.loader, recipe.weights)
    for note in getattr(module, "notes", ()):
        say(note)
    config = getattr(module, "config", None)
    meta = _meta(recipe, dataclasses.asdict(config) if config is not None else {})
    spec: EngineSpec | None = None
    for graph in graphs.exported(recipe, module, folder, say):
        part = EngineSpec(
            name=graph.name,
            backend=recipe.backend,
            precision=recipe.precision,
            device=backend.device(),
            digest=digest,
            inputs=graph.inputs,
            outputs=graph.outputs,
            max_batch_size=min(
                recipe.max_batch_size, getattr(module, "max_batch_size", recipe.max_batch_size)
            ),
            meta=meta,
        )
        compiling = f"compiling {graph.name} for {recipe.backend} {recipe.precision}"
        say(compiling)
        backend.prepare(
            _artefact(recipe, graph.folder, part, folder.parent),
            lambda line, compiling=compiling: say(f"{compiling}: {line}"),  # type: ignore[misc]
        )
        write_engine_file(graph.folder, part)
        spec = spec or dataclasses.replace(part, name=recipe.name)
    assert spec is not None
    engine = load(_artefact(recipe, folder, spec, folder.parent))
    spec = engine.spec
    say("comparing with the reference")
    comparisons = list(judging.compared(recipe, module, engine))
    engine.close()
    report = judging.gate_of(recipe.family).gate(
        comparisons, recipe.precision, f"{recipe.name} on {recipe.backend}"
    )
    (folder / PARITY_FILE).write_text(json.dumps(report, indent=1))
    write_engine_file(folder, spec)


_RULED = ("track", "detect", "panoptic", "act", "classify")  # tasks whose rules a card may set


def _artefact(recipe: Recipe, folder: Path, spec: EngineSpec, shared: Path) -> Artefact:
    return Artefact(folder, spec, recipe.weights, recipe.family.loader, recipe.lanes, shared)


def _meta(recipe: Recipe, config: dict[str, Any]) -> dict[str, Any]:
    """The machine part of the card: what a task needs to know, as plain JSON."""
    card: dict[str, Any] = {}
    if recipe.card.exists():
        try:
            card = json.loads(recipe.card.read_text())
        except ValueError as error:
            raise EngineError(f"the model's card is no JSON: {error}", where=str(recipe.card)) from None
    return {
        "family": recipe.family.name,
        "task": recipe.family.task,
        "labels": list(config.get("labels", ())),
        "config": config,
        **{task: card.get(task, {}) for task in _RULED},
        "low_precision_parts": list(recipe.family.low_precision_parts),
    }


def main(arguments: list[str]) -> int:
    folder, digest, recipe_json = arguments
    return speak(lambda say: build(Recipe.from_json(recipe_json), digest, Path(folder), say))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
