"""Which streams there shall be: one hash in Redis. Workers bring what runs in line with it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
import redis

from streamer.addresses import redact_url
from streamer.config import StreamConfig, stream_config
from streamer.errors import ConfigError, StoreError
from streamer.wire import keys

log = logging.getLogger(__name__)

_CHANGED: Final = orjson.dumps({"op": "streams"})


class DesiredStreams:
    """The hash sl:streams. Every change is announced on sl:control. Every method raises StoreError without Redis."""

    def __init__(self, url: str, *, timeout_s: float = 2.0) -> None:
        self._where = redact_url(url)
        self._client = redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)

    def load(self) -> dict[str, StreamConfig]:
        """All of them by name. One that cannot be read is left out and reported: it must not stop the others."""
        return self._read(keys.STREAMS)

    def _read(self, key: str) -> dict[str, StreamConfig]:
        found: dict[str, StreamConfig] = {}
        for raw_name, raw in self._ask("hgetall", key).items():
            try:
                config = stream_from_json(raw)
            except ConfigError as error:
                log.error("stream %s is left out: %s", raw_name.decode("utf-8", "replace"), error)
                continue
            found[config.name] = config
        return dict(sorted(found.items()))

    def put(self, config: StreamConfig) -> None:
        """Add it, or replace the one of its name."""
        self._ask("hset", keys.STREAMS, config.name, stream_json(config))
        self._announce()

    def delete(self, name: str) -> bool:
        """Remove it; False if there was none."""
        gone = bool(self._ask("hdel", keys.STREAMS, name))
        if gone:
            self._announce()
        return gone

    def seed(self, configs: Iterable[StreamConfig]) -> None:
        """Put those of a configuration file, and take away what an earlier file put and this one does not name.

        Streams that were added at run time stay. So does what was changed of one at run time (its zones, its pause),
        field by field, until the file says something else there.
        """
        filed = {config.name: config for config in configs}
        said_before, now = self._read(keys.FILED), self._read(keys.STREAMS)
        fields = {
            name: stream_json(_with_changes(config, said_before.get(name), now.get(name)))
            for name, config in filed.items()
        }
        earlier = {name.decode() for name in self._ask("smembers", keys.SEEDED)}
        if gone := sorted(earlier - fields.keys()):
            self._ask("hdel", keys.STREAMS, *gone)
            self._ask("srem", keys.SEEDED, *gone)
            self._ask("hdel", keys.FILED, *gone)
        if fields:
            self._ask("sadd", keys.SEEDED, *fields)
            self._ask("hset", keys.FILED, mapping={name: stream_json(said) for name, said in filed.items()})
            self._ask("hset", keys.STREAMS, mapping=fields)
        if gone or fields:
            self._announce()

    def close(self) -> None:
        self._client.close()

    def _announce(self) -> None:
        self._ask("publish", keys.CONTROL, _CHANGED)

    def _ask(self, command: str, *args: Any, **options: Any) -> Any:
        try:
            return getattr(self._client, command)(*args, **options)
        except redis.RedisError as error:
            raise StoreError(
                f"Redis does not answer: {error}", where=self._where, mend="is it running?"
            ) from None


def _with_changes(
    filed: StreamConfig, said_before: StreamConfig | None, now: StreamConfig | None
) -> StreamConfig:
    """What the file says, but for the fields that were changed since it said the same of them last."""
    if said_before is None or now is None:
        return filed
    kept = {
        field: getattr(now, field)
        for field in StreamConfig.model_fields
        if getattr(filed, field) == getattr(said_before, field) != getattr(now, field)
    }
    try:
        return stream_config({**filed.model_dump(), **kept})
    except ConfigError as error:  # a zone drawn at run time has the name of a line that the file now has
        log.warning(
            "stream %s is as the file says, what was changed of it is given up: %s", filed.name, error
        )
        return filed


def stream_json(config: StreamConfig) -> bytes:
    """The configuration as kept in the hash (with its secrets: Redis is where the worker learns them)."""
    return orjson.dumps(config.model_dump(mode="json"))


def stream_from_json(raw: bytes | str) -> StreamConfig:
    """The configuration in one field of the hash. Raises ConfigError."""
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ConfigError("not JSON", where=keys.STREAMS) from None
    if not isinstance(fields, Mapping):
        raise ConfigError("not a JSON object", where=keys.STREAMS)
    return stream_config(fields, where=keys.STREAMS)
