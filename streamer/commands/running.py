"""Where the running server's Redis is, for the commands that talk to it from another terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        help="The server's Redis; default: REDIS_URL, else the one of the data folder.",
        show_default=False,
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        help="The server's data folder; default: SIGHTLINE_DATA, else the usual one.", show_default=False
    ),
]


def running_redis(redis: str | None, data_dir: Path | None) -> str:
    """The URL of a Redis that answers. Raises StoreError, one line, if none does."""
    from streamer.config import default_data_dir
    from streamer.errors import StoreError
    from streamer.sinks.redis_child import socket_path_for
    from streamer.sinks.redis_server import check_redis

    named = redis or os.environ.get("REDIS_URL")
    if named:
        check_redis(named)
        return named
    folder = (data_dir or default_data_dir()).expanduser().absolute()
    url = f"unix://{socket_path_for(folder / 'redis')}"
    try:
        check_redis(url)
    except StoreError:
        raise StoreError(
            "no server runs from this data folder",
            where=str(folder),
            mend="start one (sightline demo), or name its Redis with --redis, its folder with --data-dir",
        ) from None
    return url
