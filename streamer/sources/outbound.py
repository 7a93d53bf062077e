"""The way out for streams that somebody added over the network: every connection is judged where it is made.

FFmpeg follows redirects, HLS playlists name hosts of their own, and a name may mean another address when it is dialled
than when it was judged (DNS rebinding). So for such a stream FFmpeg is told to go through a proxy of ours on a loopback
port. It looks each host up once, judges every address (`streamer.reach`), and dials the very address it judged. TLS
goes through as it is (CONNECT), so server names and certificates stay FFmpeg's own matter.

One proxy serves all streams with the same exemptions, on daemon threads, for as long as the process lives.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import socketserver
import threading
from functools import cache
from urllib.parse import urlsplit

from streamer.errors import ConfigError
from streamer.reach import Resolve, admitted, resolve

log = logging.getLogger(__name__)

DIAL_S = 10.0
SILENT_S = 620.0  # longer than the longest read timeout of a stream, which ends a silent one first
MAX_HEAD_BYTES = 64 * 1024
MAX_AT_ONCE = 128
_CHUNK = 64 * 1024
_REQUEST = re.compile(rb"([A-Z]+) (\S+) (HTTP/1\.[01])\r\n")


@cache
def way_out(exempt: tuple[str, ...], resolve: Resolve = resolve) -> str:
    """`http://127.0.0.1:PORT` of a proxy that dials what `streamer.reach` admits, and what is in `exempt`."""
    server = _Server(exempt, resolve)
    threading.Thread(target=server.serve_forever, name="way out", daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, exempt: tuple[str, ...], resolve: Resolve) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.exempt = exempt
        self.resolve = resolve
        self.room = threading.BoundedSemaphore(MAX_AT_ONCE)

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("a stream's connection failed", exc_info=True)


class _Refusal(Exception):
    """The status line that FFmpeg is answered with."""


class _Connection(socketserver.BaseRequestHandler):
    """One request of FFmpeg, then bytes both ways until either side ends."""

    server: _Server
    request: socket.socket

    def handle(self) -> None:
        if not self.server.room.acquire(blocking=False):
            self._answer("503 Too many connections")
            return
        try:
            self.request.settimeout(DIAL_S)
            try:
                head, rest = self._head()
                upstream, first = self._dial(head)
            except _Refusal as refusal:
                self._answer(str(refusal))
                return
            except OSError:
                self._answer("502 The host does not answer")
                return
            with upstream:
                if first:
                    upstream.sendall(first + rest)
                else:
                    self._answer("200 Connected")
                self._splice(upstream)
        finally:
            self.server.room.release()

    def _head(self) -> tuple[bytes, bytes]:
        """(the request's head with its empty line, what came behind it)."""
        got = b""
        while b"\r\n\r\n" not in got:
            more = self.request.recv(_CHUNK)
            if not more or len(got) > MAX_HEAD_BYTES:
                raise _Refusal("400 No request")
            got += more
        head, _, rest = got.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n", rest

    def _dial(self, head: bytes) -> tuple[socket.socket, bytes]:
        """(the connection, what to send first; nothing for CONNECT)."""
        asked = _REQUEST.match(head)
        if asked is None:
            raise _Refusal("400 No request")
        method, target, version = asked.groups()
        try:
            is_tunnel = method == b"CONNECT"
            parts = urlsplit(f"//{target.decode('ascii')}" if is_tunnel else target.decode("ascii"))
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            raise _Refusal("400 No address") from None
        if not host or (parts.scheme != "http" and not is_tunnel):
            raise _Refusal("400 No address")
        upstream = self._connect(host, port)
        if is_tunnel:
            return upstream, b""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # One request a connection: the next may be for another host, which must be judged as well.
        lines = [line for line in head[asked.end() : -4].split(b"\r\n") if not _is_of_this_hop(line)]
        first = b" ".join((method, path.encode("ascii"), version)) + b"\r\n"
        return upstream, first + b"\r\n".join((*lines, b"Connection: close", b"", b""))

    def _connect(self, host: str, port: int) -> socket.socket:
        try:
            addresses = admitted(host, exempt=self.server.exempt, resolve=self.server.resolve)
        except ConfigError as refusal:
            log.warning("a stream wanted to go to %s: %s", host, refusal.what)
            raise _Refusal("403 This host is not admitted") from None
        failure: OSError = OSError("no address")
        for address in addresses:
            try:
                return socket.create_connection((address, port), timeout=DIAL_S)
            except OSError as error:
                failure = error
        raise failure

    def _splice(self, upstream: socket.socket) -> None:
        self.request.settimeout(SILENT_S)
        upstream.settimeout(SILENT_S)
        back = threading.Thread(target=_copy, args=(self.request, upstream), daemon=True)
        back.start()
        _copy(upstream, self.request)
        back.join()

    def _answer(self, status: str) -> None:
        ending = (
            "\r\n\r\n" if status.startswith("200") else "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            self.request.sendall(f"HTTP/1.1 {status}{ending}".encode("ascii"))


def _is_of_this_hop(line: bytes) -> bool:
    name = line.partition(b":")[0].strip().lower()
    return name in (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive")


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Bytes from one to the other until either ends, which ends both: FFmpeg never closes only half of a connection."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
