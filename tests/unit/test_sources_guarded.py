"""Streams that came in through the API: judged again where they are dialled, on every way that FFmpeg goes."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from streamer.errors import SourceCode
from streamer.sources.address import parse_address
from streamer.sources.guarded import guarded
from streamer.sources.outbound import way_out
from tests.fakes.clips import write_clip
from tests.fakes.sources import Spec, failure_of, play

OPENED = ("127.0.0.1",)  # what the YAML's author opened; 127.0.0.2 is another door of the same machine


class Site:
    """A web server that remembers what it was asked for and sends some askers elsewhere."""

    def __init__(self, folder: Path, host: str) -> None:
        self.asked: list[str] = []
        self.elsewhere: dict[str, str] = {}
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def do_GET(self) -> None:
                site.asked.append(self.path)
                if target := site.elsewhere.get(self.path):
                    self.send_response(302)
                    self.send_header("Location", target)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                super().do_GET()

            def log_message(self, *_: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self.server.server_port}"


@contextlib.contextmanager
def serving(folder: Path, host: str = "127.0.0.1", secure: ssl.SSLContext | None = None) -> Iterator[Site]:
    site = Site(folder, host)
    if secure is not None:
        site.server.socket = secure.wrap_socket(site.server.socket, server_side=True)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        thread.join()
        site.server.server_close()


@pytest.fixture(autouse=True)
def no_bypass(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "http_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_an_opened_host_plays_and_a_guarded_one_is_never_asked(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 12)
    with serving(tmp_path) as site:
        assert len(play(Spec(f"{site.url}/a.mp4", guard=OPENED))) == 12
        asked = len(site.asked)
        error = failure_of(Spec(f"{site.url}/a.mp4", guard=()))
        assert error.code is SourceCode.REFUSED and "not admitted" in str(error)
        assert len(site.asked) == asked
        assert len(play(Spec(f"{site.url}/a.mp4"))) == 12  # one of the YAML may go anywhere


def test_a_redirect_to_a_guarded_host_is_not_followed(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 12)
    with serving(tmp_path) as site, serving(tmp_path, "127.0.0.2") as inner:
        site.elsewhere["/here"] = f"{site.url}/a.mp4"
        site.elsewhere["/there"] = f"{inner.url}/a.mp4"
        assert len(play(Spec(f"{site.url}/here", guard=OPENED))) == 12
        failure_of(Spec(f"{site.url}/there", guard=OPENED))
        assert inner.asked == []
        assert len(play(Spec(f"{site.url}/there"))) == 12  # so it is the guard that stopped it


@pytest.mark.parametrize("guard", [OPENED, None])
def test_a_playlist_leads_only_where_a_stream_may_go(tmp_path: Path, guard: tuple[str, ...] | None) -> None:
    write_clip(tmp_path / "a.ts", 12)
    with serving(tmp_path) as site, serving(tmp_path, "127.0.0.2") as inner:
        for name, place in (("own", site.url), ("foreign", inner.url)):
            lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:0.5,", f"{place}/a.ts", "#EXT-X-ENDLIST")
            (tmp_path / f"{name}.m3u8").write_text("\n".join(lines))
        assert len(play(Spec(f"{site.url}/own.m3u8", guard=guard))) == 12
        if guard is None:
            assert len(play(Spec(f"{site.url}/foreign.m3u8"))) == 12
        else:
            failure_of(Spec(f"{site.url}/foreign.m3u8", guard=guard))
        assert bool(inner.asked) == (guard is None)


def test_https_goes_through_the_same_door_with_its_server_name(
    tmp_path: Path, tool: Callable[[str], str]
) -> None:
    write_clip(tmp_path / "a.mp4", 12)
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    argv = [
        tool("openssl"),
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "rsa:2048",
        "-subj",
        "/CN=localhost",
        *files,
    ]
    subprocess.run(argv, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    with serving(tmp_path, secure=context) as site:
        url = f"https://localhost:{urlsplit(site.url).port}/a.mp4"
        assert len(play(Spec(url, guard=("localhost",)))) == 12
        assert "localhost" in names
        asked = len(site.asked)
        assert failure_of(Spec(url, guard=())).code is SourceCode.REFUSED
        assert len(site.asked) == asked


def ask(proxy: str, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", urlsplit(proxy).port or 0), timeout=5) as line:
        line.sendall(request.encode())
        got = b""
        while more := line.recv(4096):
            got += more
        return got


def test_a_name_that_means_another_address_by_now_is_refused_where_it_is_dialled(tmp_path: Path) -> None:
    meant = {"cam.example": ["127.0.0.2"], "two.example": ["10.0.0.7", "169.254.169.254"]}
    proxy = way_out(("127.0.0.2/32", "127.0.0.9"), lambda host: meant.get(host, []))
    with serving(tmp_path, "127.0.0.2") as site:
        (tmp_path / "x").write_text("here")
        port = urlsplit(site.url).port
        request = f"GET http://cam.example:{port}/x?y HTTP/1.1\r\nHost: cam.example\r\n\r\n"
        assert ask(proxy, request).endswith(b"here")
        assert site.asked == ["/x?y"]
        meant["cam.example"] = ["127.0.0.1"]
        assert ask(proxy, request).startswith(b"HTTP/1.1 403")
        assert ask(proxy, f"CONNECT cam.example:{port} HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403")
        assert ask(proxy, f"CONNECT two.example:{port} HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403")
        assert site.asked == ["/x?y"]


@pytest.mark.parametrize(
    "request_", ["GET / HTTP/1.1\r\n\r\n", "nonsense\r\n\r\n", "GET http://[x HTTP/1.1\r\n\r\n"]
)
def test_the_way_out_takes_only_requests_of_a_proxy(request_: str) -> None:
    assert ask(way_out(()), request_).startswith(b"HTTP/1.1 400")


def test_rtsp_is_dialled_at_the_address_that_was_judged_and_keeps_its_password() -> None:
    def dialled(url: str, found: list[str]) -> str:
        return guarded(parse_address(url), found, (), where="stream gate")[0]

    assert (
        dialled("rtsp://u:p%40w@cam.example:8554/a?b=1", ["10.0.0.7"]) == "rtsp://u:p%40w@10.0.0.7:8554/a?b=1"
    )
    assert dialled("rtsp://cam.example/a", ["2001:db8::7"]) == "rtsp://[2001:db8::7]/a"
    assert dialled("rtsps://cam.example/a", ["10.0.0.7"]) == "rtsps://cam.example/a"  # TLS needs the name


def test_a_bypass_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    error = failure_of(Spec("http://10.0.0.7/a.mp4", guard=()))
    assert "no_proxy" in str(error)
