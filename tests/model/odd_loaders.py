"""Loaders that go wrong on purpose, for the tests of the build: each is a family of its own to the builder."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.models.street_family import (
    INPUT_NAMES,
    OUTPUT_NAMES,
    Street,
    example_inputs,
    load_street,
    natural_inputs,
)

__all__ = ["INPUT_NAMES", "OUTPUT_NAMES", "crash", "example_inputs", "hang", "miscompiled", "natural_inputs"]


class Miscompiled(nn.Module):
    """Exports a graph whose numbers are a little off, as a compiler's mistake would be."""

    def __init__(self, street: Street) -> None:
        super().__init__()
        self.config = street.config
        self.street = street

    def forward(
        self, images: Tensor, track_hs: Tensor, track_boxes: Tensor, track_valid: Tensor
    ) -> tuple[Tensor, ...]:
        if torch.onnx.is_in_onnx_export():
            for name, weight in self.street.decoder[0].named_parameters():
                if name.startswith("feed."):
                    weight.mul_(1.05)
        return tuple(self.street(images, track_hs, track_boxes, track_valid))


def miscompiled(path: Path) -> nn.Module:
    return Miscompiled(load_street(path))


def crash(path: Path) -> nn.Module:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("still here")


def hang(path: Path) -> nn.Module:
    path.with_name("builder.pid").write_text(str(os.getpid()))
    threading.Event().wait()
    raise AssertionError("still here")
