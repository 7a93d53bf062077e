"""Rendered clips on disk: what is read is what would have been drawn, to the bit, and a wrong folder is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engines.training import clip_cache
from engines.training.ahead import rendered_ahead
from engines.training.allocator import one_thread
from engines.training.clip_cache import DONE, MANIFEST, RECORDS, CachedPlan, open_cache, record_type
from engines.training.clip_rendering import clip_record
from engines.training.clips import ClipBatch, ClipPlan, render_batches, side_by_side
from engines.training.recipe import PRESETS
from engines.training.street import StreetRun, train_street
from streamer.errors import SightlineError

SMOKE = PRESETS["smoke"]
PLAN = dataclasses.replace(SMOKE.whole_plan(1), lanes=3, stay=4)
CLIPS = 9  # three visits of three lanes: no clip comes twice in the first nine steps


def here(
    plan: ClipPlan, kind: np.dtype[np.void], numbers: Sequence[int], processes: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """As `rendered_clips`, in this process."""
    return ((number, clip_record(plan, kind, number)) for number in numbers)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> CachedPlan:
    """A whole cache of PLAN, drawn by two processes."""
    return open_cache(tmp_path_factory.mktemp("clips") / "cache", PLAN, CLIPS, processes=2)


@pytest.fixture
def copy(drawn: CachedPlan, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn.folder, tmp_path / "cache"))


def same(a: ClipBatch, b: ClipBatch) -> bool:
    return all(
        (x is None and y is None) or (x is not None and y is not None and np.array_equal(x, y))
        for x, y in zip(a, b, strict=True)
    )


def test_a_run_from_the_cache_sees_what_it_would_have_drawn(drawn: CachedPlan) -> None:
    steps = zip(render_batches(PLAN), drawn.batches(), strict=False)
    assert all(same(mine, theirs) for mine, theirs in itertools.islice(steps, 9))


def test_every_step_of_later_passes_is_a_function_of_its_number(drawn: CachedPlan) -> None:
    batches = list(itertools.islice(drawn.batches(), 40))
    assert all(same(next(drawn.batches(step)), batches[step]) for step in (0, 7, 13, 39))
    parts = [next(part.batches(31)) for part in drawn.parts(2)]
    assert len(parts) == 2 and same(side_by_side(parts), batches[31])


def test_each_pass_takes_every_clip_once_in_an_order_of_its_own(drawn: CachedPlan) -> None:
    numbers = sorted({drawn.place(lane, step)[0] for lane in range(3) for step in range(80)})
    assert numbers[: 4 * CLIPS] == list(range(4 * CLIPS))
    orders = [drawn._order(turn).tolist() for turn in range(3)]
    assert all(sorted(order) == list(range(CLIPS)) for order in orders)
    assert orders[0] == list(range(CLIPS)) != orders[1] != orders[2]


def test_a_stopped_cache_goes_on_and_a_larger_one_grows(
    drawn: CachedPlan, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (copy / RECORDS).read_bytes()
    size = record_type(PLAN).itemsize
    assert len(whole) == CLIPS * size and (copy / DONE).read_bytes() == b"\1" * CLIPS
    (copy / DONE).write_bytes(
        b"\1" * 4 + b"\0" + b"\1" * 2
    )  # clip 4 was being written, 7 and 8 were not begun
    (copy / RECORDS).write_bytes(whole[: 4 * size] + b"\7" * size + whole[5 * size : 7 * size + 99])
    seen: list[tuple[int, int]] = []
    said: list[str] = []
    monkeypatch.setattr(clip_cache, "rendered_clips", here)
    open_cache(copy, PLAN, 0, watch=lambda done, all_: seen.append((done, all_)), tell=said.append)
    assert (copy / RECORDS).read_bytes() == whole and seen == [(7, 9), (8, 9), (9, 9)]
    assert "9 clips, 72 pictures" in said[0] and "3 clips are to be drawn" in said[0]
    open_cache(copy, PLAN, 10)
    assert (copy / RECORDS).read_bytes()[: len(whole)] == whole
    assert json.loads((copy / MANIFEST).read_text())["clips"] == 10
    assert open_cache(copy, PLAN, 5).clips == 5  # the first five of them


def test_a_cache_of_other_clips_is_refused_in_one_line(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in (
        dataclasses.replace(PLAN, seed=2),
        dataclasses.replace(PLAN, height=96),
        dataclasses.replace(PLAN, lanes=2),
    ):
        with pytest.raises(SightlineError, match="of another recipe, seed or version of the world"):
            open_cache(copy, other, 9)
    monkeypatch.setattr(clip_cache, "_drawn_by", lambda: "another world")
    with pytest.raises(SightlineError, match="of another recipe, seed or version of the world"):
        open_cache(copy, PLAN, 9)
    (copy / MANIFEST).write_text("{")
    with pytest.raises(SightlineError, match="manifest cannot be read"):
        open_cache(copy, PLAN, 9)
    (copy / MANIFEST).unlink()
    with pytest.raises(SightlineError, match="holds other things"):
        open_cache(copy, PLAN, 9)


def test_too_few_clips_and_too_small_a_disk_are_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SightlineError, match="too few for 3 lanes"):
        open_cache(tmp_path / "new", PLAN, 2)
    with pytest.raises(SightlineError, match="no cache yet"):
        open_cache(tmp_path / "new", PLAN, 0)
    free = clip_cache.LEFT_FREE + 3 * record_type(PLAN).itemsize
    monkeypatch.setattr(clip_cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(SightlineError, match="are free"):
        open_cache(tmp_path / "new", PLAN, 4)
    assert not (tmp_path / "new").exists()


def test_several_processes_make_the_batches_of_one() -> None:
    alone = next(render_batches(PLAN, 3))
    with rendered_ahead(PLAN, 3, ahead=1, processes=2) as batches:
        assert same(next(batches), alone)


def test_training_from_the_cache_makes_the_same_weights_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_cache, "rendered_clips", here)
    cache = open_cache(tmp_path / "cache", SMOKE.whole_plan(0), 4)
    run = StreetRun(SMOKE, 0)
    with one_thread():  # as a run has it: sums in another order have other last bits
        for batch in itertools.islice(
            cache.batches(), 6
        ):  # four clips, two lanes, two steps each: a second pass too
            run.train_step(batch, run.learning_rate)
    train_street("smoke", out=tmp_path / "run", cache=cache, stop_after_step=3)
    stopped = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert stopped["step"] == 3
    train_street("smoke", out=tmp_path / "run", cache=cache, resume=True)
    resumed = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert all(torch.equal(t, resumed["model"][name]) for name, t in run.model.state_dict().items())
    with pytest.raises(SightlineError, match="of another preset, seed or data"):
        train_street("smoke", out=tmp_path / "other", seed=1, cache=cache)
