"""A training process of its own: the C library's allocator told what training does, and one thread for torch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def keep_freed_memory() -> None:
    """Tells glibc to keep what it freed: training frees and asks for the same large blocks in every step.

    Without it each block is mapped and cleared anew, about a quarter of a step's time. Other C libraries ignore it.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h's names for mallopt's first argument
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 << 20)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch in this process, and memory that stays: see `engines.training.team`."""
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
