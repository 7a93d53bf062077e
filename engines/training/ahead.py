"""Batches made ahead of the trainer, in processes of their own, each with some of the lanes.

However many processes there are, the batches are the same. A trainer on a CPU has one such process beside it; one on a
GPU is fed by several, or waits for pictures most of its time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.process
import queue
import traceback
from collections.abc import Iterator

import cv2

from engines.training.clips import ClipBatch, Plan, side_by_side
from streamer.errors import SightlineError


@contextlib.contextmanager
def rendered_ahead(
    plan: Plan, first_step: int, ahead: int = 6, processes: int = 1
) -> Iterator[Iterator[ClipBatch]]:
    """`plan.batches` in at most `processes` processes, each at most `ahead` batches ahead of the reader."""
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(_made_ahead(part, first_step, ahead)) for part in plan.parts(processes)]
        if len(parts) == 1:
            yield parts[0]
        else:
            yield (side_by_side(batches) for batches in zip(*parts, strict=True))


@contextlib.contextmanager
def _made_ahead(plan: Plan, first_step: int, ahead: int) -> Iterator[Iterator[ClipBatch]]:
    context = multiprocessing.get_context("spawn")
    batches: multiprocessing.Queue[ClipBatch | str | SightlineError] = context.Queue(ahead)
    process = context.Process(target=_render_into, args=(plan, first_step, batches), daemon=True)
    process.start()

    def receive() -> Iterator[ClipBatch]:
        while True:
            try:
                item = batches.get(timeout=5)
            except queue.Empty:
                if process.is_alive():
                    continue
                raise SightlineError(
                    f"the rendering process ended with code {process.exitcode}",
                    where="training",
                    mend="resume the run",
                ) from None
            if isinstance(item, SightlineError):
                raise item
            if isinstance(item, str):
                raise SightlineError(f"the rendering process failed: {item}", where="training")
            yield item

    try:
        yield receive()
    finally:
        process.terminate()
        process.join()
        batches.close()
        batches.cancel_join_thread()


def _render_into(
    plan: Plan, first_step: int, batches: multiprocessing.Queue[ClipBatch | str | SightlineError]
) -> None:
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    try:
        for batch in plan.batches(first_step):
            while True:
                with contextlib.suppress(queue.Full):
                    batches.put(batch, timeout=2)
                    break
                if parent is None or not parent.is_alive():  # killed without a chance to end us
                    batches.cancel_join_thread()
                    return
    except SightlineError as error:
        batches.put(SightlineError(error.what, where=error.where, mend=error.mend))
    except Exception:
        batches.put(traceback.format_exc().strip().replace("\n", " | "))
