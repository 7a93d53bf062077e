"""A checkpoint file to named tensors. `torch.load` only with `weights_only=True`: a file may not bring code along."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from streamer.errors import EngineError

# Where authors keep the weights in what they save: DETR and TrackFormer, SlowFast, mmseg and most others.
PLACES = ("model", "model_state", "state_dict", "model_ema")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The floating tensors of a checkpoint by the authors' names, float32 on the CPU; `module.` in front is cut off.

    Raises EngineError, one line, if the file is missing, cannot be read, wants to run code, or holds no tensors.
    """
    where = str(path)
    if not path.is_file():
        raise EngineError("the checkpoint does not exist", where=where)
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise EngineError(
            "the checkpoint holds more than tensors, and loading it could run code that came with it",
            where=where,
            mend="save its state_dict alone, on the machine where you trust it: "
            "torch.save(torch.load(FILE, weights_only=False)['model'], NEW)",
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise EngineError(
            f"the checkpoint cannot be read: {(str(error).splitlines() or [''])[0][:200]}", where=where
        ) from None
    if isinstance(found, Mapping):
        for place in PLACES:
            if isinstance(found.get(place), Mapping):
                found = found[place]
                break
    tensors = {
        str(name).removeprefix("module."): tensor.float()
        for name, tensor in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(tensor, Tensor) and tensor.is_floating_point()
    }
    if not tensors:
        raise EngineError(
            f"no tensors in it (looked at the top and under {', '.join(PLACES)})",
            where=where,
            mend="give a file that holds a state_dict",
        )
    return tensors
