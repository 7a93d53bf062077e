"""A torch street model as the callable that evaluation wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from engines.evaluation.split import Infer
from engines.models.street_family import Street


def torch_infer(model: Street) -> Infer:
    """The model's forward pass on named arrays, in float32 and without gradient."""

    def infer(inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        with torch.inference_mode():
            answers = model(*(torch.from_numpy(inputs[name]) for name in model.input_names))
        return {name: tensor.numpy() for name, tensor in zip(model.output_names, answers, strict=True)}

    return infer
