"""The application on a port: bound before anything slow is loaded, ended without waiting for feeds that never end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamer.errors import ConfigError

BACKLOG = 256
MAX_CONNECTIONS = 800  # a browser holds about six; beyond them 503, before the process runs out of files
HEAD_WITHIN_S = 15.0
GRACE_S = 2  # for answers that are on their way; feeds and sessions end at once


def bind(host: str, port: int) -> socket.socket:
    """A listening socket (port 0: any free one). Raises ConfigError, one line, if it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise ConfigError(
            f"{host} is no address of this machine", where="host", mend="use 127.0.0.1"
        ) from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        what = f"{host}:{port} cannot be used: {(error.strerror or str(error)).lower()}"
        raise ConfigError(what, where="port", mend="choose another with --port") from None
    listener.setblocking(False)
    return listener


class TimedHead(H11Protocol):
    """uvicorn's protocol, which waits for ever for a request's head, with an end to that (slow loris)."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_between():
            self._forget()  # the head is whole
        elif self._deadline is None:
            self._await_head()  # the next request on a kept connection has begun

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_WITHIN_S, self._overdue)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _overdue(self) -> None:
        self._deadline = None
        if self._is_between():
            self.transport.close()

    def _is_between(self) -> bool:
        """Whether no request is being answered: its head is not whole yet."""
        return self.cycle is None or self.cycle.response_complete


class WebServer(uvicorn.Server):
    """uvicorn, told of the end: open feeds are closed first, so that nobody has to be cut off."""

    def __init__(self, app: FastAPI, *, proxies: Sequence[str] = ()) -> None:
        """`proxies`: whose X-Forwarded-For and -Proto are believed; by default nobody's, as anybody can write them."""
        self._app = app
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            http=TimedHead,
            limit_concurrency=MAX_CONNECTIONS,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.stopping.set()
        await super().shutdown(sockets)
