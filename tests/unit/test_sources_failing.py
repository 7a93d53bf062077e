"""What a user is told when a source fails, in one line and without secrets; and that nothing hangs."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import SourceCode, SourceError
from streamer.sources.interrupt import install
from tests.fakes.clips import bar_index, write_clip
from tests.fakes.sources import Spec, failure_of, play, source_of

# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("text.mp4", b"this is no video, " * 99, SourceCode.INVALID),
        ("empty.mp4", b"", SourceCode.INVALID),
        ("missing.mp4", None, SourceCode.NOT_FOUND),
        (
            "tone.wav",
            b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0data\0\0\0\0",
            SourceCode.INVALID,
        ),
    ],
)
def test_a_file_that_is_no_video(tmp_path: Path, name: str, content: bytes | None, code: SourceCode) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    error = failure_of(Spec(str(tmp_path / name)))
    assert (error.code, error.retryable) == (code, False)
    assert str(error).startswith(f"stream gate: {tmp_path / name}: ")


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    assert failure_of(Spec(str(tmp_path))).code is SourceCode.INVALID


@pytest.mark.parametrize(
    "url", ["gopher://x/y", "rtmp://host/live", "", "rtsp://", "rtsp://h:99999/x", "device:x"]
)
def test_a_bad_url_names_the_good_ones(url: str) -> None:
    error = failure_of(Spec(url))
    assert (error.code, error.retryable) == (SourceCode.INVALID, False)
    assert error.mend


def test_a_refused_connection_and_a_host_that_is_not() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = failure_of(Spec(f"rtsp://user:hunter2@127.0.0.1:{port}/x?token=hunter2"))
    assert (error.code, error.retryable) == (SourceCode.REFUSED, True)
    assert "hunter2" not in str(error)
    assert failure_of(Spec("rtsp://nowhere.invalid/x")).code is SourceCode.NOT_FOUND


@contextlib.contextmanager
def http_server(status: int, body: bytes = b"") -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, SourceCode.AUTH_FAILED),
        (403, SourceCode.AUTH_FAILED),
        (404, SourceCode.NOT_FOUND),
        (400, SourceCode.INVALID),
        (503, SourceCode.LOST),
    ],
)
def test_http_statuses(status: int, code: SourceCode) -> None:
    with http_server(status) as port:
        error = failure_of(Spec(f"http://me:hunter2@127.0.0.1:{port}/a.mp4"))
    assert error.code is code
    assert error.retryable is (code is not SourceCode.AUTH_FAILED)
    assert "hunter2" not in str(error)


def test_a_file_over_http(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.ts", 12).read_bytes()
    with http_server(200, clip) as port:
        frames = play(Spec(f"http://127.0.0.1:{port}/a.ts"))
    assert [bar_index(f.image) for f in frames] == list(range(12))


# ---------------------------------------------------------------------------------------------------- hanging


@contextlib.contextmanager
def mute_server(first_words: bytes = b"") -> Iterator[tuple[int, threading.Event]]:
    """Accepts, says `first_words`, and then nothing; the event is set when somebody has connected."""
    came, over = threading.Event(), threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.sendall(first_words)
            came.set()
            over.wait(30)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], came
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("scheme", ["rtsp", "http", "https"])
def test_a_server_that_says_nothing_is_left_at_the_deadline(scheme: str) -> None:
    with mute_server() as (port, came):
        began = time.monotonic()
        error = failure_of(Spec(f"{scheme}://127.0.0.1:{port}/x", open_timeout_s=0.4))
        took = time.monotonic() - began
        assert came.is_set()
    assert error.code is SourceCode.TIMEOUT
    assert 0.3 < took < 2.0


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_close_gets_a_hanging_open_out(scheme: str) -> None:
    with mute_server() as (port, came):
        source = source_of(Spec(f"{scheme}://127.0.0.1:{port}/x", open_timeout_s=60))
        errors: list[SourceError] = []

        def opening() -> None:
            try:
                source.open()
            except SourceError as error:
                errors.append(error)

        thread = threading.Thread(target=opening)
        thread.start()
        assert came.wait(5)
        began = time.monotonic()
        source.close()
        thread.join(5)
        assert not thread.is_alive()
        assert time.monotonic() - began < 5, "the deadline is a minute away"
    assert "closed" in str(errors[0])


def stalling_clip(tmp_path: Path) -> bytes:
    """An HTTP answer that promises a long TS file and stops in the middle of it."""
    clip = write_clip(tmp_path / "a.ts", 25).read_bytes()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nContent-Length: {len(clip) * 1000}\r\n\r\n"
    return head.encode() + clip * 12


def test_a_stream_that_falls_silent_is_left_at_the_deadline(tmp_path: Path) -> None:
    with mute_server(stalling_clip(tmp_path)) as (port, _):
        source = source_of(Spec(f"http://127.0.0.1:{port}/a.ts", read_timeout_s=0.5))
        source.open()
        seen = 0
        with pytest.raises(SourceError) as caught:
            for _ in source.frames():
                seen += 1
    assert seen > 100
    assert caught.value.code is SourceCode.TIMEOUT


def test_close_gets_a_hanging_read_out(tmp_path: Path) -> None:
    with mute_server(stalling_clip(tmp_path)) as (port, _):
        source = source_of(Spec(f"http://127.0.0.1:{port}/a.ts", read_timeout_s=60))
        source.open()
        last_ns = time.monotonic_ns()
        ended = threading.Event()

        def reading() -> None:
            nonlocal last_ns
            for _ in source.frames():
                last_ns = time.monotonic_ns()
            ended.set()

        thread = threading.Thread(target=reading)
        thread.start()
        # Silent for 0.3 s: the reader is inside FFmpeg, waiting for bytes that never come.
        deadline = time.monotonic() + 30
        while time.monotonic_ns() - last_ns < 0.3e9:
            assert time.monotonic() < deadline
            ended.wait(0.02)  # a spinning test would keep the interpreter from the reader
        began = time.monotonic()
        source.close()
        assert ended.wait(5)
        assert time.monotonic() - began < 5, "the deadline is a minute away"
        thread.join()


def test_closing_between_two_pictures_and_twice(tmp_path: Path) -> None:
    source = source_of(Spec(str(write_clip(tmp_path / "a.mp4")), loop=True))
    source.open()
    frames = source.frames()
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []
    with pytest.raises(SourceError, match="closed"):
        source.open()


def test_the_seam_in_pyav_is_where_it_was() -> None:
    """Without it a close would have to wait for the deadline; see streamer/sources/interrupt.py."""
    assert install()
