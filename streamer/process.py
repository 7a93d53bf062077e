"""A child process that cannot outlive us, asked to end before it is made to.

It gets a session of its own, so a Ctrl-C at the terminal reaches only the supervisor, which ends its children in order;
and so all that the child started can be ended with it. The kernel kills it when the supervisor dies, however that was.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from streamer.clock import Clock

# The child asks for SIGKILL at its parent's death, then becomes the program. A process of its own does that, since
# code between fork and exec is not safe in a parent with threads. The parent may be gone before: then it ends itself.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.execvp(sys.argv[2], sys.argv[2:])
"""


# Beats come once a second, and asking costs a round trip.
ASK_EVERY_S = 0.5


class Heart:
    """Tells a stalled heart from one that cannot be heard. `read` gives the newest beat; None: it cannot be asked.

    Only silence that was listened to counts: while the border that carries the beats is away, nobody is blamed.
    """

    def __init__(self, read: Callable[[], int | None], clock: Clock, *, patience_s: float) -> None:
        self._read, self._clock, self._patience_s = read, clock, patience_s
        self._last: int | None = None
        self._since_ns: int | None = None
        self._asked_ns: int | None = None
        self._still_s = 0.0

    def stalled_s(self) -> float:
        """Seconds for which the newest beat has been the same, as far as that is known."""
        now_ns = self._clock.monotonic_ns()
        if self._asked_ns is None or now_ns - self._asked_ns >= ASK_EVERY_S * 1e9:
            self._asked_ns = now_ns
            self._still_s = self._listen(now_ns)
        return self._still_s

    def _listen(self, now_ns: int) -> float:
        beat = self._read()
        if beat is None or beat != self._last or self._since_ns is None:
            self._last, self._since_ns = beat, now_ns if beat is not None else None
            return 0.0
        return (now_ns - self._since_ns) / 1e9

    def beats(self) -> bool:
        """False once the same beat has been there for longer than `patience_s`."""
        return self.stalled_s() <= self._patience_s

    def reset(self) -> None:
        """A new process: what was heard before does not count."""
        self._last = self._since_ns = self._asked_ns = None


class ChildProcess:
    """A `Service` that is a program. Start it from a thread that lives as long as it: its death kills the child.

    `ready(pid)` says whether it does its work; `heart` (may be None) whether it still does.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        ready: Callable[[int], bool],
        heart: Heart | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._argv = tuple(argv)
        self._ready, self._heart, self._environ = ready, heart, environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it; what is left of an earlier run of it is ended first."""
        self._end_group()
        if self._heart is not None:
            self._heart.reset()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *self._argv],
            env=None if self._environ is None else dict(self._environ),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def ready(self) -> bool:
        return self._process is not None and self.alive() and self._ready(self._process.pid)

    def stalled(self) -> bool:
        return self._heart is not None and not self._heart.beats()

    def ending(self) -> str:
        """How it ended, in words."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return "it runs"
        if code >= 0:
            return f"it ended with code {code}"
        return f"it was killed by {signal.Signals(-code).name}"

    def stop(self, deadline_s: float) -> bool:
        """Ask it to end, kill it at the deadline. False if it had to be killed. Leaves nothing of it behind."""
        if self._process is None:
            return True
        clean = True
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                self._process.wait(max(0.0, deadline_s))
            except subprocess.TimeoutExpired:
                clean = False
        self._end_group()
        return clean

    def kill(self) -> None:
        """End it now: it is stalled, and would not hear a request."""
        self._end_group()

    def _end_group(self) -> None:
        """Kill what is left of its session's process group, and it."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
