"""A user's data on its way into a run: read and checked, cut in two, and the recipe fitted to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines.models.street import Street
from engines.models.street_family import load_street
from engines.models.street_parts import StreetConfig
from engines.training.annotated import DataSet, Names
from engines.training.coco_data import read_coco
from engines.training.holdout import measured, precision_on, split
from engines.training.mistakes import Mistakes
from engines.training.mot_data import read_mot
from engines.training.own_clips import OwnPlan
from engines.training.recipe import StreetRecipe
from engines.training.rehearsal import RehearsalPlan
from streamer.errors import SightlineError
from streamer.world import KEYPOINTS, LABELS

NOTE_FILE = "data.json"
STILL_STAY = (
    2  # steps that a lane stays with a still picture; footage is stayed with as long as the recipe says
)


@dataclass(frozen=True, slots=True)
class OwnData:
    """Data of a user's own for a run that begins with the weights of `start`: what to train on, what was held out."""

    address: str
    start: Path
    model: StreetConfig
    train: DataSet
    held: DataSet

    def fitted(self, recipe: StreetRecipe) -> StreetRecipe:
        """The recipe for the model of `start`, with the data's labels; the result bears the start's name.

        Actions are taught again on the world at the end, as far as the model has its labels: the trunk has moved.
        """
        rounds = recipe.action_rounds if self.model.labels == LABELS else 0
        return replace(recipe, name=self.start.stem, model=self.model, action_rounds=rounds)

    def plan(self, recipe: StreetRecipe, seed: int, rank: int) -> OwnPlan | RehearsalPlan:
        """How the clips of member `rank` are cut; the recipe's share of lanes shows the world."""
        world = recipe.plan(seed, rank)
        rehearsed = min(round(recipe.rehearsal * world.lanes), world.lanes - 1)
        size, lanes = recipe.model, world.lanes - rehearsed
        own = OwnPlan(
            data=self.train,
            seed=seed,
            height=size.height,
            width=size.width,
            lanes=lanes,
            all_lanes=lanes * recipe.processes,
            first_lane=rank * lanes,
            frames=recipe.frames,
            stay=min(recipe.stay, STILL_STAY) if self.train.still else recipe.stay,
            max_objects=world.max_objects,
        )
        return RehearsalPlan(own, replace(world, lanes=rehearsed)) if rehearsed else own

    def precision(self, model: Street) -> dict[str, float] | None:
        """`ap` and `ap50` on what was held out; None if nothing was."""
        pictures = measured(self.held)
        return precision_on(model, pictures, self.held.told) if pictures else None

    def told(self) -> list[str]:
        """What was read, a line each, for the user."""
        silent = [name for name, there in zip(self.train.labels, self.train.told, strict=True) if not there]
        lines = [
            f"{self.address}: {self.train.pictures} pictures with {self.train.objects} objects to train on, "
            f"{self.held.pictures} with {self.held.objects} held out"
        ]
        if silent:
            lines.append(f"the data does not speak of {', '.join(silent)}: nothing is asked about them")
        return lines + list(self.train.notes)

    def keep_to(self, out: Path, resume: bool, rehearsal: float) -> None:
        """Notes in `out` which data the run is of. Raises SightlineError if a run goes on with other data."""
        path = out / NOTE_FILE
        digest = f"{self.train.digest()}-{self.held.digest()}-{rehearsal:g}"
        if resume and path.exists() and json.loads(path.read_text("utf-8"))["digest"] != digest:
            raise SightlineError(
                "the data, its labels or shares are not those that the run began with",
                where=self.address,
                mend="give the same --data, --labels, --map, --holdout, --rehearse and --seed, or another --out",
            )
        note = {"data": self.address, "labels": self.train.labels, "digest": digest, "read": self.told()}
        path.write_text(json.dumps(note, indent=1) + "\n", "utf-8")


def open_data(
    address: str,
    start: Path,
    *,
    labels: Sequence[str] = (),
    renames: Mapping[str, str] | None = None,
    holdout: float = 0.2,
    seed: int = 0,
) -> OwnData:
    """Reads and checks `coco:DIR` or `mot:DIR` for the model of the weights file `start`.

    `labels` are the new model's, in place of the start's; `renames` and their meaning: see `Names`; `holdout` is the
    share kept for measuring, 0 to below 1. Raises DataError with a line for each mistake in the data, SightlineError
    for an address, a share or a label that makes no sense, EngineError for a start that is no street model.
    """
    kind, _, folder = address.partition(":")
    if kind not in ("coco", "mot") or not folder:
        raise SightlineError(f"{address!r} is no data", where="--data", mend="write coco:DIR or mot:DIR")
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise SightlineError("there is no such folder", where=f"--data {address}", mend=f"write {kind}:DIR")
    if not 0 <= holdout < 1:
        raise SightlineError(
            f"{holdout} is no share", where="--holdout", mend="give 0 to below 1, such as 0.2"
        )
    if len(set(labels)) != len(labels) or not all(labels):
        raise SightlineError("a label is empty or stands twice", where="--labels", mend="write a,b,c")
    config = load_street(start).config
    if labels:
        config = replace(config, labels=tuple(labels))
    names, mistakes = Names(config.labels, renames), Mistakes()
    coco = kind == "coco"
    data = read_coco(root, names, KEYPOINTS, mistakes) if coco else read_mot(root, names, mistakes)
    mistakes.tell()
    train, held = split(data, holdout, seed)
    return OwnData(address, start, config, train, held)
