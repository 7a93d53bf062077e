"""What a TensorRT build says while it works: phases with percents, and its complaints, as lines.

TensorRT tells phases inside phases, each with its steps, from whatever thread. A build of minutes should say something
every few seconds and not every millisecond, so a line is told when a phase at the root begins, and then when enough
time and enough percent have passed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EVERY_S, EVERY_PERCENT = 2.0, 5


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0
    children: dict[str, float] = field(
        default_factory=dict
    )  # running ones, as shares of one step of this phase

    @property
    def share(self) -> float:
        return min((self.done + max(self.children.values(), default=0.0)) / max(self.steps, 1), 1.0)


class Progress:
    """Phases in, lines out, such as `Building engine 40 %`. May be called from any thread."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._phases: dict[str, _Phase] = {}
        self._said_at, self._said_percent, self._said_phase = -EVERY_S, 0, ""
        self._lock = threading.Lock()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        with self._lock:
            parent = parent_phase if parent_phase in self._phases else None
            self._phases[phase_name] = _Phase(parent, num_steps)
            if parent is None:
                self._tell(phase_name, at_once=True)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """True: go on (False would end the build)."""
        with self._lock:
            if phase := self._phases.get(phase_name):
                phase.done = max(phase.done, step + 1)
                self._tell(self._lift(phase_name))
        return True

    def phase_finish(self, phase_name: str) -> None:
        with self._lock:
            if (phase := self._phases.pop(phase_name, None)) and phase.parent in self._phases:
                self._phases[phase.parent].children.pop(phase_name, None)

    def _lift(self, name: str) -> str:
        """Carry a phase's share up to its parents; the root's name."""
        while (parent := self._phases[name].parent) in self._phases and parent is not None:
            self._phases[parent].children[name] = self._phases[name].share
            name = parent
        return name

    def _tell(self, root: str, *, at_once: bool = False) -> None:
        now, percent = self._clock(), int(self._phases[root].share * 100)
        moved = root != self._said_phase or percent >= self._said_percent + EVERY_PERCENT
        if at_once or (moved and now >= self._said_at + EVERY_S):
            self._said_at, self._said_percent, self._said_phase = now, percent, root
            self._say(f"{root} {percent} %")


class Complaints:
    """The last warnings and errors of a TensorRT logger, to be quoted when something comes back empty."""

    KEPT = 6

    def __init__(self) -> None:
        self._errors: list[str] = []

    def log(self, severity: str, message: str) -> None:
        """Errors are kept, all of both is printed: in a build that is the log."""
        text = " ".join(message.split())
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self._errors = [*self._errors, text][-self.KEPT :]
        if severity in ("ERROR", "INTERNAL_ERROR", "WARNING"):
            print(f"[{severity}] {text}", flush=True)

    def quoted(self) -> str:
        """`: the errors` for the end of a sentence, empty if there were none."""
        return f": {'; '.join(dict.fromkeys(self._errors))}"[:600] if self._errors else ""


def logger_of(trt: Any, complaints: Complaints) -> Any:
    """A logger of this library that complains there. Keep it for as long as anything made with it lives."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            complaints.log(severity.name, msg)

    return Logger()


def monitor_of(trt: Any, progress: Progress) -> Any:
    """A progress monitor of this library that tells `progress`. Keep it until the build is over."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.phase_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step_complete(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.phase_finish(phase_name)

    return Monitor()
