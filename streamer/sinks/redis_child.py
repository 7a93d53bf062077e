"""A Redis of our own: a child on a unix socket that cannot outlive us.

It keeps an append-only file under the data folder and opens no TCP port unless asked. A lock on that folder is held by
both of us, so it is free only when both are gone: a second server on the same folder is refused, and one that starts
right after a crash waits for the dying child.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote

import orjson

from streamer.errors import StoreError
from streamer.sinks.redis_binary import RedisBinary, find_redis_server

log = logging.getLogger(__name__)

# sun_path holds 108 bytes on Linux and 104 elsewhere, with the NUL at its end.
_SOCKET_PATH_BYTES: Final = 100
_READY_S: Final = 30.0  # a large append-only file is read before the first answer
_STOP_S: Final = 5.0
_LOCK_WAIT_S: Final = 5.0  # how long the child of a dead owner may take to write down what it holds
_POLL_S: Final = 0.005

# The child asks for SIGTERM at its parent's death, then becomes Redis. A process of its own does that, since code
# between fork and exec is not safe in a parent with threads. It adds 30 ms to the start.
_LAUNCHER: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedRedis:
    """A Redis of our own. `start`, `stop` and `restart` are for one thread; `alive` may be asked from any.

    `port` 0 opens no TCP port; any other opens it on loopback, besides the unix socket.
    """

    def __init__(self, data_dir: Path, *, binary: RedisBinary | None = None, port: int = 0) -> None:
        self.folder = Path(data_dir).expanduser().absolute() / "redis"
        self.socket_path = socket_path_for(self.folder)
        self.log_path = self.folder / "redis.log"
        self._binary = binary
        self._port = port
        self._lock_fd: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()

    @property
    def url(self) -> str:
        """What clients connect to; the same after a restart."""
        return f"unix://{quote(str(self.socket_path))}"

    @property
    def hint(self) -> str:
        """The command with which a person looks inside."""
        return f"redis-cli -s {self.socket_path}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.alive() else None

    def alive(self) -> bool:
        """Whether the child runs. Says nothing about how quickly it answers."""
        return self._process is not None and not self._ended.is_set()

    def start(self) -> None:
        """Start and wait until it answers. Raises StoreError: no program, folder in use, or what its log says."""
        if self.alive():
            return
        binary = self._binary or find_redis_server()
        self._prepare_folders()
        if self._lock_fd is None:
            self._lock_fd = self._locked()
        try:
            self._refuse_newer_files(binary)
            self._spawn(binary)
            self._await_answer(time.monotonic() + _READY_S)
        except BaseException:
            self.stop(deadline_s=1.0)
            raise
        log.info("redis %s ready: %s", ".".join(map(str, binary.version)), self.hint)

    def stop(self, *, deadline_s: float = _STOP_S) -> None:
        """Ask it to write down what it holds and end; kill it at the deadline. Leaves no process, socket or lock."""
        process = self._process
        if process is not None:
            deadline = time.monotonic() + deadline_s
            if self.alive():
                with contextlib.suppress(OSError):
                    if _ask(self.socket_path, b"SHUTDOWN\r\n", timeout_s=deadline_s):
                        process.terminate()  # it answered instead (somebody set a password): the same, as a signal
            if not self._ended.wait(max(0.0, deadline - time.monotonic())):
                log.warning("redis did not stop within %.0f s and is killed", deadline_s)
                process.kill()
                self._ended.wait()
            self._process = None
        self._release()

    def restart(self) -> None:
        """Start again after it died (or stop it first); same folder, same address, nothing kept is lost."""
        self.stop()
        self.start()

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare_folders(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.socket_path.parent != self.folder:
                self.socket_path.parent.mkdir(mode=0o700, exist_ok=True)
                found = self.socket_path.parent.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                    raise StoreError(
                        "belongs to somebody else", where=str(self.socket_path.parent), mend="remove it"
                    )
                self.socket_path.parent.chmod(0o700)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StoreError(
                f"the data folder cannot be made: {reason}",
                where=str(self.folder),
                mend="give another with --data-dir or SIGHTLINE_DATA",
            ) from None

    def _locked(self) -> int:
        """A descriptor that holds the folder's lock. The child inherits it."""
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = _pid_in(self.folder / "lock")
                # An owner that is gone leaves a child that is about to go; one that runs means what it does.
                if time.monotonic() > deadline or (owner is not None and _runs(owner)):
                    os.close(fd)
                    who = f"process {owner}" if owner is not None else "another process"
                    raise StoreError(
                        f"{who} already serves from this data folder",
                        where=str(self.folder),
                        mend="stop it, or give another folder with --data-dir or SIGHTLINE_DATA",
                    ) from None
                time.sleep(_POLL_S)
        os.ftruncate(fd, 0)
        os.pwrite(fd, orjson.dumps({"pid": os.getpid()}), 0)
        return fd

    def _release(self) -> None:
        if self._lock_fd is None:
            return
        with contextlib.suppress(OSError):
            self.socket_path.unlink(missing_ok=True)
            if self.socket_path.parent != self.folder:
                self.socket_path.parent.rmdir()
        os.close(self._lock_fd)
        self._lock_fd = None

    def _refuse_newer_files(self, binary: RedisBinary) -> None:
        # 7.0 keeps the log in a folder of its own, which an older server does not see: it would start empty.
        if binary.version < (7,) and (self.folder / "appendonlydir").is_dir():
            raise StoreError(
                f"the data was written by Redis 7 or later, {binary.path} is "
                f"{'.'.join(map(str, binary.version))}",
                where=str(self.folder),
                mend="install that redis-server again, or move the folder away to start empty",
            )

    def _spawn(self, binary: RedisBinary) -> None:
        options: Mapping[str, str] = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "logfile": self.log_path.name,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            # All streams of ours are capped; what others put in must not push them out.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        words = [str(binary.path), *(word for key, value in options.items() for word in (f"--{key}", value))]
        with contextlib.suppress(OSError):
            if self.log_path.exists() and self.log_path.stat().st_size > 4 << 20:
                os.replace(self.log_path, self.log_path.with_suffix(".log.1"))
        self._ended = threading.Event()
        spawned = threading.Event()
        # Linux sends the death signal when the *thread* that started the child ends: this one ends after the child.
        keeper = threading.Thread(
            target=self._keep, args=(words, spawned, self._ended), name="redis child", daemon=True
        )
        keeper.start()
        spawned.wait()

    def _keep(self, words: Sequence[str], spawned: threading.Event, ended: threading.Event) -> None:
        assert self._lock_fd is not None
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[self._lock_fd],
                start_new_session=True,  # a Ctrl-C at the terminal is ours to handle; the child ends in our order
            )
            self._process = process
            spawned.set()
            process.wait()
        finally:
            ended.set()
            spawned.set()

    def _await_answer(self, deadline: float) -> None:
        answer = b""
        while time.monotonic() < deadline and not self._ended.is_set():
            try:
                answer = _ask(self.socket_path, b"PING\r\n", timeout_s=1.0)
            except OSError:
                answer = b""
            if answer.startswith(b"+PONG"):
                return
            self._ended.wait(_POLL_S)
        what = "ended at once" if self._ended.is_set() else f"did not answer within {_READY_S:.0f} s"
        last = answer.decode("ascii", "replace").strip() or self._last_log_line()
        raise StoreError(
            f"redis-server {what}: {last}" if last else f"redis-server {what}",
            where=str(self.log_path),
            mend="its log says why",
        )

    def _last_log_line(self) -> str:
        try:
            lines = self.log_path.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].partition(" # ")[2] or lines[-1] if lines else ""


def socket_path_for(folder: Path) -> Path:
    """The socket's path: in `folder`, or in a folder of ours under the temporary one where that is too long."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
        return path
    name = f"sightline-{os.getuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    for root in (tempfile.gettempdir(), "/tmp"):
        path = Path(root) / name / "redis.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            return path
    raise StoreError(
        "no folder with a path short enough for a socket", where=str(folder), mend="set TMPDIR=/tmp"
    )


def _ask(path: Path, command: bytes, *, timeout_s: float) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(command)
        return connection.recv(200)


def _pid_in(path: Path) -> int | None:
    try:
        return int(orjson.loads(path.read_bytes())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
