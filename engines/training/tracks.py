"""From one frame's answers to the next frame's track queries, as training wants them: true, dropped, lost and false.

A track that answers for its object moves on with its new state and box. One whose object is hidden waits with the
state and box it came with, as in serving. Some tracks are dropped, so that object queries must find their objects
again, and some rows that answer for nothing are passed on as false tracks, so that the model learns to end a track.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.training.device import CPU, on_device

FALSE_TRACK = -2  # the identity of a track that follows nothing
EMPTY_SLOT = -1
PATIENCE_FRAMES = 10  # how long a lost track waits; the serving default


class TrackSlots(NamedTuple):
    """Track state of B lanes: `hs` (B,K,D), `boxes` (B,K,4) cxcywh, `ids` i64 (B,K), `lost` frames unseen i64 (B,K)."""

    hs: Tensor
    boxes: Tensor
    ids: NDArray[np.int64]
    lost: NDArray[np.int64]

    @property
    def valid(self) -> Tensor:
        """f32 (B, K): 1 where the slot holds a track, true or false."""
        return on_device((self.ids != EMPTY_SLOT).astype(np.float32), self.hs.device)


def empty_slots(lanes: int, slots: int, dim: int, device: torch.device = CPU) -> TrackSlots:
    """No track anywhere."""
    return TrackSlots(
        torch.zeros(lanes, slots, dim, device=device),
        torch.zeros(lanes, slots, 4, device=device),
        np.full((lanes, slots), EMPTY_SLOT, np.int64),
        np.zeros((lanes, slots), np.int64),
    )


def cleared(slots: TrackSlots, lanes: NDArray[np.bool_]) -> TrackSlots:
    """The same slots with those of the named lanes emptied; states are cut from the graph that made them."""
    ids = slots.ids.copy()
    ids[lanes] = EMPTY_SLOT
    return TrackSlots(slots.hs.detach(), slots.boxes.detach(), ids, slots.lost)


def jittered(boxes: Tensor, sigma_max: float, rng: np.random.Generator) -> Tensor:
    """Boxes (B, K, 4) moved and resized by normal noise of up to `sigma_max` of their size; sigma differs by track.

    Wide noise matters: a model that has only seen small errors cannot recover from a large one, and tracks drift off.
    """
    b, k, _ = boxes.shape
    sigma = rng.uniform(0, sigma_max, (b, k, 1))
    move = on_device((rng.normal(size=(b, k, 2)) * sigma).astype(np.float32), boxes.device)
    grow = on_device((rng.normal(size=(b, k, 2)) * sigma * 0.7).astype(np.float32), boxes.device)
    return torch.cat((boxes[..., :2] + move * boxes[..., 2:], boxes[..., 2:] * grow.exp()), dim=-1)


def next_slots(
    before: TrackSlots,
    row_places: NDArray[np.int64],
    true_ids: NDArray[np.int64],
    next_hs: Tensor,
    boxes: Tensor,
    scores: NDArray[np.float32],
    drop: float,
    false: float,
    rng: np.random.Generator,
) -> TrackSlots:
    """The slots of the next frame.

    row_places i64 (B,N) from `match_rows`; true_ids i64 (B,G); next_hs (B,N,D); boxes (B,N,4) detached; scores f32
    (B,N) best class score of each row; `drop` chance to lose a true track, `false` chance, for each true track, to
    add a false one. Gradient flows through `next_hs`, not through `boxes`.
    """
    lanes, slots = before.ids.shape
    n = row_places.shape[1]
    source = np.zeros((lanes, slots), np.int64)  # a row 0..N-1 moves on; N+k: slot k stays as it came
    ids = np.full((lanes, slots), EMPTY_SLOT, np.int64)
    lost = np.zeros((lanes, slots), np.int64)
    for lane in range(lanes):
        matched = np.flatnonzero(row_places[lane] >= 0)
        kept = matched[rng.random(len(matched)) >= drop]
        waiting = np.flatnonzero(
            (before.ids[lane] >= 0) & (row_places[lane, :slots] < 0) & (before.lost[lane] < PATIENCE_FRAMES)
        )
        idle = slots + np.flatnonzero(row_places[lane, slots:] < 0)  # object rows that answer for nothing
        wanted = min(int((rng.random(len(kept) + 1) < false).sum()), len(idle))
        tempting = np.argsort(-(scores[lane, idle] * rng.random(len(idle))))[:wanted]
        rows = np.concatenate((kept, n + waiting, idle[tempting]))[:slots]
        names = np.concatenate(
            (true_ids[lane, row_places[lane, kept]], before.ids[lane, waiting], np.full(wanted, FALSE_TRACK))
        )[:slots]
        waits = np.concatenate((np.zeros(len(kept)), before.lost[lane, waiting] + 1, np.zeros(wanted)))[
            :slots
        ]
        places = rng.permutation(slots)[: len(rows)]  # no meaning may grow from a slot's number
        source[lane, places], ids[lane, places], lost[lane, places] = rows, names, waits
    index = on_device(source, next_hs.device).unsqueeze(-1)
    all_hs = torch.cat((next_hs.float(), before.hs), dim=1)  # (B, N+K, D)
    all_boxes = torch.cat((boxes, before.boxes), dim=1)
    return TrackSlots(
        all_hs.gather(1, index.expand(-1, -1, all_hs.shape[-1])),
        all_boxes.gather(1, index.expand(-1, -1, 4)),
        ids,
        lost,
    )
