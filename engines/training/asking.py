"""All losses together: which heads a model has decides what it is asked."""

from __future__ import annotations

import torch
from torch import Tensor

from engines.models.street import Scene, Street
from engines.training import head_losses as heads
from engines.training import losses
from engines.training.clips import ClipBatch
from engines.training.device import on_device

WEIGHTS = losses.WEIGHTS | heads.WEIGHTS


def head_losses(
    model: Street, scene: Scene, hs: Tensor, boxes: Tensor, places: Tensor, batch: ClipBatch
) -> dict[str, Tensor]:
    """The losses of the heads `model` has, F = T*B frames: hs (F, N, D), boxes f32 and places i64 (F, N)."""
    asked: dict[str, Tensor] = {}
    if scene.semantic_logits is not None:
        asked |= heads.semantic_losses(
            scene.semantic_logits, on_device(batch.semantic, hs.device).flatten(0, 1)
        )
    if model.keypoints is None and model.actions is None:
        return asked
    labels = on_device(batch.labels, hs.device).flatten(0, 1)  # (F, G)
    known = model.config.labels
    person = known.index("person") if "person" in known else len(known)  # else no row is one
    is_person = labels.gather(1, places.clamp(min=0)) == person  # (F, N)
    order, place, there = losses.matched_first(torch.where(is_person, places, -1))  # (F, R)
    mine = hs.gather(1, order.unsqueeze(-1).expand(-1, -1, hs.shape[-1]))  # (F, R, D)
    my_boxes = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    if model.keypoints is not None:
        truth = on_device(batch.keypoints, hs.device).flatten(0, 1)  # (F, G, P, 3)
        truth = truth.gather(1, place[:, :, None, None].expand(-1, -1, *truth.shape[2:]))  # (F, R, P, 3)
        assert scene.key_features is not None
        asked |= heads.key_losses(
            scene.key_features, model.keypoints(mine), my_boxes, truth, there, model.config.key_grid_hw
        )
    if model.actions is not None:
        assert scene.tokens is not None
        feature = model.actions.features(mine, model.actions.region(scene.tokens, my_boxes), my_boxes)
        actions = on_device(batch.actions, hs.device).flatten(0, 1).gather(1, place)
        actions = torch.where(there > 0.5, actions, -1)
        asked |= heads.action_loss(model.actions.at_once(feature[..., :-4]), actions)
    return asked
