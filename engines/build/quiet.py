"""A build that nobody waits for: it takes what time its process's neighbours leave, until somebody waits after all.

The child says so of itself, before it loads anything large: the kernel's idle class, whose threads run only where no
other of the same group wants to, and libraries that start one thread. A process without privileges can't be given its
weight back, so a build that has to be hurried is ended and begun again in the ordinary way.
"""

from __future__ import annotations

import os
from typing import Final

# By environment, since it must be known before the build's libraries read theirs.
ASKED_FOR: Final = "SIGHTLINE_QUIET_BUILD"


def environment() -> dict[str, str]:
    """What a quiet child's environment says beside its parent's."""
    return {ASKED_FOR: "1", "OMP_NUM_THREADS": "1"}


def make_way_if_asked() -> None:
    """In the child: let everybody go first, if its environment asks for it. Threads started later do so as well."""
    if ASKED_FOR not in os.environ:
        return
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)
