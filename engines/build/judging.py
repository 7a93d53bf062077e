"""An engine beside its reference, on the same inputs: noise, and pictures of streets, at batches never traced."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from typing import Any, Protocol, cast

from torch import nn

from engines.backends.torch import TorchEngine
from engines.build import inputs
from engines.build.recipe import NOISE, Family, Recipe
from streamer.ports import Engine

BATCHES = (1, 3, 8)  # compared, as far as max_batch_size reaches
STREETS = "streets"


class Comparison(Protocol):
    """One batch's differences, as a gate counts them."""

    @property
    def batch(self) -> int: ...

    @property
    def kind(self) -> str: ...

    def over(self, limits: Any) -> list[str]:
        """What is over its limit, in words."""
        ...

    def worst(self, limits: Any) -> tuple[str, float, float]:
        """The measure nearest to its limit or furthest over it: name, value, limit."""
        ...


class Gate(Protocol):
    """A gate is a module with these."""

    LIMITS: Any

    def compare(self, reference: Any, answer: Any, inputs: Any, kind: str, precision: str) -> Comparison: ...

    def gate(self, comparisons: Any, precision: str, where: str) -> dict[str, object]: ...


def gate_of(family: Family) -> Gate:
    """The family's gate."""
    return cast(Gate, importlib.import_module(family.gate))


def compared(recipe: Recipe, module: nn.Module, engine: Engine) -> Iterator[Comparison]:
    """Engine against module at each batch, on each kind of input. The module is in eval mode, float32."""
    gate, family, spec = gate_of(recipe.family), recipe.family, engine.spec
    order = inputs.output_names(module, family)
    in_order = tuple(sorted(spec.outputs, key=lambda t: order.index(t.name)))
    judge = TorchEngine(dataclasses.replace(spec, outputs=in_order, max_batch_size=max(BATCHES)), module)
    batches = sorted({min(b, spec.max_batch_size) for b in BATCHES})
    pictures = None
    if any(t.name == "images" for t in spec.inputs):
        pictures = inputs.street_pictures(batches[-1], *spec.input_hw, seed=7_000)
    for batch in batches:
        cases = {NOISE: inputs.noise(module, family, batch, seed=batch)}
        if pictures is not None:
            cases[STREETS] = inputs.natural(family, cases[NOISE], pictures[:, :batch], judge.infer)
        for what, case in cases.items():
            yield gate.compare(judge.infer(case), engine.infer(case), case, what, recipe.precision)
