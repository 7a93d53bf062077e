"""A street model by torch as an engine, opened without a build."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from engines.evaluation.torch_engine import torch_infer
from engines.models.street import Street
from engines.models.street_family import example_inputs
from streamer.ports import EngineSpec, TensorSpec


class TorchStreet:
    """Implements `streamer.ports.Engine`; `meta` adds to what the spec says of the model."""

    def __init__(self, model: Street, **meta: Any) -> None:
        self.infer = torch_infer(model.eval())
        self.closed = 0
        inputs = tuple(
            TensorSpec(name, (-1, *tensor.shape[1:]), np.dtype(str(tensor.dtype).removeprefix("torch.")))
            for name, tensor in zip(model.input_names, example_inputs(1, model.config), strict=True)
        )
        self.spec = EngineSpec(
            name="street-nano", backend="torch", precision="f32", device="cpu", digest="0", inputs=inputs, outputs=(),
            max_batch_size=8, meta={"labels": model.config.labels, "config": dataclasses.asdict(model.config), **meta},
        )  # fmt: skip

    def close(self) -> None:
        self.closed += 1
