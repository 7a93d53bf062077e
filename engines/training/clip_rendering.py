"""Clips drawn by as many processes as there are cores: whole ones for a cache, each a world from its first frame."""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import multiprocessing.process
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from engines.training.clips import ClipPlan, Lane, empty_batch
from streamer.errors import SightlineError


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rendered_clips(
    plan: ClipPlan, kind: np.dtype[np.void], numbers: Sequence[int], processes: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """The records of the named clips as they get ready, with their numbers; at most two a process wait.

    Raises SightlineError if a process ends before its time.
    """
    workers = min(processes or cores(), len(numbers))
    context = multiprocessing.get_context("spawn")
    left = iter(numbers)
    running: dict[Future[bytes], int] = {}
    with ProcessPoolExecutor(workers, context, initializer=_begin) as pool:
        try:
            for number in itertools.islice(left, 2 * workers):
                running[pool.submit(clip_record, plan, kind, number)] = number
            while running:
                ready, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in ready:
                    yield running.pop(future), future.result()
                    for number in itertools.islice(left, 1):
                        running[pool.submit(clip_record, plan, kind, number)] = number
        except BrokenProcessPool:
            raise SightlineError(
                "a rendering process ended", where="training", mend="start again: what is drawn stays"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def clip_record(plan: ClipPlan, kind: np.dtype[np.void], number: int) -> bytes:
    """Clip `number` of a run of `plan` (all its lanes), as the bytes of one record of `kind`."""
    index = number % plan.lanes
    visit = number // plan.lanes + index * 3 // plan.stay
    lane = Lane(plan, index, visit)
    record: Any = np.zeros((), kind)
    for step in range(plan.stay):
        batch = empty_batch(replace(plan, lanes=1))
        lane.draw(batch, 0, step == 0)
        for name, array in batch._asdict().items():
            if name == "fresh":
                record[name][step] = array[0]
            elif array is not None:
                record[name][step * plan.frames : (step + 1) * plan.frames] = array[:, 0]
    data: bytes = record.tobytes()
    return data


def _begin() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends us in order
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """A parent that was killed cannot end its processes: they see to it themselves."""
    parent.join()
    os._exit(1)
