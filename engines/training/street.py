"""How the shipped street weights are made: a wall-clock budget, a cosine, clips of the world, and a resumable state.

A step sees T frames of B lanes. The backbone takes all T*B pictures at once; the decoder walks through the frames,
handing track queries on. Everything random in step s is drawn from (seed, s), so a run that stops and resumes makes
the same weights to the bit, when its budget is counted in steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engines.training.allocator import one_thread
from engines.training.clips import Plan, rendered_ahead
from engines.training.news import TrainingNews, TrainingResult
from engines.training.own_data import OwnData
from engines.training.progress import CURVE_FILE, Progress
from engines.training.recipe import PRESETS, StreetRecipe, recipe_for
from engines.training.run import StreetRun
from engines.training.team import Team, team_of, trained
from streamer.errors import SightlineError

__all__ = ["PRESETS", "StreetRecipe", "StreetRun", "TrainingNews", "TrainingResult", "train_street"]

CHECKPOINT = "checkpoint.pt"


def train_street(
    preset: str = "nano",
    *,
    out: Path = Path("runs/street"),
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = False,
    start: Path | None = None,
    rehearsal: float | None = None,
    without: str = "",
    data: OwnData | None = None,
    watch: Callable[[TrainingNews], None] | None = None,
    stop_after_step: int | None = None,
) -> TrainingResult:
    """Trains the street model and writes weights, curve and checkpoint under `out`.

    `minutes` or `steps` replace the preset's budget. `resume` goes on from `out`'s checkpoint; `start` is a weights
    file to begin with instead of noise, such as a finished run's. `data` of a user's own takes the world's place, its
    model the preset's, and its start is the start; `rehearsal` is the share of lanes that go on showing the world, in
    place of the preset's. `without` puts an idea of the model out of action (evaluation/knockouts.py), for an
    ablation. `stop_after_step` ends the call early, as a stop by hand would, with a checkpoint written. `watch` is
    called after each step.
    Raises SightlineError for an unknown preset, a budget that is not above 0, an `out` that holds another run, or a
    missing checkpoint, EngineError for an unknown idea or a `start` that is of another shape.
    """
    recipe = recipe_for(preset, minutes, steps)
    if without:
        recipe = replace(recipe, without=without)
    if rehearsal is not None:
        recipe = replace(recipe, rehearsal=rehearsal)
    if data is not None:
        recipe, start = data.fitted(recipe), data.start
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise SightlineError(
            "a run's checkpoint lies here already",
            where=str(out),
            mend="add --resume, or choose another --out",
        )
    run = StreetRun(recipe, seed)
    if start is not None and not resume:
        run.begin_with(start)
    if resume:
        run.restore(checkpoint)
    if data is not None:
        data.keep_to(out, resume, recipe.rehearsal)
    progress = Progress(out, run, data)
    weights = out / f"{recipe.name}.safetensors"
    size = sum(p.numel() for p in trained(run.model))
    arguments = (recipe, seed, checkpoint if resume else None, start, data)
    with (
        one_thread(),
        team_of(recipe.processes, size, _follow, arguments) as team,
        rendered_ahead(_plan(recipe, data, seed), run.step) as batches,
        run.clock(),
    ):
        saved_s = time.monotonic()
        while run.share < 1 and (stop_after_step is None or run.step < stop_after_step):
            batch = next(batches)
            save = time.monotonic() - saved_s >= recipe.checkpoint_minutes * 60
            if save:
                saved_s = time.monotonic()
            rate = run.learning_rate
            if team is not None:
                team.lead(True, rate, save)
            losses = run.train_step(batch, rate, team)
            progress.step(rate, losses)
            if watch is not None:
                watch(TrainingNews(run.step, run.images, run.elapsed_s / 60, run.share, losses))
            if save:
                run.save(checkpoint, team)
                run.export(weights, preset)
                progress.saved()
        if team is not None:
            team.lead(False, 0.0, True)
        run.save(checkpoint, team)
        run.export(weights, preset)
    if run.model.actions is not None and recipe.action_rounds and run.share >= 1:
        with one_thread():
            run.teach_actions(watch)
        run.export(weights, preset)
    progress.saved()
    took = run.step, run.images, run.elapsed_s / 60
    return TrainingResult(weights, out / CURVE_FILE, *took, progress.before, progress.after)


def _plan(recipe: StreetRecipe, data: OwnData | None, seed: int, rank: int = 0) -> Plan:
    return recipe.plan(seed, rank) if data is None else data.plan(recipe, seed, rank)


def _follow(
    team: Team,
    recipe: StreetRecipe,
    seed: int,
    checkpoint: Path | None,
    start: Path | None,
    data: OwnData | None,
) -> None:
    """The life of a team's other members: the same steps on their own lanes, at the leader's word."""
    run = StreetRun(recipe, seed, team.rank)
    if checkpoint is not None:
        run.restore(checkpoint)
    elif start is not None:
        run.begin_with(start)
    try:
        with one_thread(), rendered_ahead(_plan(recipe, data, seed, team.rank), run.step) as batches:
            while True:
                batch = next(batches)
                go, rate, save = team.follow()
                if go:
                    run.train_step(batch, rate, team)
                if save:
                    run.share_slots(team)
                if not go:
                    return
    except BaseException:
        team.abandon()
        raise
