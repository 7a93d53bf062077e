"""A run of training in progress: its model, optimiser, average and tracks, one step at a time, saved and restored.

A step sees T frames of B lanes. The backbone takes all T*B pictures at once; the decoder walks through the frames,
handing track queries on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.evaluation.knockouts import knock_out
from engines.models.street import Scene, Street
from engines.models.street_family import load_street, save_street
from engines.models.street_parts import LayerOutput
from engines.training.acting import teach_actions
from engines.training.adopting import adopt
from engines.training.asking import WEIGHTS, head_losses
from engines.training.averaging import WeightAverage
from engines.training.clips import ClipBatch
from engines.training.losses import dense_losses, mask_losses, row_losses
from engines.training.matching import match_rows, pair_costs
from engines.training.news import TrainingNews
from engines.training.recipe import StreetRecipe
from engines.training.recording import record
from engines.training.silence import asked_cells, asked_labels, asked_rows
from engines.training.team import Team, trained
from engines.training.tracks import TrackSlots, cleared, empty_slots, jittered, next_slots
from streamer.errors import SightlineError


class StreetRun:
    """A run in progress: model, optimiser, average, track slots, and how much of the budget is used."""

    def __init__(self, recipe: StreetRecipe, seed: int, rank: int = 0) -> None:
        self.recipe, self.seed, self.rank = recipe, seed, rank
        torch.manual_seed(seed)
        self.model = Street(recipe.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.model.actions is not None:
            self.model.actions.freeze_clips()  # they are taught last, on what the finished trunk says
        self.average = WeightAverage(self.model, recipe.average)
        if recipe.without:
            for model in (self.model, self.average.model):
                knock_out(model, recipe.without)
        decayed = [p for p in trained(self.model) if p.ndim > 1]
        plain = [p for p in trained(self.model) if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.lanes = recipe.lanes // recipe.processes
        self.slots = empty_slots(self.lanes, recipe.model.track_slots, recipe.model.hidden_dim)
        self.step = 0
        self.earlier_s = 0.0
        self._started_s: float | None = None

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Time counts against the budget inside this block."""
        self._started_s = time.monotonic()
        try:
            yield
        finally:
            self.earlier_s = self.elapsed_s
            self._started_s = None

    @property
    def elapsed_s(self) -> float:
        """Wall-clock seconds of training so far, those before a resume included."""
        return self.earlier_s + (0.0 if self._started_s is None else time.monotonic() - self._started_s)

    @property
    def images(self) -> int:
        """Pictures seen."""
        return self.step * self.recipe.lanes * self.recipe.frames

    @property
    def share(self) -> float:
        """How much of the budget is used, 0..1."""
        if self.recipe.steps:
            return min(1.0, self.step / self.recipe.steps)
        return min(1.0, self.elapsed_s / (self.recipe.minutes * 60))

    @property
    def learning_rate(self) -> float:
        """A linear rise over the first steps, then half a cosine over the budget down to a hundredth."""
        rise = min(1.0, (self.step + 1) / self.recipe.warm_up_steps)
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.share))
        return self.recipe.learning_rate * rise * fall

    def train_step(
        self, batch: ClipBatch, learning_rate: float, team: Team | None = None
    ) -> dict[str, float]:
        """One update on one batch, shared with the team. To the value of each loss, and `total`."""
        rng = np.random.default_rng((self.seed, self.step, self.rank))
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            losses = self._losses(batch, rng)
        total = torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()
        if not torch.isfinite(total):
            raise SightlineError(f"the loss is {total.item()} at step {self.step}", where="training")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if team is not None:
            team.average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(trained(self.model), self.recipe.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        if self.rank == 0:
            self.average.update(self.model, self.step)
        self.step += 1
        return {name: value.item() for name, value in losses.items()} | {"total": total.item()}

    def _losses(self, batch: ClipBatch, rng: np.random.Generator) -> dict[str, Tensor]:
        frames, lanes = batch.labels.shape[:2]
        boxes, labels = torch.from_numpy(batch.boxes), torch.from_numpy(batch.labels)
        scene = self.model.look(torch.from_numpy(batch.images).flatten(0, 1))  # (T, B, …) -> (T*B, …)
        slots = cleared(self.slots, batch.fresh)
        outputs: list[list[LayerOutput]] = []
        places, valid = [], []
        for t in range(frames):
            reference = jittered(slots.boxes, self.recipe.jitter, rng)
            layers = self.model.decode(frame_of(scene, t, lanes), slots.hs, reference, slots.valid)
            last = layers[-1]
            k = self.recipe.model.track_slots
            costs = pair_costs(last.logits[:, k:], last.boxes[:, k:], boxes[t], labels[t])
            rows = match_rows(costs, slots.ids, batch.ids[t])
            outputs.append(layers)
            places.append(torch.from_numpy(rows))
            valid.append(torch.cat((slots.valid, torch.ones(lanes, self.recipe.model.object_queries)), dim=1))
            scores = last.logits.detach().float().amax(-1).sigmoid().numpy()
            slots = next_slots(
                slots, rows, batch.ids[t], self.model.next_hs(last.hs), last.boxes.detach(), scores,
                self.recipe.drop, self.recipe.false, rng,
            )  # fmt: skip
        self.slots = cleared(slots, np.zeros(lanes, np.bool_))
        row_places = torch.stack(places)
        hs = torch.cat([layers[-1].hs for layers in outputs])  # (T*B, N, D)
        found = torch.cat([layers[-1].boxes for layers in outputs]).detach()
        embed = self.model.mask_embed(hs, found)  # (T*B, N, M)
        masks = torch.from_numpy(batch.masks).flatten(0, 1)
        asked = torch.stack(valid) * asked_rows(batch, found.view(*row_places.shape, 4), row_places)
        return {
            **row_losses(outputs, row_places, asked, boxes, labels, asked_labels(batch)),
            **mask_losses(embed, scene.mask_features, row_places.flatten(0, 1), boxes.flatten(0, 1), masks),
            **dense_losses(scene, boxes.flatten(0, 1), labels.flatten(0, 1), asked_cells(batch)),
            **head_losses(self.model, scene, hs, found, row_places.flatten(0, 1), batch),
        }

    def teach_actions(self, watch: Callable[[TrainingNews], None] | None = None) -> None:
        """The last part: the averaged trunk's features over time, and the temporal encoder taught on them."""
        recipe = self.recipe
        said = {"total": 0.0}

        def tell(share: float, losses: dict[str, float]) -> None:
            if watch is not None:
                watch(TrainingNews(self.step, self.images, self.elapsed_s / 60, share, losses, "actions"))

        recorded = record(
            self.average.model,
            recipe.action_plan(self.seed),
            rounds=recipe.action_rounds,
            length=recipe.action_length,
            bfloat16=recipe.bfloat16,
            watch=lambda share: tell(share, said),
        )
        if not len(recorded.actions):
            logging.getLogger(__name__).warning(
                "the actions' head stays as it was: the trunk held no person to its object; train it longer"
            )
            return
        teach_actions(
            self.average.model,
            recorded,
            steps=recipe.action_steps,
            batch=recipe.action_batch,
            learning_rate=recipe.action_rate,
            seed=self.seed,
            watch=lambda step, losses: tell(
                step / recipe.action_steps, {"total": losses["clips"] + losses["scenes"], **losses}
            ),
        )

    def share_slots(self, team: Team) -> list[Tensor]:
        """Every member's tracks, lanes in order: states, boxes, identities, frames unseen. All members call it."""
        ids, lost = torch.from_numpy(self.slots.ids), torch.from_numpy(self.slots.lost)
        return team.gather([self.slots.hs, self.slots.boxes, ids, lost])

    def begin_with(self, weights: Path) -> None:
        """Takes another run's finished weights for its own first ones. Raises EngineError where they do not fit."""
        given = load_street(weights)
        for model in (self.model, self.average.model):
            adopt(model, given, str(weights))

    def save(self, path: Path, team: Team | None = None) -> None:
        """Writes all that `restore` needs, at once or not at all. The other members call `share_slots` meanwhile."""
        slots = [
            self.slots.hs,
            self.slots.boxes,
            torch.from_numpy(self.slots.ids),
            torch.from_numpy(self.slots.lost),
        ]
        state = {
            "recipe": repr(self.recipe),
            "seed": self.seed,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "slots": slots if team is None else self.share_slots(team),
        }
        part = path.with_name(path.name + ".part")
        torch.save(state, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Goes back to a saved state. The budget may differ from the saved run's, the rest of the recipe may not."""
        try:
            state = torch.load(path, weights_only=True)
        except FileNotFoundError:
            raise SightlineError(
                "no checkpoint to resume from", where=str(path), mend="leave out --resume"
            ) from None
        if state["seed"] != self.seed:
            raise SightlineError(
                f"the checkpoint was made with seed {state['seed']}",
                where=str(path),
                mend=f"add --seed {state['seed']}",
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError:
            raise SightlineError(
                "the checkpoint is of another preset",
                where=str(path),
                mend="give the preset it was made with",
            ) from None
        self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        mine = slice(self.rank * self.lanes, (self.rank + 1) * self.lanes)
        hs, boxes, ids, lost = (x[mine].clone() for x in state["slots"])
        self.slots = TrackSlots(hs, boxes, ids.numpy(), lost.numpy())
        self.step, self.earlier_s = state["step"], state["elapsed_s"]

    def export(self, path: Path, preset: str) -> None:
        """Writes the averaged weights as the file that `load_street` reads."""
        notes = {
            "preset": preset,
            "seed": str(self.seed),
            "steps": str(self.step),
            "images": str(self.images),
            "minutes": f"{self.elapsed_s / 60:.1f}",
        }
        save_street(self.average.model, path, notes)


def frame_of(scene: Scene, t: int, lanes: int) -> Scene:
    """Frame t of a scene of T*B pictures, frame first."""
    cut = slice(t * lanes, (t + 1) * lanes)
    by_layer = ("keys", "values")
    there = {name: x for name, x in scene._asdict().items() if x is not None}
    return Scene(**{name: x[:, cut] if name in by_layer else x[cut] for name, x in there.items()})
