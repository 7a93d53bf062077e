"""What an engine is compared on: noise, and pictures of the world with tracks that the reference found in them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.build.recipe import Family
from streamer.ports import Tensors
from streamer.world import World, WorldConfig

Reference = Callable[[Tensors], dict[str, NDArray[Any]]]

LOOK_FRAMES = (
    20  # between the picture in which tracks are found and the one compared on: time enough to have moved
)


def noise(module: nn.Module, family: Family, batch: int, seed: int) -> dict[str, NDArray[Any]]:
    """The family's own example inputs, of another seed than the export's."""
    kind = importlib.import_module(family.module)
    tensors: tuple[torch.Tensor, ...] = kind.example_inputs(batch, getattr(module, "config", None), seed)
    return {name: t.numpy() for name, t in zip(input_names(module, family), tensors, strict=True)}


def input_names(module: nn.Module, family: Family) -> tuple[str, ...]:
    """What the whole graph takes, in the order of `forward`: the module's own names, or its family's."""
    return tuple(getattr(module, "input_names", None) or importlib.import_module(family.module).INPUT_NAMES)


def output_names(module: nn.Module, family: Family) -> tuple[str, ...]:
    """What the whole graph gives, in order, likewise."""
    return tuple(getattr(module, "output_names", None) or importlib.import_module(family.module).OUTPUT_NAMES)


def street_pictures(count: int, height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """(2, count, H, W, 3): a picture of each of `count` streets, and the same streets a little later."""
    worlds = [World(WorldConfig(seed=seed + i, height=height, width=width)) for i in range(count)]
    early = np.stack([world.step()[0] for world in worlds])
    for world in worlds:
        for _ in range(LOOK_FRAMES - 1):
            world.step()
    return np.stack([early, np.stack([world.step()[0] for world in worlds])])


def natural(
    family: Family, blank: Tensors, pictures: NDArray[np.uint8], reference: Reference
) -> dict[str, NDArray[Any]]:
    """Inputs as they come in service: pictures of streets, (2, B, H, W, 3), and what the family makes of them.

    A family without `natural_inputs` gets the later pictures beside its example inputs.
    """
    kind = importlib.import_module(family.module)
    if hasattr(kind, "natural_inputs"):
        found: dict[str, NDArray[Any]] = kind.natural_inputs(blank, pictures, reference)
        return found
    return {**blank, "images": pictures[1]} if "images" in blank else dict(blank)
