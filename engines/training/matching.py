"""Who answers for which object: a track row keeps its own, object rows share out the rest, one row an object.

The Hungarian costs are DETR's (class 2, L1 5, GIoU 2) with a focal class cost, computed for the whole batch at once
where the model lives; the solver alone runs lane by lane, on the CPU. The last layer's match serves all layers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from engines.models.boxes import cxcywh_to_xyxy, iou_and_giou

CLASS_COST, L1_COST, GIOU_COST = 2.0, 5.0, 2.0
UNMATCHED = -1


@torch.no_grad()
def pair_costs(logits: Tensor, boxes: Tensor, true_boxes: Tensor, true_labels: Tensor) -> NDArray[np.float32]:
    """What it would cost each row to answer for each object.

    logits (B,Q,C), boxes (B,Q,4), true_boxes (B,G,4) cxcywh, true_labels i64 (B,G) (any value below 0 = none there) to
    f32 (B,Q,G); columns of empty places are meaningless.
    """
    index = true_labels.clamp(min=0).unsqueeze(1).expand(-1, logits.shape[1], -1)  # (B, Q, G)
    p = logits.float().sigmoid().clamp(1e-6, 1 - 1e-6)
    focal = -0.25 * (1 - p).square() * p.log() + 0.75 * p.square() * (1 - p).log()
    mine, theirs = boxes.float().unsqueeze(2), true_boxes.unsqueeze(1)
    distance = (mine - theirs).abs().sum(-1)
    giou = iou_and_giou(cxcywh_to_xyxy(mine), cxcywh_to_xyxy(theirs))[1]
    costs: NDArray[np.float32] = (
        (CLASS_COST * focal.gather(2, index) + L1_COST * distance - GIOU_COST * giou)
        .nan_to_num(1e4)
        .cpu()
        .numpy()
    )
    return costs


def match_rows(
    costs: NDArray[np.float32], slot_ids: NDArray[np.int64], true_ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Which place each row answers for: i64 (B, K+Q), UNMATCHED where it should say "nothing".

    costs f32 (B,Q,G) of the object rows; slot_ids i64 (B,K): identity a track slot follows (below 0: none);
    true_ids i64 (B,G): identity at each place (below 0: nobody).
    """
    same = (slot_ids[:, :, None] == true_ids[:, None, :]) & (true_ids[:, None, :] >= 0)  # (B, K, G)
    track_rows = np.where(same.any(axis=2), same.argmax(axis=2), UNMATCHED)
    untracked = (true_ids >= 0) & ~same.any(axis=1)  # (B, G)
    object_rows = np.full(costs.shape[:2], UNMATCHED, np.int64)
    for lane in range(len(costs)):
        places = np.flatnonzero(untracked[lane])
        if len(places):
            rows, columns = linear_sum_assignment(costs[lane][:, places])
            object_rows[lane, rows] = places[columns]
    return np.concatenate((track_rows, object_rows), axis=1)
