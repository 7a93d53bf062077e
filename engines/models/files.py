"""Weight files: safetensors whose metadata holds the family's mark and the config, so that a file says what it is.

Format: https://huggingface.co/docs/safetensors. Floating tensors only: counters
(batch norm's steps) keep their default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from streamer.errors import EngineError

M = TypeVar("M", bound=nn.Module)


def save_weights(
    module: nn.Module,
    path: Path,
    *,
    format: str,
    config: Any,
    notes: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes the floating tensors of `module` as `dtype`, with `format`, `config` (a dataclass) and `notes`.

    The file appears whole or not at all.
    """
    tensors = {
        name: t.detach()
        .cpu()
        .to(dtype)
        .contiguous()
        .clone()  # a clone: shared tensors may not share memory in the file
        for name, t in module.state_dict().items()
        if t.is_floating_point()
    }
    metadata = {**(notes or {}), "format": format, "config": json.dumps(asdict(config))}
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata=metadata)
    part.replace(path)


def load_weights(
    path: Path | str, *, format: str, make: Callable[[Mapping[str, Any]], M], mend: str = ""
) -> M:
    """The module of a file that `save_weights` wrote, float32, in eval mode; `make` builds it from the config's fields.

    Raises EngineError, one line, if the file is missing, is of another format, or lacks, adds or reshapes a tensor.
    """
    where = str(path)
    try:
        with safe_open(where, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise EngineError("the weights file does not exist", where=where, mend=mend) from None
    except (SafetensorError, OSError) as error:
        raise EngineError(f"the weights file cannot be read: {error}", where=where, mend=mend) from None
    if metadata.get("format") != format:
        raise EngineError(
            f"format {metadata.get('format', 'none')!r} is not {format!r}", where=where, mend=mend
        )
    module = make(json.loads(metadata["config"]))
    if wrong := fill(module, tensors):
        raise EngineError(wrong, where=where, mend=mend)
    return module.eval()


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Loads `tensors` into the module if they fit exactly; else loads nothing and says in one line what does not."""
    wanted = {name: t for name, t in module.state_dict().items() if t.is_floating_point()}
    wrong = differences(wanted, tensors)
    if not wrong:
        module.load_state_dict(dict(tensors), strict=False)  # only counters stay at their default
    return wrong


def differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """One line that names the first few missing, left-over and wrongly shaped tensors; empty if all fit."""
    missing = sorted(wanted.keys() - found.keys())
    left_over = sorted(found.keys() - wanted.keys())
    reshaped = [
        f"{name} {tuple(found[name].shape)} for {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name].shape != found[name].shape
    ]
    told = (("missing", missing), ("left over", left_over), ("wrong shape", reshaped))
    return "; ".join(
        f"{len(names)} {what}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        for what, names in told
        if names
    )
