"""Which precision lives in the graph, and which is the backend's own affair.

TensorRT's networks are strongly typed: a graph runs in the types it says, so f16 and bf16 are casts made before the
export, around the parts that the family names. OpenVINO is told a precision and decides itself where it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engines.backends import registry
from engines.build.recipe import Family, Recipe
from streamer.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor, nn

EXACT = "f32"


def resolve_for(family: Family, backend: str, asked: str) -> str:
    """The precision to build. `auto` is the backend's best here, f32 where 16 bits would need parts and none is named.

    Raises EngineError, one line, for a precision that backend or family has not.
    """
    found = registry.resolve_precision(backend, asked)
    if found == EXACT or not registry.is_typed(backend) or family.low_precision_parts:
        return found
    if asked == "auto":
        return EXACT
    raise EngineError(
        f"the {family.name} family names no parts that may run in {asked} on {backend}",
        mend="choose precision f32, or name them as low_precision_parts in engines/zoo.py",
    )


def as_served(recipe: Recipe, module: nn.Module, examples: Mapping[str, Tensor]) -> nn.Module:
    """The module whose export computes in the recipe's precision: itself, or a copy with parts of it in 16 bits.

    `examples` in the order of its forward. Raises EngineError if the family names a part that the module has not.
    """
    from engines.backends.casting import has_part, lowered

    if recipe.precision == EXACT or not registry.is_typed(recipe.backend):
        return module
    parts = recipe.family.low_precision_parts
    here = [name for name in parts if has_part(module, name)]  # a part may be optional, such as a mask head
    if not here:
        raise EngineError(f"{recipe.name} has none of the parts {', '.join(parts)} that may run in 16 bits")
    return lowered(module, here, recipe.precision, tuple(examples.values()))
