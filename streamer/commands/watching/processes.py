"""The processes of a measurement: started, asked for a line, and ended, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil

from streamer.errors import SightlineError


class Asked:
    """A process that speaks in lines."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self._name = module
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", f"streamer.commands.watching.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process = psutil.Process(self._child.pid)

    def hear(self, word: str = "") -> list[str]:
        """Its next line, in words, which begins with `word`."""
        assert self._child.stdout is not None
        words = self._child.stdout.readline().split()
        if not words or (word and words[0] != word):
            raise SightlineError(
                f"the {self._name} process ended early", where="bench viewers", mend="see its words above"
            )
        return words

    def ask(self) -> None:
        """Send it an empty line."""
        assert self._child.stdin is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()

    def told(self) -> Any:
        """Its next line, as JSON."""
        return json.loads(" ".join(self.hear()))

    def end(self) -> None:
        """Be rid of it."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def asked(module: str, *arguments: str) -> Iterator[Asked]:
    """A process of this package, READY."""
    child = Asked(module, arguments)
    try:
        yield child
    finally:
        child.end()


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """User and system seconds that these have used so far."""
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))
