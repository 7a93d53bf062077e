"""Batch sizes that a GPU engine keeps ready: each a CUDA graph with buffers of fixed size.

A GPU does a batch of 5 in hardly more time than one of 4 and in far less than 4 and 1 one after the other, so a batch
runs in the smallest size that holds it, and the rows behind it are not read.
"""

from __future__ import annotations

SIZES = (1, 2, 4, 8, 16, 32)


def buckets_for(max_batch_size: int) -> tuple[int, ...]:
    """Rising sizes up to `max_batch_size`, which is always among them."""
    return (*(size for size in SIZES if size < max_batch_size), max_batch_size)


def bucket_of(batch: int, buckets: tuple[int, ...]) -> int:
    """The smallest that holds `batch` rows; it must be no more than the last."""
    return next(size for size in buckets if size >= batch)
