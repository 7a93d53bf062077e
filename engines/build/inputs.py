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
    return {name: t.numpy() for name, t in zip(kind.INPUT_NAMES, tensors, strict=True)}


def street_pictures(count: int, height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """(2, count, H, W, 3): a picture of each of `count` streets, and the same streets a little later."""
    worlds = [World(WorldConfig(seed=seed + i, height=height, width=width)) for i in range(count)]
    early = np.stack([world.step()[0] for world in worlds])
    for world in worlds:
        for _ in range(LOOK_FRAMES - 1):
            world.step()
    return np.stack([early, np.stack([world.step()[0] for world in worlds])])


def natural(blank: Tensors, pictures: NDArray[np.uint8], reference: Reference) -> dict[str, NDArray[Any]]:
    """The later pictures with tracks that the reference found in the earlier ones, as many as would fit a street.

    `blank` gives the shapes; its contents are not used. `pictures` is (2, B, H, W, 3).
    """
    empty = {name: np.zeros_like(array) for name, array in blank.items()}
    first = reference({**empty, "images": pictures[0]})
    slots = empty["track_valid"].shape[1]
    strongest = np.argsort(-first["pred_logits"].max(axis=2), axis=1)[:, :, None]  # (B, N, 1)
    strongest = strongest[:, :slots]
    valid = np.zeros_like(empty["track_valid"])
    for b in range(len(valid)):
        valid[b, : (3 + 4 * b) % slots] = 1
    return {
        "images": pictures[1],
        "track_hs": np.take_along_axis(first["next_hs"], strongest, axis=1),
        "track_boxes": np.take_along_axis(first["pred_boxes"], strongest, axis=1),
        "track_valid": valid,
    }
