"""The street model as a family: its files, and inputs of the right shapes to export and to compare it with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.models.files import load_weights, save_weights
from engines.models.street import FORMAT, INPUT_NAMES, OUTPUT_NAMES, RING_NAMES, Street
from engines.models.street_heads import LONGEST_AGE
from engines.models.street_parts import StreetConfig
from streamer.ports import Tensors

__all__ = [
    "FORMAT",
    "INPUT_NAMES",
    "OUTPUT_NAMES",
    "Street",
    "StreetConfig",
    "example_inputs",
    "load_street",
    "natural_inputs",
    "save_street",
]


def example_inputs(batch: int, config: StreetConfig | None = None, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of the right shapes for `batch` pictures: noise, some tracks valid in each, some with a past."""
    config = config or StreetConfig()
    rng = torch.Generator().manual_seed(seed)
    slots = config.track_slots
    images = torch.randint(0, 256, (batch, config.height, config.width, 3), dtype=torch.uint8, generator=rng)
    track_hs = torch.randn(batch, slots, config.hidden_dim, generator=rng)
    centre = torch.rand(batch, slots, 2, generator=rng)
    size = 0.05 + 0.2 * torch.rand(batch, slots, 2, generator=rng)
    valid = (torch.arange(slots).unsqueeze(0) < (torch.arange(batch).unsqueeze(1) * 3 + 2) % slots).float()
    inputs = (images, track_hs, torch.cat((centre, size), dim=-1), valid)
    if not config.action_labels:
        return inputs
    earlier = config.clip_frames - 1
    content = torch.randn(batch, 1 + slots, earlier, config.feature_dim - 4, generator=rng)
    boxes = torch.cat((centre, size), dim=-1)[:, :, None].expand(-1, -1, earlier, -1)  # (B, K, T-1, 4)
    whole = torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(batch, 1, earlier, 4)
    known = torch.randint(0, earlier + 1, (batch, 1 + slots, 1), generator=rng)
    there = (torch.arange(earlier) >= earlier - known).float()  # (B, 1 + K, T-1), empties first
    step = torch.randint(1, 4, (batch, 1 + slots, earlier), generator=rng)
    age = step.flip(-1).cumsum(-1).flip(-1).clamp(max=LONGEST_AGE + 4)
    ring = torch.cat((content, torch.cat((whole, boxes), dim=1)), dim=-1) * there.unsqueeze(-1)
    return (*inputs, ring, age, there)


def save_street(model: Street, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Writes the weights as float16 safetensors with the config in the file's metadata; `notes` go there too.

    Half precision halves the file; everything is computed in the precision the loader's caller chooses.
    """
    save_weights(model, path, format=FORMAT, config=model.config, notes=notes, dtype=torch.float16)


def load_street(path: Path | str, without: str = "") -> Street:
    """The model of a file that `save_street` wrote, float32, in eval mode.

    `without`: fields of the config, between commas, whose heads are left out, such as "masks,action_labels".
    Raises EngineError, one line, if the file is missing, is no street model, or lacks, adds or reshapes a tensor.
    """
    mend = "train one with `sightline train street`, or take the file shipped with this version"
    whole = load_weights(
        path, format=FORMAT, make=lambda fields: Street(StreetConfig.from_dict(fields)), mend=mend
    )
    if not without:
        return whole
    nothing: dict[str, Any] = {name: False if name == "masks" else () for name in without.split(",")}
    if "masks" in nothing:
        nothing["mask_places"] = False
    part = Street(dataclasses.replace(whole.config, **nothing))
    tensors = whole.state_dict()
    part.load_state_dict({name: tensors[name] for name in part.state_dict()})
    return part.eval()


def natural_inputs(
    blank: Tensors, pictures: NDArray[np.uint8], reference: Callable[[Tensors], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The later of `pictures` (2, B, H, W, 3) with tracks that `reference` found in the earlier ones.

    As many as would fit a street, another number in each row. `blank` gives the shapes.
    """
    empty = {name: np.zeros_like(array) for name, array in blank.items()}
    first = reference({**empty, "images": pictures[0]})
    slots = empty["track_valid"].shape[1]
    strongest = np.argsort(-first["pred_logits"].max(axis=2), axis=1)[:, :, None]  # (B, N, 1)
    strongest = strongest[:, :slots]
    valid = np.zeros_like(empty["track_valid"])
    for b in range(len(valid)):
        valid[b, : (3 + 4 * b) % slots] = 1
    given = {
        "images": pictures[1],
        "track_hs": np.take_along_axis(first["next_hs"], strongest, axis=1),
        "track_boxes": np.take_along_axis(first["pred_boxes"], strongest, axis=1),
        "track_valid": valid,
    }
    if "ring" not in blank:
        return given
    ring, age, there = (empty[name].copy() for name in RING_NAMES)
    past = np.take_along_axis(first["object_feature"], strongest, axis=1)  # (B, K, F)
    ring[:, 0, -1], ring[:, 1:, -1] = first["clip_feature"], past
    age[:], there[:, :, -1] = 20, 1
    return given | {"ring": ring, "ring_age": age, "ring_valid": there}
