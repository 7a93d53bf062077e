"""The application on a port: bound before anything slow is loaded, ended without waiting for feeds that never end."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from streamer.errors import ConfigError

BACKLOG = 256
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


class WebServer(uvicorn.Server):
    """uvicorn, told of the end: open feeds are closed first, so that nobody has to be cut off."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.stopping.set()
        await super().shutdown(sockets)
