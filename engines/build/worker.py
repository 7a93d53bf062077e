"""The child that builds one engine: `python -m engines.build.worker FOLDER DIGEST RECIPE_JSON`.

It speaks JSON lines on what was its standard output: `{"stage"}` before each step, `{"error", "where", "mend", "kind"}`
at the end of a build that failed. All else that libraries print goes to standard error, the build's log.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from engines.backends import registry
from engines.backends.registry import Artefact
from engines.build.cache import FOLLOW, LOOK, PARITY_FILE, load, write_engine_file
from engines.build.recipe import Recipe
from streamer.errors import EngineError, SightlineError
from streamer.ports import EngineSpec


def build(recipe: Recipe, digest: str, folder: Path, say: Callable[[str], None]) -> None:
    """Fill `folder` with the engine: graph, compiled blobs, parity report, and engine.json last.

    Raises EngineError or ParityError.
    """
    from engines.backends import torch as reference_backend  # torch comes in here, and only in this process
    from engines.build import export, inputs, judging

    backend = registry.backend(recipe.backend)
    say("loading the weights")
    module = reference_backend.load_module(recipe.family.loader, recipe.weights)
    for note in getattr(module, "notes", ()):
        say(note)
    config = getattr(module, "config", None)
    meta = _meta(recipe, dataclasses.asdict(config) if config is not None else {})
    outputs = inputs.output_names(module, recipe.family)
    examples = export.examples(module, recipe.family)

    def compiled(
        part: Any, name: str, names_in: Sequence[str], names_out: Sequence[str], into: Path
    ) -> EngineSpec:
        """Export and compile one graph into `into`, its answer joining the examples for the graph behind it."""
        into.mkdir(exist_ok=True)
        say(f"exporting {name}")
        takes, gives, answer = export.export(part, names_in, names_out, examples, into / "model.onnx")
        examples.update(answer)
        spec = EngineSpec(
            name=name,
            backend=recipe.backend,
            precision=recipe.precision,
            device=backend.device(),
            digest=digest,
            inputs=takes,
            outputs=gives,
            max_batch_size=min(
                recipe.max_batch_size, getattr(module, "max_batch_size", recipe.max_batch_size)
            ),
            meta=meta,
        )
        say(f"compiling {name} for {recipe.backend} {recipe.precision}")
        backend.prepare(Artefact(into, spec, recipe.weights, recipe.family.loader, recipe.lanes))
        write_engine_file(into, spec)
        return spec

    if recipe.stages:
        cut = importlib.import_module(recipe.stages)
        look, follow = cut.cut(module)
        spec = compiled(look, f"{recipe.name}/{LOOK}", cut.LOOK_INPUTS, cut.LOOK_OUTPUTS, folder / LOOK)
        compiled(follow, f"{recipe.name}/{FOLLOW}", cut.FOLLOW_INPUTS, cut.FOLLOW_OUTPUTS, folder / FOLLOW)
        spec = dataclasses.replace(spec, name=recipe.name)
    else:
        spec = compiled(module, recipe.name, inputs.input_names(module, recipe.family), outputs, folder)
    engine = load(Artefact(folder, spec, recipe.weights, recipe.family.loader, recipe.lanes))
    spec = engine.spec
    say("comparing with the reference")
    comparisons = list(judging.compared(recipe, module, engine))
    engine.close()
    report = judging.gate_of(recipe.family).gate(
        comparisons, recipe.precision, f"{recipe.name} on {recipe.backend}"
    )
    (folder / PARITY_FILE).write_text(json.dumps(report, indent=1))
    write_engine_file(folder, spec)


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
        **{task: card.get(task, {}) for task in ("track", "detect", "panoptic")},  # rules, by task
    }


def _own_the_output() -> TextIO:
    """Keep standard output for messages; whatever prints from now on prints to standard error."""
    messages = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return messages


def _end_with_parent() -> None:
    """Leave when the asking process closes our standard input or dies."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main(arguments: list[str]) -> int:
    messages = _own_the_output()
    _end_with_parent()
    folder, digest, recipe_json = arguments

    def say(stage: str) -> None:
        print(json.dumps({"stage": stage}), file=messages, flush=True)

    def fail(kind: str, error: str, where: str = "", mend: str = "") -> int:
        print(
            json.dumps({"kind": kind, "error": error, "where": where, "mend": mend}),
            file=messages,
            flush=True,
        )
        return 1

    try:
        build(Recipe.from_json(recipe_json), digest, Path(folder), say)
    except SightlineError as error:
        return fail(type(error).__name__, error.what, error.where, error.mend)
    except Exception as error:
        import traceback

        traceback.print_exc()  # to the log
        return fail("EngineError", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
