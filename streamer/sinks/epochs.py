"""The newest epoch of each stream as this machine knows it, so that an outage never gives a number out twice."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from streamer.errors import StoreError

log = logging.getLogger(__name__)


class LocalEpochs:
    """One small JSON file, replaced whole and synced at every change; several processes may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> dict[str, int]:
        """Stream -> newest epoch given out here. A file that cannot be read counts as empty and is reported."""
        try:
            data = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, orjson.JSONDecodeError) as error:
            log.error("epochs in %s cannot be read: %s", self._path, error)
            return {}
        items: Mapping[object, object] = data if isinstance(data, dict) else {}
        return {name: n for name, n in items.items() if isinstance(name, str) and type(n) is int}

    def newest(self, stream: str) -> int:
        """The newest epoch of `stream`; 0 if there was none."""
        return self.all().get(stream, 0)

    def next(self, stream: str) -> int:
        """One more than the newest, already written down."""
        return self._raise_to(stream, None)

    def keep(self, stream: str, epoch: int) -> None:
        """Write down that `epoch` was given out (elsewhere)."""
        self._raise_to(stream, epoch)

    def _raise_to(self, stream: str, epoch: int | None) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                kept = self.all()
                now = kept.get(stream, 0)
                then = now + 1 if epoch is None else max(now, epoch)
                if then != now:
                    self._replace({**kept, stream: then})
                return then
            finally:
                os.close(lock)
        except OSError as error:
            raise StoreError(
                f"the epoch of {stream} cannot be written down: {(error.strerror or str(error)).lower()}",
                where=str(self._path),
                mend="free some space, or give another folder with --data-dir or SIGHTLINE_DATA",
            ) from None

    def _replace(self, epochs: Mapping[str, int]) -> None:
        beside = self._path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(orjson.dumps(epochs, option=orjson.OPT_SORT_KEYS))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
