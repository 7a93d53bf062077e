"""A bounded queue between two threads that can be closed and that counts what went through it.

What happens when it is full is the caller's choice, made once: a file blocks (each frame is analysed), a live source
drops its oldest (latency stays bounded), a viewer keeps only the newest. Nothing is dropped without a word: each item
that will never come out is reported with its reason, outside the lock, on the thread that caused it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from streamer.errors import Closed

T = TypeVar("T")


class Overflow(StrEnum):
    """What `put` does when the channel is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    NEWEST = "newest"  # a put replaces all that waits


class DropReason(StrEnum):
    """Why an item never came out."""

    OVERFLOW = "overflow"
    SUPERSEDED = "superseded"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Counts at one moment; `put == got + dropped + waiting` always holds."""

    put: int
    got: int
    dropped: int
    waiting: int
    most_waiting: int
    capacity: int
    closed: bool


class Channel(Generic[T]):
    """A queue of at most `capacity` items; any number of threads on either side.

    `on_drop(item, reason)` hears of each item that is thrown away; `on_put()` of each that was put in. Both are called
    without the lock held, so they may use other locks.
    """

    def __init__(
        self,
        capacity: int,
        overflow: Overflow = Overflow.BLOCK,
        *,
        on_drop: Callable[[T, DropReason], None] | None = None,
        on_put: Callable[[], None] | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity} is less than one item")
        self._capacity = capacity
        self._overflow = overflow
        self._on_drop = on_drop
        self._on_put = on_put
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._has_room = threading.Condition(self._lock)
        self._has_items = threading.Condition(self._lock)
        self._closed = False
        self._put = self._got = self._dropped = self._most_waiting = 0

    def put(self, item: T) -> None:
        """Put one item in, waiting for room only where the policy is `block`; raises Closed."""
        dropped: list[T] = []
        with self._lock:
            if self._overflow is Overflow.BLOCK:
                while len(self._items) >= self._capacity and not self._closed:
                    self._has_room.wait()
            if self._closed:
                raise Closed
            if self._overflow is Overflow.NEWEST:
                dropped.extend(self._items)
                self._items.clear()
            elif len(self._items) >= self._capacity:
                dropped.append(self._items.popleft())
            self._items.append(item)
            self._put += 1
            self._dropped += len(dropped)
            self._most_waiting = max(self._most_waiting, len(self._items))
            self._has_items.notify()
        newest = self._overflow is Overflow.NEWEST
        self._report(dropped, DropReason.SUPERSEDED if newest else DropReason.OVERFLOW)
        if self._on_put is not None:
            self._on_put()

    def get(self, timeout_s: float | None = None) -> T:
        """The oldest item, waiting for one; raises Closed once closed and empty, TimeoutError after `timeout_s`."""
        return self.get_many(1, timeout_s)[0]

    def get_many(self, limit: int, timeout_s: float | None = None) -> list[T]:
        """Wait for one item, then take up to `limit` of those there, oldest first. Raises as `get` does."""
        with self._lock:
            if not self._has_items.wait_for(lambda: self._items or self._closed, timeout_s):
                raise TimeoutError
            if not self._items:
                raise Closed
            return self._take(limit)

    def take(self) -> T | None:
        """The oldest item if there is one, without waiting."""
        with self._lock:
            return self._take(1)[0] if self._items else None

    def peek(self) -> T | None:
        """The oldest item if there is one, left where it is."""
        with self._lock:
            return self._items[0] if self._items else None

    def close(self, *, discard: bool = False) -> None:
        """No more comes in. What waits can still be got, unless `discard`: then it is dropped with `closed`."""
        left: list[T] = []
        with self._lock:
            self._closed = True
            if discard:
                left.extend(self._items)
                self._items.clear()
                self._dropped += len(left)
            self._has_room.notify_all()
            self._has_items.notify_all()
        self._report(left, DropReason.CLOSED)

    @property
    def closed(self) -> bool:
        return self._closed

    def __len__(self) -> int:
        return len(self._items)

    def stats(self) -> ChannelStats:
        """The counts as they are now, frozen."""
        with self._lock:
            return ChannelStats(
                put=self._put,
                got=self._got,
                dropped=self._dropped,
                waiting=len(self._items),
                most_waiting=self._most_waiting,
                capacity=self._capacity,
                closed=self._closed,
            )

    def _take(self, limit: int) -> list[T]:
        taken = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
        self._got += len(taken)
        self._has_room.notify(len(taken))
        return taken

    def _report(self, dropped: list[T], reason: DropReason) -> None:
        if self._on_drop is not None:
            for item in dropped:
                self._on_drop(item, reason)
