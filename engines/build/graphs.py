"""A recipe's graphs on disk: the model whole or cut in two, in the recipe's precision and its backend's types."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from engines.backends import registry
from engines.build import export, inputs
from engines.build.cache import FOLLOW, LOOK
from engines.build.precision import as_served
from engines.build.recipe import Recipe
from engines.build.strong_types import prepare_types
from streamer.ports import TensorSpec


@dataclass(frozen=True, slots=True)
class Graph:
    """One exported graph: `folder`/model.onnx, and what it takes and gives (-1 for the batch)."""

    name: str
    folder: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def path(self) -> Path:
        return self.folder / "model.onnx"


def exported(recipe: Recipe, module: nn.Module, folder: Path, say: Callable[[str], None]) -> Iterator[Graph]:
    """Write the graphs one after the other, as they are asked for: the whole model, or `look` and `follow`.

    Raises EngineError if the family names parts in 16 bits that the model has not, and whatever the exporter raises.
    """
    family = recipe.family
    examples = export.examples(module, family)
    served = as_served(recipe, module, examples)

    def one(
        part: nn.Module, name: str, names_in: tuple[str, ...], names_out: tuple[str, ...], into: Path
    ) -> Graph:
        into.mkdir(exist_ok=True)
        say(f"exporting {name}")
        takes, gives, answer = export.export(part, names_in, names_out, examples, into / "model.onnx")
        examples.update(answer)  # for the graph behind it
        if registry.is_typed(recipe.backend):
            prepare_types(into / "model.onnx")
        return Graph(name, into, takes, gives)

    if not recipe.stages:
        yield one(
            served,
            recipe.name,
            inputs.input_names(module, family),
            inputs.output_names(module, family),
            folder,
        )
        return
    cut = importlib.import_module(recipe.stages)
    look, follow = cut.cut(served)
    names = _names(look, cut.LOOK_INPUTS, cut.LOOK_OUTPUTS)
    yield one(look, f"{recipe.name}/{LOOK}", *names, folder / LOOK)
    names = _names(follow, cut.FOLLOW_INPUTS, cut.FOLLOW_OUTPUTS)
    yield one(follow, f"{recipe.name}/{FOLLOW}", *names, folder / FOLLOW)


def _names(
    stage: nn.Module, takes: tuple[str, ...], gives: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a stage takes and gives: its own names where its variant has others than the module says."""
    return getattr(stage, "input_names", takes), getattr(stage, "output_names", gives)
