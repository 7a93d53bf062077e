"""One Redis server, up or down: who works with it never waits for one that is away.

The first call that fails marks the link down, and from then on callers are told so at once. A thread of the link tries
again with capped back-off; once the server answers, `on_up` brings what was held back before the link counts as well.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamer.addresses import redact_url
from streamer.clock import Clock

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0


def connect(url: str, *, timeout_s: float, **options: Any) -> redis.Redis:
    """A client (answers in bytes) whose calls fail within about `timeout_s` and are never tried twice in secret."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


class Link:
    """The state of one connection. `client` may be used from any thread; report each RedisError with `lost`."""

    def __init__(self, url: str, clock: Clock, on_up: Callable[[], None], *, timeout_s: float) -> None:
        self.client = connect(url, timeout_s=timeout_s)
        self._where = redact_url(url)
        self._clock = clock
        self._on_up = on_up
        self._up = False
        self._settled = False  # up, and on_up has brought all that was held back
        self._closed = threading.Event()
        self._work = threading.Event()
        self._thread: threading.Thread | None = None
        self.losses = 0
        self.reason = "not connected yet"

    @property
    def up(self) -> bool:
        """Whether the last word of the server was a good one."""
        return self._up

    def open(self) -> None:
        """Ask once, here, so that a server that is there is up at once; the rest is the thread's."""
        self._try()
        self._work.set()
        self._thread = threading.Thread(target=self._run, name="redis link", daemon=True)
        self._thread.start()

    def lost(self, error: Exception) -> None:
        """The server failed just now: nobody asks it before the link's own thread had an answer."""
        if self._up:
            self.losses += 1
            log.warning("redis %s is away: %s", self._where, error)
        self.reason = str(error)
        self._up = self._settled = False
        self._work.set()

    def recheck(self) -> None:
        """Something is held back again although the link is up: have `on_up` called."""
        self._settled = False
        self._work.set()

    def close(self) -> None:
        """End the thread and the connections; no callback runs after this returned."""
        self._closed.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join()
        self._up = False
        self.client.close()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            self._work.wait()
            self._work.clear()
            while not (self._settled or self._closed.is_set()):
                if self._try():
                    pause_s = _FIRST_PAUSE_S
                    continue
                # Half of it by chance, so that many workers do not come back in step.
                self._clock.wait(self._closed, pause_s * random.uniform(0.5, 1.0))
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
            if self._closed.is_set():
                return

    def _try(self) -> bool:
        """Whether the server is there and took what was held back."""
        was_up = self._up
        try:
            if not was_up:
                self.client.ping()
                self._up = True
            self._settled = True  # before the work: what is held back during it asks for another round
            self._on_up()
        except redis.RedisError as error:
            self.lost(error)
            return False
        except Exception as error:  # the disk, say: this thread must live, or the link never comes back
            log.exception("what was held back for redis %s could not be brought", self._where)
            self.lost(error)
            return False
        if not was_up and self.losses:
            log.info("redis %s is back", self._where)
        return True
