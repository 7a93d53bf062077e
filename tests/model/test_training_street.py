"""The street training run as a whole: it learns, it resumes to the bit, and it refuses what makes no sense."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engines.models.street_family import load_street
from engines.training.clips import render_batches
from engines.training.street import PRESETS, StreetRun, train_street
from streamer.errors import SightlineError

SMOKE = PRESETS["smoke"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are quickest so, above all on a machine with other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_loss_falls_on_one_clip_seen_again_and_again() -> None:
    recipe = dataclasses.replace(
        SMOKE, steps=60, jitter=0.1, drop=0.0, false=0.0, warm_up_steps=5, learning_rate=3e-3
    )
    batch = next(render_batches(recipe.plan(3)))
    run = StreetRun(recipe, 3)
    totals = [run.train_step(batch, 3e-3) for _ in range(60)]
    first, last = totals[0], totals[-1]
    assert last["total"] < 0.6 * first["total"]
    assert last["heat"] < 0.5 * first["heat"]
    assert last["giou"] < 0.7 * first["giou"]


def test_a_resumed_run_makes_the_same_weights_to_the_bit(tmp_path: Path) -> None:
    plan = SMOKE.plan(1)
    straight = StreetRun(SMOKE, 1)
    for batch in itertools.islice(render_batches(plan), 5):
        straight.train_step(batch, straight.learning_rate)
    stopped = StreetRun(SMOKE, 1)
    for batch in itertools.islice(render_batches(plan), 3):
        stopped.train_step(batch, stopped.learning_rate)
    stopped.save(tmp_path / "c.pt")
    resumed = StreetRun(SMOKE, 1)
    resumed.restore(tmp_path / "c.pt")
    assert resumed.step == 3
    for batch in itertools.islice(render_batches(plan, 3), 2):
        resumed.train_step(batch, resumed.learning_rate)
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    for name, tensor in straight.average.model.state_dict().items():
        assert torch.equal(tensor, resumed.average.model.state_dict()[name]), name
    assert (
        torch.equal(straight.slots.hs, resumed.slots.hs) and (straight.slots.ids == resumed.slots.ids).all()
    )


def test_a_run_leaves_weights_a_curve_and_a_checkpoint(tmp_path: Path) -> None:
    seen: list[int] = []
    parts: list[str] = []
    first = train_street(
        "smoke", out=tmp_path, steps=3, watch=lambda news: seen.append(news.step), stop_after_step=2
    )
    assert first.steps == 2
    with pytest.raises(SightlineError, match="checkpoint lies here already"):
        train_street("smoke", out=tmp_path, steps=3)
    done = train_street(
        "smoke",
        out=tmp_path,
        steps=3,
        resume=True,
        watch=lambda news: seen.append(news.step) if news.part == "trunk" else parts.append(news.part),
    )
    assert parts and set(parts) == {"actions"}
    assert seen == [1, 2, 3] and done.images == 3 * SMOKE.lanes * SMOKE.frames
    assert load_street(done.weights).config == SMOKE.model
    with done.curve.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["step"] for line in lines] == ["1", "2", "3"]
    assert all(float(line["total"]) > 0 for line in lines)


def test_what_makes_no_sense_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match="no preset 'gpu'"):
        train_street("gpu", out=tmp_path)
    with pytest.raises(SightlineError, match="above 0"):
        train_street("smoke", out=tmp_path, minutes=0)
    with pytest.raises(SightlineError, match="no checkpoint"):
        train_street("smoke", out=tmp_path, resume=True)
    run = StreetRun(SMOKE, 4)
    run.save(tmp_path / "checkpoint.pt")
    with pytest.raises(SightlineError, match="made with seed 4"):
        train_street("smoke", out=tmp_path, resume=True)
