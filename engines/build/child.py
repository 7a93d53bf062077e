"""Both ends of a build in a process of its own: a parser that crashes costs one clear line, not the server.

The child speaks JSON lines on what was its standard output: `{"stage"}` before each step, `{"error", "where", "mend",
"kind"}` at the end of a build that failed. All else that libraries print goes to standard error, the build's log. It
ends when the asking process does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from engines.build import quiet
from streamer.errors import EngineError, ParityError, SightlineError

Say = Callable[[str], None]
LOOK_S = 0.2  # between two looks at whether it is late


def run_child(
    module: str,
    arguments: list[str],
    log_file: Path,
    where: str,
    deadline_s: float,
    say: Say,
    *,
    hurry: threading.Event | None = None,
) -> None:
    """Run `python -m module arguments…` to its end, telling its stages.

    With `hurry` it makes way for everybody else (quiet.py), until that is set, which ends it.

    Raises the error it tells of, or EngineError, one line, if it crashes, is ended, or is not done in `deadline_s`.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    if hurry is not None:
        environment |= quiet.environment()
    stage, ended, done = "starting", "", threading.Event()
    with log_file.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        )

    def watch() -> None:
        nonlocal ended
        until_s = time.monotonic() + deadline_s
        while not ended and not done.wait(LOOK_S):
            if time.monotonic() > until_s:
                ended = f"no end after {deadline_s:.0f} s of"
            elif hurry is not None and hurry.is_set():
                ended = "hurried, and so ended while"
        if ended:
            child.kill()

    threading.Thread(target=watch, name="build-watch", daemon=True).start()
    try:
        assert child.stdout is not None
        for line in child.stdout:
            message = json.loads(line)
            if "error" in message:
                kind = ParityError if message["kind"] == "ParityError" else EngineError
                raise kind(message["error"], where=message["where"] or where, mend=message["mend"])
            stage = message["stage"]
            say(stage)
        code = child.wait()
    finally:
        done.set()
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()
    if ended:
        raise EngineError(f"{ended} {stage}", where=where)
    if code:
        how = f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
        raise EngineError(f"the builder {how} while {stage}{_last_words(log_file)}", where=where)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()[:300]}" if lines else ""


def speak(build: Callable[[Say], None]) -> int:
    """In the child: run `build`, telling its steps and its error to who asked; the exit code."""
    quiet.make_way_if_asked()
    messages = _own_the_output()
    _end_with_parent()

    def tell(message: dict[str, str]) -> None:
        print(json.dumps(message), file=messages, flush=True)

    def fail(kind: str, error: str, where: str = "", mend: str = "") -> int:
        tell({"kind": kind, "error": error, "where": where, "mend": mend})
        return 1

    try:
        build(lambda stage: tell({"stage": stage}))
    except SightlineError as error:
        return fail(type(error).__name__, error.what, error.where, error.mend)
    except Exception as error:
        traceback.print_exc()  # to the log
        return fail("EngineError", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
    return 0


def _own_the_output() -> TextIO:
    """Keep standard output for messages; whatever prints from now on prints to standard error."""
    messages = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return messages


def _end_with_parent() -> None:
    """Leave when the asking process closes our standard input or dies."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
