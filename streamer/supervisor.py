"""Start the parts in order, keep them up, and end them in reverse order within a deadline.

A part that dies or stalls is started again, alone: the others notice only what they would over a network. A part that
ends before it was ever ready is a mistake that starting again would not mend: then all ends, with a code that says so.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from streamer.clock import Clock
from streamer.errors import SightlineError
from streamer.sources.backoff import Backoff

log = logging.getLogger(__name__)

POLL_S = 0.05
# The first restart is at once: a viewer should hardly notice. One that dies again and again must not eat the machine.
RESTART = Backoff(first_s=0.1, cap_s=10.0)
GOOD_AFTER_S = 30.0


class ExitCode(IntEnum):
    """What the supervisor's end means."""

    STOPPED = 0  # asked to, and all ended in time
    NOT_STARTED = 1  # a part was never ready
    KILLED = 3  # asked to, but a part did not end in time and was killed


class Service(Protocol):
    """One part. All is called from the supervisor's thread; only `start` and `stop` may take time."""

    @property
    def name(self) -> str: ...

    def start(self) -> None:
        """Start it, or start it again; raises SightlineError if that cannot be."""
        ...

    def alive(self) -> bool: ...

    def ready(self) -> bool:
        """Whether it does its work (answers, beats)."""
        ...

    def stalled(self) -> bool:
        """Whether it is alive and has stopped doing its work."""
        ...

    def ending(self) -> str:
        """How it ended, in words."""
        ...

    def stop(self, deadline_s: float) -> bool:
        """End it, by force at the deadline; False if force was needed."""
        ...

    def kill(self) -> None: ...


class Condition(StrEnum):
    """Where a part stands."""

    STARTING = "starting"
    UP = "up"
    WAITING = "waiting"  # to be started again


@dataclass(slots=True)
class _Watch:
    service: Service
    condition: Condition = Condition.STARTING
    since_ns: int = 0
    until_ns: int = 0
    tries: int = 0
    restarts: int = field(default=0)


class Supervisor:
    """Runs services, given in the order in which they need each other. `run` is for one thread."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        clock: Clock,
        drain_deadline_s: float,
        ready_timeout_s: float = 60.0,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._watches = [_Watch(service) for service in services]
        self._clock = clock
        self._drain_deadline_s = drain_deadline_s
        self._ready_timeout_s = ready_timeout_s
        self._on_ready = on_ready

    def run(self, stop: threading.Event) -> ExitCode:
        """Start all, keep all up until `stop` is set, end all. Raises what a first `start` raises, with all ended."""
        started: list[_Watch] = []
        code = ExitCode.STOPPED
        try:
            for watch in self._watches:
                if stop.is_set():
                    break
                started.append(watch)
                if not self._first_start(watch, stop):
                    code = ExitCode.NOT_STARTED
                    return code
            if not stop.is_set():
                self._on_ready()
            while not self._clock.wait(stop, POLL_S):
                for watch in self._watches:
                    self._look(watch)
        finally:
            if not self._end(started) and code is ExitCode.STOPPED:
                code = ExitCode.KILLED
        return code

    @property
    def restarts(self) -> dict[str, int]:
        """How often each service was started again."""
        return {watch.service.name: watch.restarts for watch in self._watches}

    def _first_start(self, watch: _Watch, stop: threading.Event) -> bool:
        """Start and wait for it; False if it ends, or is not ready in time. Stopping meanwhile is no failure."""
        service = watch.service
        service.start()
        began_ns = self._clock.monotonic_ns()
        while not service.ready():
            if self._clock.wait(stop, POLL_S):
                return True
            if not service.alive():
                log.error("%s was never ready: %s", service.name, service.ending())
                return False
            if self._age_s(began_ns) > self._ready_timeout_s:
                log.error("%s was not ready within %.0f s", service.name, self._ready_timeout_s)
                return False
        self._become(watch, Condition.UP)
        return True

    def _look(self, watch: _Watch) -> None:
        """One look at one service: bury, start again, or see that it is well."""
        service = watch.service
        if watch.condition is Condition.WAITING:
            if self._clock.monotonic_ns() >= watch.until_ns:
                self._start_again(watch)
            return
        if not service.alive():
            self._wait_to_restart(watch, service.ending())
        elif watch.condition is Condition.STARTING:
            if service.ready():
                log.info("%s is back", service.name)
                self._become(watch, Condition.UP)
            elif self._age_s(watch.since_ns) > self._ready_timeout_s:
                service.kill()
                self._wait_to_restart(watch, f"it was not ready within {self._ready_timeout_s:.0f} s")
        elif service.stalled():
            service.kill()
            self._wait_to_restart(watch, "its heart stopped, so it was killed")
        elif self._age_s(watch.since_ns) > GOOD_AFTER_S:
            watch.tries = 0

    def _wait_to_restart(self, watch: _Watch, why: str) -> None:
        pause_s = RESTART.delay_s(watch.tries)
        watch.tries += 1
        watch.until_ns = self._clock.monotonic_ns() + int(pause_s * 1e9)
        self._become(watch, Condition.WAITING)
        log.warning("%s is down: %s; it starts again in %.1f s", watch.service.name, why, pause_s)

    def _start_again(self, watch: _Watch) -> None:
        watch.restarts += 1
        try:
            watch.service.start()
        except (SightlineError, OSError) as error:
            self._wait_to_restart(watch, str(error))
        else:
            self._become(watch, Condition.STARTING)

    def _become(self, watch: _Watch, condition: Condition) -> None:
        watch.condition, watch.since_ns = condition, self._clock.monotonic_ns()

    def _end(self, started: Sequence[_Watch]) -> bool:
        """End the services, last first, all within one deadline; True if none had to be killed."""
        until_ns = self._clock.monotonic_ns() + int(self._drain_deadline_s * 1e9)
        clean = True
        for place, watch in zip(range(len(started), 0, -1), reversed(started), strict=True):
            # One that uses all the time there is must not cost the others theirs: each has its share of what is left.
            left_s = max(0.0, (until_ns - self._clock.monotonic_ns()) / 1e9)
            if not watch.service.stop(left_s / place):
                log.warning("%s did not end in time and was killed", watch.service.name)
                clean = False
        return clean

    def _age_s(self, since_ns: int) -> float:
        return (self._clock.monotonic_ns() - since_ns) / 1e9


def stop_on_signals(stop: threading.Event) -> None:
    """SIGINT and SIGTERM set `stop`; a second one is not needed, as the end has a deadline. For the main thread."""

    def asked(number: int, frame: object) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, asked)
