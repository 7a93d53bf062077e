"""What each idea of the street model is worth: the same weights, with one idea put out of action.

A knock-out is no ablation: nothing is trained anew without the idea, so it says what the finished model leans on, which
may be more than what the idea brings. It costs no training, and anybody can repeat it on the shipped weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engines.models.street import Street
from engines.models.street_parts import DecoderLayer
from streamer.errors import EngineError


def _track_queries(model: Street) -> None:
    """A track keeps its box and forgets its query: what would be left of following by place alone."""
    carry = model.carry.forward

    def forget(x: Tensor) -> Tensor:
        return torch.zeros_like(carry(x))

    model.carry.forward = forget  # type: ignore[method-assign]


def _vote(model: Street) -> None:
    """Queries no longer hear where the dense head sees the object."""
    for layer in _layers(model):
        _silence(layer.look.vote)


def _window(model: Street) -> None:
    """Attention over the whole picture, without the Gaussian window around the box: windows a hundred times as wide."""
    for layer in _layers(model):
        plain = layer.look.window.forward

        def wide(x: Tensor, plain: Callable[[Tensor], Tensor] = plain) -> Tensor:
            window = plain(x)
            size = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(window.shape[-1] // 4)
            return window * (1 - size) + 2.0 * size  # 2 is the widest that the layer lets through

        layer.look.window.forward = wide  # type: ignore[method-assign, assignment]


def _pair_bias(model: Street) -> None:
    """Rows attend to each other without seeing how their boxes lie."""
    for layer in _layers(model):
        _silence(layer.pair_bias.out)


def _global_context(model: Street) -> None:
    """The attention layer at stride 16 mixes nothing."""
    _silence(model.context.attend.out)


def _mask_places(model: Street) -> None:
    """Masks no longer know where their object is."""
    if model.mask_places is not None:
        _silence(model.mask_places.fall)


def _key_heat(model: Street) -> None:
    """Key points stay where the first guess puts them."""
    if model.keypoints is not None:
        _silence(model.keypoints.kernel)


def _motion(model: Street) -> None:
    """Actions are judged without how the box has moved."""
    if model.actions is not None:
        _silence(model.actions.motion)


def _region(model: Street) -> None:
    """Actions are judged by the query alone, without the picture under the box."""
    if model.actions is not None:
        plain = model.actions.region

        def nothing(tokens: Tensor, boxes_cxcywh: Tensor) -> Tensor:
            return torch.zeros_like(plain(tokens, boxes_cxcywh))

        model.actions.region = nothing  # type: ignore[method-assign]


def _clips(model: Street) -> None:
    """Actions are judged by one frame: rings are always empty."""
    if model.actions is not None:
        plain = model.actions.clip

        def alone(now: Tensor, ring: Tensor, age: Tensor, valid: Tensor, scene: bool) -> Tensor:
            return plain(now, ring, age, torch.zeros_like(valid), scene)

        model.actions.clip = alone  # type: ignore[method-assign]


def _layers(model: Street) -> list[DecoderLayer]:
    return [layer for layer in model.decoder if isinstance(layer, DecoderLayer)]


def _silence(layer: nn.Module | Tensor) -> None:
    """The layer answers nothing but zeros."""
    assert isinstance(layer, nn.Module)
    plain = layer.forward

    def zeros(*args: Any) -> Tensor:
        return torch.zeros_like(plain(*args))

    layer.forward = zeros


KNOCK_OUTS: Mapping[str, Callable[[Street], None]] = {
    "track-queries": _track_queries,
    "vote": _vote,
    "window": _window,
    "pair-bias": _pair_bias,
    "global-context": _global_context,
    "mask-places": _mask_places,
    "key-heat": _key_heat,
    "motion": _motion,
    "region": _region,
    "clips": _clips,
}


def knock_out(model: nn.Module | None, idea: str) -> None:
    """Puts one of KNOCK_OUTS out of action, in place. Raises EngineError for another name or another family's model."""
    if idea not in KNOCK_OUTS:
        raise EngineError(
            f"there is no idea {idea!r} to leave out",
            where="--without",
            mend=f"use one of {', '.join(KNOCK_OUTS)}",
        )
    if not isinstance(model, Street):
        raise EngineError("only street models have ideas to leave out", where="--without")
    KNOCK_OUTS[idea](model)
