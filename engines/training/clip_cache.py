"""Rendered clips on disk: each world of a run is drawn once, and every later step reads its pictures as they are.

A clip is what a lane shows of one world: `stay` steps of `frames` frames. Clip n is the n-th that a run of the same
seed would draw, so as long as no clip comes twice, a run from the cache sees what a run without it sees, to the bit;
after that each pass over the cache takes every clip once, in an order of its own.

The folder holds `manifest.json`, `clips.bin` (one record a clip, all fields of a ClipBatch as they are, without
compression) and `done.bin` (a byte a clip: 1 when its record is whole). So rendering goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamer.world
from engines.training import clips
from engines.training.clip_rendering import rendered_clips
from engines.training.clips import ClipBatch, ClipPlan, empty_batch, lane_parts
from streamer.errors import SightlineError

FORMAT = "sightline.clips/1"
MANIFEST, RECORDS, DONE = "manifest.json", "clips.bin", "done.bin"
LEFT_FREE = 256 << 20  # bytes that a cache leaves on its disk
_ORDER = 5  # what a stream of random numbers is for


def record_type(plan: ClipPlan) -> np.dtype[np.void]:
    """One clip as a record: the fields of a ClipBatch of one lane, `stay` steps long. `fresh` has one place a step."""
    batch = empty_batch(replace(plan, lanes=1, frames=1))
    frames = plan.stay * plan.frames
    fields = [
        (name, array.dtype, (plan.stay,) if name == "fresh" else (frames, *array.shape[2:]))
        for name, array in batch._asdict().items()
        if array is not None
    ]
    return np.dtype(fields)


def digest_of(plan: ClipPlan) -> str:
    """Of the plan of all lanes, and of the sources that draw worlds and cut clips: who changes them draws anew."""
    asked = json.dumps(asdict(replace(plan, first_lane=0)), sort_keys=True)
    return hashlib.sha256((asked + _drawn_by()).encode()).hexdigest()[:20]


@cache
def _drawn_by() -> str:
    sources = sorted(Path(streamer.world.__file__).parent.glob("*.py"))
    digest = hashlib.sha256()
    for source in (*sources, Path(clips.__file__)):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class CachedPlan:
    """Clips of `plan` read from `folder`, of which the first `clips` are used. `all_lanes` counts the whole team's."""

    folder: Path
    plan: ClipPlan
    clips: int
    all_lanes: int

    def batches(self, first_step: int = 0) -> Iterator[ClipBatch]:
        """The batches of steps `first_step`, `first_step + 1`, … without end."""
        plan = self.plan
        records = np.memmap(self.folder / RECORDS, record_type(plan), "r", shape=(self.clips,))
        orders: dict[int, NDArray[np.int64]] = {}
        for step in range(first_step, 2**62):
            batch = empty_batch(plan)
            for index in range(plan.lanes):
                number, at = self.place(plan.first_lane + index, step)
                turn, place = divmod(number, self.clips)
                if turn not in orders:
                    orders = {turn: self._order(turn)} | {k: v for k, v in orders.items() if k >= turn - 1}
                _copy(records[orders[turn][place]], at, batch, index)
            yield batch

    def parts(self, count: int) -> list[CachedPlan]:
        """As `ClipPlan.parts`."""
        return [
            replace(self, plan=replace(self.plan, first_lane=self.plan.first_lane + first, lanes=lanes))
            for first, lanes in lane_parts(self.plan.lanes, count)
        ]

    def place(self, lane: int, step: int) -> tuple[int, int]:
        """Which of an endless row of clips a lane shows at a step, and which of the clip's steps this is."""
        visit, visit_step = divmod(step + lane * 3, self.plan.stay)  # as `render_batches` has it
        earlier = visit - lane * 3 // self.plan.stay
        return earlier * self.all_lanes + lane, visit_step if earlier else step

    def _order(self, turn: int) -> NDArray[np.int64]:
        if turn == 0:
            return np.arange(self.clips)
        return np.random.default_rng((self.plan.seed, _ORDER, turn)).permutation(self.clips)


def _copy(record: np.void, at: int, batch: ClipBatch, index: int) -> None:
    """Step `at` of a clip into lane `index` of the batch."""
    frames = len(batch.images)
    for name, array in batch._asdict().items():
        if name == "fresh":
            array[index] = record[name][at]
        elif array is not None:
            array[:, index] = record[name][at * frames : (at + 1) * frames]


