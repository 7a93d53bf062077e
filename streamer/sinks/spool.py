"""Records kept on disk while they cannot be sent: in order, bounded, and still there after kill -9.

Append-only segments of lines `<crc32 hex> <record>`; an append is on the disk when it returns. A line torn by a
crash is passed over and counted. What was read is given up only by `drop`, so a crash in between reads it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from streamer.errors import StoreError

log = logging.getLogger(__name__)

_LOCK_WAIT_S: Final = 5.0
_POLL_S: Final = 0.005


class Spool:
    """A queue of records (bytes without newlines) in `folder`, for one process. Safe from any thread."""

    def __init__(self, folder: Path, *, max_bytes: int = 64 << 20, segment_bytes: int = 1 << 20) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._writing: int | None = None  # descriptor of the newest segment
        self._pending = 0
        self._peeked: list[tuple[int, int]] = []  # segment and end of each record that `peek` gave
        self.refused = 0
        self.torn = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _locked(folder)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StoreError(
                f"the spool cannot be opened: {reason}",
                where=str(folder),
                mend="give another folder with --data-dir or SIGHTLINE_DATA",
            ) from None
        self._segments = sorted(int(path.stem) for path in folder.glob("*.seg"))
        # Torn ends are never written behind: what comes now goes to a new segment.
        self._next_segment = self._segments[-1] + 1 if self._segments else 1
        self._offset = self._kept_offset()
        self._sizes = {number: self._path(number).stat().st_size for number in self._segments}
        self._pending = self._count()

    def __len__(self) -> int:
        """Records not yet dropped."""
        return self._pending

    @property
    def size_bytes(self) -> int:
        """What the records take on the disk."""
        return max(0, sum(self._sizes.values()) - self._offset)

    def append(self, records: Sequence[bytes]) -> int:
        """Put them behind the others and on the disk; returns how many were taken, from the front.

        The others did not fit (or the disk failed) and are counted in `refused`.
        """
        lines = [b"%08x %s\n" % (zlib.crc32(record), record) for record in records]
        with self._lock:
            taken, size = 0, self.size_bytes
            for line in lines:
                if size + len(line) > self._max_bytes:
                    break
                size += len(line)
                taken += 1
            try:
                if taken:
                    self._write(b"".join(lines[:taken]))
            except OSError as error:
                log.error("the spool in %s cannot be written: %s", self._folder, error.strerror)
                taken = 0
            self._pending += taken
            self.refused += len(lines) - taken
            return taken

    def peek(self, limit: int = 256) -> list[bytes]:
        """The oldest records, at most `limit`; they stay until `drop`."""
        with self._lock:
            found: list[bytes] = []
            self._peeked = []
            for number in self._segments:
                start = self._offset if number == self._segments[0] else 0
                with self._path(number).open("rb") as file:
                    file.seek(start)
                    for line in file:
                        if len(found) == limit:
                            return found
                        start += len(line)
                        record = _record(line)
                        if record is not None:
                            found.append(record)
                            self._peeked.append((number, start))
            return found

    def drop(self, count: int) -> None:
        """Give up the first `count` records that `peek` gave last."""
        with self._lock:
            if count <= 0:
                return
            number, end = self._peeked[count - 1]
            self._peeked = self._peeked[count:]
            self._pending -= count
            if self._pending == 0:
                self._forget(self._segments[-1] + 1)
                return
            self._forget(number)
            self._offset = end
            self._keep_offset()

    def close(self) -> None:
        """Let go of the folder; what is in it stays."""
        with self._lock:
            self._close_segment()
            if self._lock_fd is not None:
                os.close(self._lock_fd)
                self._lock_fd = None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.seg"

    def _write(self, data: bytes) -> None:
        if self._writing is not None and self._sizes[self._segments[-1]] >= self._segment_bytes:
            self._close_segment()
        if self._writing is None:
            number = self._next_segment
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._writing = os.open(self._path(number), flags, 0o600)
            self._next_segment += 1
            self._segments.append(number)
            self._sizes[number] = 0
            _sync_folder(self._folder)
        number = self._segments[-1]
        written = 0
        try:
            while written < len(data):
                written += os.write(self._writing, data[written:])
            os.fsync(self._writing)
        except OSError:
            # Half a batch may be there; what cannot be cut off is torn and will be passed over.
            with contextlib.suppress(OSError):
                os.ftruncate(self._writing, self._sizes[number])
            self._close_segment()
            raise
        self._sizes[number] += len(data)

    def _close_segment(self) -> None:
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def _forget(self, before: int) -> None:
        """Delete the segments below `before`."""
        while self._segments and self._segments[0] < before:
            number = self._segments.pop(0)
            if not self._segments:
                self._close_segment()
            self._path(number).unlink(missing_ok=True)
            del self._sizes[number]
            self._offset = 0
        if not self._segments:
            (self._folder / "position").unlink(missing_ok=True)

    def _kept_offset(self) -> int:
        """Where the reader was in the oldest segment. Not synced: reading twice is harmless, since sending again is."""
        try:
            number, offset = (self._folder / "position").read_text().split()
        except (OSError, ValueError):
            return 0
        at_oldest = bool(self._segments) and number.isdigit() and int(number) == self._segments[0]
        return int(offset) if at_oldest and offset.isdigit() else 0

    def _keep_offset(self) -> None:
        with contextlib.suppress(OSError):
            beside = self._folder / "position.new"
            beside.write_text(f"{self._segments[0]} {self._offset}")
            beside.replace(self._folder / "position")

    def _count(self) -> int:
        count = 0
        for number in self._segments:
            with self._path(number).open("rb") as file:
                file.seek(self._offset if number == self._segments[0] else 0)
                for line in file:
                    good = _record(line) is not None
                    count += good
                    self.torn += not good
        if self.torn:
            log.warning("the spool in %s holds %d torn records, passed over", self._folder, self.torn)
        if count == 0 and self._segments:
            self._forget(self._segments[-1] + 1)
        return count


def _record(line: bytes) -> bytes | None:
    """The record in a line, or None if the line is torn or was changed."""
    if len(line) < 10 or line[-1:] != b"\n" or line[8:9] != b" ":
        return None
    record = line[9:-1]
    return record if line[:8] == b"%08x" % zlib.crc32(record) else None


def _locked(folder: Path) -> int | None:
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            # A worker that was killed may still be going.
            if time.monotonic() > deadline:
                os.close(fd)
                raise StoreError(
                    "another worker uses this spool", where=str(folder), mend="give each its own data folder"
                ) from None
            time.sleep(_POLL_S)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
