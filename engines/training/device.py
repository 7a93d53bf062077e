"""Where a run computes: the CPU, or a GPU that torch sees; how numbers get there, and how fast it may multiply.

Whatever a run draws at random it draws on the CPU, and the Hungarian solver runs there; pictures, truth, model,
average and tracks live on the device.
"""

from __future__ import annotations

import contextlib
import re
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamer.errors import SightlineError

CPU = torch.device("cpu")


def device_for(asked: str) -> torch.device:
    """`auto` (the first GPU that torch sees, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises SightlineError for other words and for a GPU that torch does not see.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "cpu" or (asked == "auto" and not there):
        return CPU
    named = re.fullmatch(r"auto|cuda(?::(\d+))?", asked)
    if named is None:
        raise SightlineError(
            f"{asked!r} is no device", where="--device", mend="write auto, cpu, cuda or cuda:N"
        )
    number = int(named[1] or 0)
    if number >= there:
        raise SightlineError(
            f"torch sees {there} GPUs, there is no {asked}" if there else "torch sees no GPU",
            where="--device",
            mend=f"write cuda:{there - 1} or less" if there else "write cpu, or install a torch with CUDA",
        )
    return torch.device("cuda", number)


def allow_speed(device: torch.device) -> None:
    """On a GPU: TF32 for matrix products and convolutions in f32, and the fastest convolution that is found."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def device_of(model: nn.Module) -> torch.device:
    """Where a model lives."""
    return next(model.parameters()).device


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array's numbers on the device; to a GPU by pinned memory, without waiting. On the CPU memory is shared."""
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def on_cpu(tensor: Tensor) -> NDArray[Any]:
    """The tensor's numbers as an array; waits for the device."""
    array: NDArray[Any] = np.asarray(tensor.detach().cpu().numpy())
    return array


def autocast(device: torch.device, bfloat16: bool) -> contextlib.AbstractContextManager[object]:
    """Products in bfloat16 where it is wanted and the processor has it, by the rules of the device's type."""
    wanted = bfloat16 and (device.type != "cpu" or cpu_has_bfloat16())
    return torch.autocast(device.type, torch.bfloat16) if wanted else contextlib.nullcontext()


@cache
def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16; without that it is imitated, several times slower than float32."""
    return any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)


def saved(state: Any) -> Any:
    """A state's tensors on the CPU, so that a checkpoint of any device is read on any other."""
    if isinstance(state, Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {key: saved(value) for key, value in state.items()}
    if isinstance(state, list):
        return [saved(value) for value in state]
    return state
