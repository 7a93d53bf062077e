"""A running average of a model's weights: smoother than the weights themselves, and what is shipped."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class WeightAverage(Generic[M]):
    """An exponential average of every floating tensor of a model; batch norm's statistics are averaged too.

    The average is young at first: after n updates at most n/(n + 10) of it is old.
    """

    def __init__(self, model: M, decay: float) -> None:
        self.model: M = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: M, step: int) -> None:
        """Moves the average towards the model after its update number `step`."""
        keep = min(self.decay, (1 + step) / (10 + step))
        mine = [t for t in self.model.state_dict().values() if t.is_floating_point()]
        theirs = [t for t in model.state_dict().values() if t.is_floating_point()]
        torch._foreach_lerp_(mine, theirs, 1 - keep)
