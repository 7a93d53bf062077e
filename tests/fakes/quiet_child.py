"""A child of a build that tells how it is scheduled and how many threads it may start, and is never done."""

from __future__ import annotations

import os
import sys
import threading

from engines.build.child import Say, speak


def build(say: Say) -> None:
    idle = os.sched_getscheduler(0) == os.SCHED_IDLE
    say(f"idle {idle}, threads {os.environ.get('OMP_NUM_THREADS')}")
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(speak(build))
