"""How much memory the parts of a server and of a browser hold, part by part.

The proportional size (PSS) counts a page that several processes share once in all; where the kernel does not tell it,
the resident size (RSS) is taken and said to be.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import psutil

from streamer.errors import SightlineError

MIB = 1 << 20
SERVER_PARTS = ("supervisor", "worker", "web", "redis")
Parts = Mapping[str, frozenset[int]]  # name -> process ids


def measure_of(pid: int | None = None) -> str:
    """`pss` where this machine tells it, else `rss`."""
    try:
        _pss_bytes(os.getpid() if pid is None else pid)
    except (OSError, ValueError):
        return "rss"
    return "pss"


def held_mib(pids: Iterable[int], measure: str) -> float:
    """What these processes hold together. Raises psutil.NoSuchProcess where one has ended."""
    return sum(_bytes(pid, measure) for pid in pids) / MIB


def server_parts(supervisor: psutil.Process) -> dict[str, frozenset[int]]:
    """The processes of a server by part; what a part started belongs to it. Raises SightlineError if one lacks."""
    parts = {"supervisor": frozenset({supervisor.pid})}
    for child in supervisor.children():
        try:
            name = part_of(child.cmdline())
            below = child.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
        if name:
            parts[name] = frozenset({child.pid, *(each.pid for each in below)})
    missing = [name for name in SERVER_PARTS if name not in parts]
    if missing:
        raise SightlineError(
            f"the server has no {' and no '.join(missing)}", where="bench wall", mend="look at its log"
        )
    return parts


def part_of(cmdline: list[str]) -> str:
    """Which part of the server a command line starts; empty for none."""
    if cmdline and "redis-server" in cmdline[0]:  # it writes its address behind its name, into the same word
        return "redis"
    after = dict(pairwise(cmdline)).get("streamer.cli", "")
    return after if after in SERVER_PARTS else ""


def same_processes(before: Parts, now: Parts) -> None:
    """Raises SightlineError if a part is not the process that it was: then its memory cannot be compared."""
    for name, pids in before.items():
        if not pids & now.get(name, frozenset()):
            raise SightlineError(
                f"the {name} ended and was started again while it was measured",
                where="bench wall",
                mend="that is a fault of its own: run the server by hand and look at its log",
            )


def _bytes(pid: int, measure: str) -> int:
    try:
        return _pss_bytes(pid) if measure == "pss" else int(psutil.Process(pid).memory_info().rss)
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None


def _pss_bytes(pid: int) -> int:
    """Raises OSError where it cannot be read, ValueError where it is not told."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no Pss")
