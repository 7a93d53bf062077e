"""Track queries as padded slots: K rows before the object queries, of which the empty ones are never looked at.

So streams with few and with many tracks share a batch, and answer exactly as they would alone: an empty slot's key has
the weight 0 in attention among queries, and its own answer is thrown away. Object rows are never empty, so no row is
without a key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from streamer.ports import Tensors


def empty_rows(track_valid: Tensor, object_queries: int) -> Tensor:
    """Which of K track rows and Q object rows are empty slots: f32 (B, K), 1 or 0, to bool (B, K + Q)."""
    return F.pad(1 - track_valid, (0, object_queries)) > 0.5


def example(batch: int, slots: int, dim: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noise tracks, some in each: track_hs (B, K, D), track_boxes (B, K, 4) cxcywh in 0..1, track_valid (B, K)."""
    centre = torch.rand(batch, slots, 2, generator=rng)
    size = 0.05 + 0.2 * torch.rand(batch, slots, 2, generator=rng)
    valid = (torch.arange(slots).unsqueeze(0) < (torch.arange(batch).unsqueeze(1) * 3 + 2) % slots).float()
    return torch.randn(batch, slots, dim, generator=rng), torch.cat((centre, size), dim=-1), valid


def content_example(batch: int, height: int, width: int, fit: str) -> Tensor:
    """Contents as pictures of several aspects would have: i32 (B, 2); the whole picture where nothing is padded."""
    whole = torch.tensor([height, width], dtype=torch.int32)
    if fit != "pad":
        return whole.repeat(batch, 1)
    shares = torch.tensor([[1.0, 0.75], [1.0, 1.0], [0.7, 1.0]])
    return torch.round(whole * shares[torch.arange(batch) % len(shares)]).to(torch.int32)


def _found(empty: Tensors, first: Tensors) -> dict[str, NDArray[Any]]:
    """The strongest rows of a first pass as the next frame's tracks, another number for each picture.

    `empty` gives the shapes: `track_valid` (B, K), and `track_boxes` if the model takes it.
    """
    slots = empty["track_valid"].shape[1]
    strongest = np.argsort(-first["pred_logits"].max(axis=2), axis=1)[:, :slots, None]  # (B, K, 1)
    held = strongest.shape[1]
    tracks = {"track_hs": "next_hs", "track_boxes": "pred_boxes"}
    made: dict[str, NDArray[Any]] = {}
    for name, source in tracks.items():
        if name in empty:
            made[name] = empty[name].copy()
            made[name][:, :held] = np.take_along_axis(first[source], strongest, axis=1)
    valid = np.zeros_like(empty["track_valid"])
    for b in range(len(valid)):
        valid[b, : min(held, (3 + 4 * b) % slots)] = 1
    return {**made, "track_valid": valid}


def natural_inputs(
    blank: Tensors, pictures: NDArray[np.uint8], reference: Callable[[Tensors], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The later of `pictures` (2, B, H, W, 3), with tracks and memory of a first pass over the earlier ones."""
    empty = {**{n: np.zeros_like(a) for n, a in blank.items()}, "content_hw": blank["content_hw"]}
    first = reference({**empty, "images": pictures[0]})
    found: dict[str, NDArray[Any]] = {**empty, "images": pictures[1], **_found(empty, first)}
    if "prev_memory" in blank:
        found["prev_memory"], found["prev_valid"] = first["next_memory"], np.ones_like(blank["prev_valid"])
    return found
