"""What a finished trunk says about people over time: the data that the temporal encoder is taught on.

Worlds are run through the model as in service, but each track is held to its person by the truth, so every frame's
features come with the action that was true in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.models.boxes import cxcywh_to_xyxy, iou_and_giou
from engines.models.street import Street
from engines.training.clips import EMPTY, PERSON, ClipPlan, Lane, empty_batch
from engines.training.device import autocast, device_of, on_cpu, on_device
from engines.training.matching import UNMATCHED, match_rows, pair_costs
from engines.training.tracks import EMPTY_SLOT, TrackSlots, empty_slots, next_slots


@dataclass(frozen=True, slots=True)
class Recorded:
    """Frames of people, and of scenes, each in order of time within its track or stream.

    All on the CPU. Of M person-frames: `hs` f16 (M, D), `region` f16 (M, 3 * D), `boxes` f32 (M, 4) cxcywh, `actions`
    i64 (M,), `times` f32 (M,) seconds, `tracks` i64 (M,). Of L pictures: `pooled` f16 (L, 2 * D), `doing` bool (L, A):
    some person does this; `scene_times` f32 (L,), `scenes` i64 (L,).
    """

    hs: Tensor
    region: Tensor
    boxes: Tensor
    actions: Tensor
    times: NDArray[np.float32]
    tracks: NDArray[np.int64]
    pooled: Tensor
    doing: Tensor
    scene_times: NDArray[np.float32]
    scenes: NDArray[np.int64]


def record(
    model: Street,
    plan: ClipPlan,
    *,
    rounds: int,
    length: int,
    bfloat16: bool,
    watch: Callable[[float], None] | None = None,
) -> Recorded:
    """Runs `rounds` sets of `plan.lanes` worlds for `length` frames each. `watch` is told the share done.

    The worlds are those that a run of `plan.seed` sees in visits that training does not reach.
    """
    cv2.setNumThreads(1)
    model = model.eval()
    device = device_of(model)
    assert model.actions is not None
    people: list[tuple[Tensor, ...]] = []
    scenes: list[tuple[Tensor, ...]] = []
    rng = np.random.default_rng((plan.seed, 7))
    for turn in range(rounds):
        lanes = [Lane(plan, lane, LATER_VISITS + turn) for lane in range(plan.lanes)]
        slots = empty_slots(plan.lanes, model.config.track_slots, model.config.hidden_dim, device)
        for step in range(length):
            batch = empty_batch(plan)
            for i, lane in enumerate(lanes):
                lane.show(batch, (0, i))
            with torch.inference_mode(), autocast(device, bfloat16):
                scene = model.look(on_device(batch.images[0], device))
                last = model.decode(scene, slots.hs, slots.boxes, slots.valid)[-1]
                boxes = torch.cat(
                    (last.boxes[..., :2].clamp(0, 1), last.boxes[..., 2:].clamp(1 / 512, 1)), dim=-1
                )
                k = model.config.track_slots
                truth, labels = on_device(batch.boxes[0], device), on_device(batch.labels[0], device)
                rows = match_rows(
                    pair_costs(last.logits[:, k:], last.boxes[:, k:], truth, labels), slots.ids, batch.ids[0]
                )
                assert scene.tokens is not None
                region = model.actions.region(scene.tokens, boxes)
                after = model.next_hs(last.hs)
            rows, slots = held_to_objects(rows, slots, boxes, truth)
            lane_of, row_of = np.nonzero(rows >= 0)
            place = rows[lane_of, row_of]
            told = (batch.labels[0][lane_of, place] == PERSON) & (batch.actions[0][lane_of, place] != EMPTY)
            lane_of, row_of, place = lane_of[told], row_of[told], place[told]
            now = np.array([lane.time_s for lane in lanes], np.float32)
            world = turn * plan.lanes + lane_of
            people.append(
                (
                    last.hs[lane_of, row_of].half().cpu(),
                    region[lane_of, row_of].half().cpu(),
                    boxes[lane_of, row_of].float().cpu(),
                    torch.from_numpy(batch.actions[0][lane_of, place]),
                    torch.from_numpy(now[lane_of]),
                    torch.from_numpy(world * IDS + batch.ids[0][lane_of, place]),
                )
            )
            pooled = torch.cat((scene.tokens.mean(1), scene.tokens.amax(1)), dim=-1).half().cpu()
            doing = torch.zeros(plan.lanes, len(model.config.action_labels), dtype=torch.bool)
            doing[lane_of, batch.actions[0][lane_of, place]] = True
            scenes.append(
                (pooled, doing, torch.from_numpy(now), torch.arange(plan.lanes) + turn * plan.lanes)
            )
            slots = next_slots(
                slots,
                rows,
                batch.ids[0],
                after,
                last.boxes,
                np.zeros(rows.shape, np.float32),  # no false tracks are drawn, so no row tempts
                0.0,
                0.0,
                rng,
            )
            if watch is not None:
                watch((turn + (step + 1) / length) / rounds)
    hs, region, boxes, actions, times, tracks = (torch.cat(parts) for parts in zip(*people, strict=True))
    pooled, doing, scene_times, scene_ids = (torch.cat(parts) for parts in zip(*scenes, strict=True))
    order = np.lexsort((times.numpy(), tracks.numpy()))
    by_scene = np.lexsort((scene_times.numpy(), scene_ids.numpy()))
    return Recorded(
        hs[order], region[order], boxes[order], actions[order], times.numpy()[order], tracks.numpy()[order],
        pooled[by_scene], doing[by_scene], scene_times.numpy()[by_scene], scene_ids.numpy()[by_scene],
    )  # fmt: skip


def held_to_objects(
    rows: NDArray[np.int64], slots: TrackSlots, boxes: Tensor, truth: Tensor
) -> tuple[NDArray[np.int64], TrackSlots]:
    """Rows i64 (B, N) and slots without those that lie on their object by less than HELD.

    The truth says who each track is, even of one that has strayed to nothing; in service such a track ends, and an
    object row finds the person anew. What a stray row says of an action is noise. Boxes f32 (B, N, 4) and (B, G, 4).
    """
    rows, ids = rows.copy(), slots.ids.copy()
    lane, row = np.nonzero(rows >= 0)
    mine, theirs = boxes[lane, row], truth[lane, rows[lane, row]]
    overlap = on_cpu(iou_and_giou(cxcywh_to_xyxy(mine.float()), cxcywh_to_xyxy(theirs))[0])
    lane, row = lane[overlap < HELD], row[overlap < HELD]
    rows[lane, row] = UNMATCHED
    tracks = row < ids.shape[1]
    ids[lane[tracks], row[tracks]] = EMPTY_SLOT
    return rows, slots._replace(ids=ids)


HELD = 0.5  # IoU
IDS = 1 << 20  # more than the people of one world
LATER_VISITS = 1 << 20