def open_cache(
    folder: Path,
    plan: ClipPlan,
    count: int,
    *,
    tell: Callable[[str], None] | None = None,
    watch: Callable[[int, int], None] | None = None,
    processes: int | None = None,
) -> CachedPlan:
    """The cache of `plan` (of all lanes) in `folder` with at least `count` clips; what is missing is rendered first.

    A count of 0 takes all that the folder was made for. `tell` gets a line with the size before anything is written,
    `watch(clips done, clips)` is called while it renders, `processes` default to one a core. Raises SightlineError for
    a folder of other clips, a disk without room, a file that cannot be written.
    """
    manifest = _manifest(folder, plan)
    known = 0 if manifest is None else int(manifest["clips"])
    count = count or known
    if count < plan.lanes:
        what = f"{count} clips are too few for {plan.lanes} lanes" if count else "there is no cache yet"
        raise SightlineError(what, where=str(folder), mend=f"give --clips, at least {plan.lanes}")
    size = record_type(plan).itemsize
    done = _done(folder, max(count, known))
    missing = np.flatnonzero(done[:count] == 0)
    if len(missing):
        if tell is not None:
            pictures = plan.stay * plan.frames
            tell(
                f"{folder}: {count} clips, {count * pictures} pictures, {count * size / 1e9:.2f} GB when whole; "
                f"{len(missing)} clips are to be drawn"
            )
        _room(folder, len(missing) * size)
        try:
            _render(folder, plan, done, missing, watch, processes)
        except OSError as error:
            raise SightlineError(
                f"the clips cannot be written: {error.strerror}",
                where=str(folder),
                mend="make room and start again: what is drawn stays",
            ) from None
    return CachedPlan(folder, plan, count, plan.lanes)


def _manifest(folder: Path, plan: ClipPlan) -> dict[str, Any] | None:
    path, digest = folder / MANIFEST, digest_of(plan)
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        right = (found["format"], found["digest"]) == (FORMAT, digest) and isinstance(found["clips"], int)
    except FileNotFoundError:
        if folder.is_dir() and any(folder.iterdir()):
            raise SightlineError(
                "this folder holds other things", where=str(folder), mend="give a new folder"
            ) from None
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise SightlineError(
            "the cache's manifest cannot be read", where=str(path), mend="delete the folder, or give another"
        ) from None
    if not right:
        raise SightlineError(
            "this cache is of another recipe, seed or version of the world",
            where=str(folder),
            mend="give the --preset and --seed it was made with, another --cache, or delete it",
        )
    return found


def _done(folder: Path, count: int) -> NDArray[np.uint8]:
    """A byte a clip, 0 where it is not drawn yet."""
    done = np.zeros(count, np.uint8)
    if (folder / DONE).exists():
        there = np.fromfile(folder / DONE, np.uint8)[:count]
        done[: len(there)] = there
    return done


def _room(folder: Path, needed: int) -> None:
    near = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(near).free
    if needed + LEFT_FREE > free:
        raise SightlineError(
            f"the clips need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            where=str(folder),
            mend="give fewer --clips, or another disk",
        )


def _render(
    folder: Path,
    plan: ClipPlan,
    done: NDArray[np.uint8],
    missing: NDArray[np.intp],
    watch: Callable[[int, int], None] | None,
    processes: int | None,
) -> None:
    """Writes the missing clips' records, each whole on the disk before it counts as done."""
    folder.mkdir(parents=True, exist_ok=True)
    size, total = record_type(plan).itemsize, len(done)
    note = {"format": FORMAT, "digest": digest_of(plan), "clips": total, "clip_bytes": size}
    part = folder / (MANIFEST + ".part")
    part.write_text(json.dumps(note | {"plan": asdict(plan)}, indent=1) + "\n", "utf-8")
    part.replace(folder / MANIFEST)
    records = os.open(folder / RECORDS, os.O_RDWR | os.O_CREAT, 0o644)
    marks = os.open(folder / DONE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for number, record in rendered_clips(plan, record_type(plan), missing.tolist(), processes):
            _write(records, record, number * size)
            os.fdatasync(records)
            _write(marks, b"\1", number)
            done[number] = 1
            if watch is not None:
                watch(int(done.sum()), total)
    finally:
        os.close(records)
        os.close(marks)


def _write(file: int, data: bytes, at: int) -> None:
    """All of `data`, for `pwrite` may take only some."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written
