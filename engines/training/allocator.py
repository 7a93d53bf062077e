"""The C library's allocator, told what training does."""

from __future__ import annotations

import ctypes


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
