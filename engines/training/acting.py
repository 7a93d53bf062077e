"""Teaching the temporal encoder: clips of recorded features, cut by time stamps as the served ring cuts them.

The trunk is finished and stays as it is; only the actions' head learns. A clip may be young (warm-up), its newest entry
is up to one stride old, and its frames come at whatever rate their camera had.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from engines.models.street import Street
from engines.models.street_heads import Actions
from engines.models.street_parts import StreetConfig
from engines.training.device import device_of, on_device
from engines.training.recording import Recorded

GAP_STRIDES = 6.0  # after a longer gap a ring starts anew
YOUNG = 0.25  # share of clips that are cut short
WHOLE = (0.5, 0.5, 1.0, 1.0)  # the scene's box


class Clips(NamedTuple):
    """Of R clips: `rows` i64 (R, T), entries of the recording, the clip's own frame last; `age` i64 and `valid` f32
    (R, T - 1), on the CPU."""

    rows: NDArray[np.int64]
    age: Tensor
    valid: Tensor


class Cutter:
    """Cuts clips from frames that stand in order of time, each track's together."""

    def __init__(self, config: StreetConfig, times: NDArray[np.float32], tracks: NDArray[np.int64]) -> None:
        self.earlier = config.clip_frames - 1
        self.stride_s, self.hz = config.clip_stride_s, config.clip_hz
        self.times = times
        starts = np.flatnonzero(np.diff(tracks, prepend=tracks[:1] - 1))
        self.start = np.repeat(starts, np.diff(np.append(starts, len(tracks))))  # each frame's track's first

    def cut(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Clips:
        """The clips that end in these frames."""
        n = len(rows)
        found = np.tile(rows[:, None], (1, self.earlier + 1))
        valid = np.zeros((n, self.earlier), np.float32)
        keep = np.where(rng.random(n) < YOUNG, rng.integers(0, self.earlier + 1, n), self.earlier)
        newest_s = rng.uniform(0, self.stride_s, n)
        for i, row in enumerate(rows.tolist()):
            first, last_s = int(self.start[row]), float(self.times[row])
            wanted_s = last_s - newest_s[i]
            at = row
            for entry in range(self.earlier - 1, self.earlier - 1 - int(keep[i]), -1):
                at = int(np.searchsorted(self.times[first:at], wanted_s + 1e-3, side="right")) + first - 1
                if at < first or last_s - self.times[at] > GAP_STRIDES * self.stride_s:
                    break
                found[i, entry], valid[i, entry] = at, 1
                last_s = float(self.times[at])
                wanted_s = last_s - self.stride_s
        age = np.rint((self.times[rows][:, None] - self.times[found[:, :-1]]) * self.hz).astype(np.int64)
        return Clips(found, torch.from_numpy(np.maximum(age, 1)), torch.from_numpy(valid))


def teach_actions(
    model: Street,
    recorded: Recorded,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    watch: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Trains the actions' head of `model` in place, for `steps` steps of `batch` clips of people and a quarter as many
    of scenes. Rare actions are drawn more often, by the root of their rarity. `watch(step, losses)` after each."""
    head, device = model.actions, device_of(model)
    assert head is not None
    head.train().requires_grad_(True)
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 11))
    people = Cutter(model.config, recorded.times, recorded.tracks)
    scenes = Cutter(model.config, recorded.scene_times, recorded.scenes)
    counts = np.bincount(recorded.actions.numpy(), minlength=len(model.config.action_labels)).clip(min=1)
    chance = (1 / np.sqrt(counts))[recorded.actions.numpy()]
    chance /= chance.sum()
    optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=0.05)
    whole = torch.tensor(WHOLE, device=device)
    hs, region, boxes, truths = (
        t.to(device) for t in (recorded.hs, recorded.region, recorded.boxes, recorded.actions)
    )
    pooled, doing = recorded.pooled.to(device), recorded.doing.to(device)
    for step in range(steps):
        clips = people.cut(rng.choice(len(chance), batch, p=chance), rng)
        rows = on_device(clips.rows, device)
        features = head.features(
            hs[rows].float(), region[rows].float(), _shaken(boxes[rows], rng)
        )  # (R, T, F)
        features = _thinned(features)
        logits = _clip(head, features, clips, False)
        truth = truths[rows[:, -1]]
        of_people = F.cross_entropy(logits, truth, label_smoothing=0.05)
        clips = scenes.cut(rng.integers(0, len(recorded.scenes), max(1, batch // 4)), rng)
        rows = on_device(clips.rows, device)
        content = head.read_norm(head.read_scene(pooled[rows].float()))
        features = _thinned(torch.cat((content, whole.expand(*content.shape[:-1], 4)), dim=-1))
        said = _clip(head, features, clips, True)
        of_scenes = F.binary_cross_entropy_with_logits(said, doing[rows[:, -1]].float())
        rate = (
            learning_rate
            * min(1.0, (step + 1) / 50)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        (of_people + of_scenes).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        if watch is not None:
            right = (logits.detach().argmax(-1) == truth).float().mean().item()
            watch(step + 1, {"clips": of_people.item(), "scenes": of_scenes.item(), "right": right})
    head.eval()


def _clip(head: Actions, features: Tensor, clips: Clips, scene: bool) -> Tensor:
    device = features.device
    return head.clip(features[:, -1], features[:, :-1], clips.age.to(device), clips.valid.to(device), scene)


def _thinned(features: Tensor) -> Tensor:
    """A quarter of the content's numbers struck out; the boxes stay."""
    return torch.cat((F.dropout(features[..., :-4], 0.25), features[..., -4:]), dim=-1)


def _shaken(boxes: Tensor, rng: np.random.Generator) -> Tensor:
    """Boxes (R, T, 4), a clip at a time moved elsewhere in the picture: what is done does not depend on where."""
    shift = on_device(rng.uniform(-0.1, 0.1, (len(boxes), 1, 2)).astype(np.float32), boxes.device)
    return torch.cat((boxes[..., :2] + shift, boxes[..., 2:]), dim=-1)
