"""Evidence into Redis and out of it again: the newest so many pictures and clips of each stream, for a day.

What is kept stands in two sorted sets (records and clips), so a worker that starts anew trims what the last one left.
A clip outlives the record of the event that it was made for, since other events refer to it. Redis away: nothing is
kept and the caller is told so; a spool for pictures would cost more than they are worth.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import redis

from streamer.clock import Clock
from streamer.sinks.redis_link import Link
from streamer.wire import keys

log = logging.getLogger(__name__)

KEPT_S: Final = 24 * 3600
TIMEOUT_S: Final = 0.5
CLIP_FIELDS: Final = ("clip", "clip_span")
RECORD_FIELDS: Final = ("event", "path", "jpg", "no_jpg", "clip_of", "clip_due", "no_clip", "why")

Fields = Mapping[str, bytes | str]


class EvidenceRedis:
    """One thread's way to Redis. `records` and `clips`: how many of each a stream may have."""

    def __init__(
        self, url: str, clock: Clock, *, records: int, clips: int, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._clock = clock
        self._records, self._clips = records, clips
        self._link = Link(url, clock, lambda: None, timeout_s=timeout_s)

    def open(self) -> None:
        """Connect. Redis may be away."""
        self._link.open()

    def close(self) -> None:
        self._link.close()

    def keep(self, stream: str, event_id: str, fields: Fields) -> bool:
        """Write an event's record and drop what is too much. False if Redis did not take it."""
        return self._write(stream, event_id, fields, keys.evidence_index(stream), self._records)

    def keep_clip(self, stream: str, event_id: str, fields: Fields) -> bool:
        """Write a clip under the event that it was made for."""
        return self._write(stream, event_id, fields, keys.evidence_clips(stream), self._clips)

    def add(self, stream: str, event_id: str, fields: Fields) -> bool:
        """Say more of a record, if it is still there."""

        def say(client: redis.Redis) -> None:
            key = keys.evidence(stream, event_id)
            if client.exists(key):
                client.hset(key, mapping=_mapping(fields))

        return self._try(say)

    def trim(self, stream: str) -> bool:
        """Drop what is too much or too old, without writing anything."""

        def both(client: redis.Redis) -> None:
            for index, most in (
                (keys.evidence_index(stream), self._records),
                (keys.evidence_clips(stream), self._clips),
            ):
                pipe = client.pipeline(transaction=False)
                self._ask_surplus(pipe, index, most)
                self._drop(client, stream, index, pipe.execute()[-1])

        return self._try(both)

    def _write(self, stream: str, event_id: str, fields: Fields, index: str, most: int) -> bool:
        def write(client: redis.Redis) -> None:
            key = keys.evidence(stream, event_id)
            pipe = client.pipeline(transaction=False)
            pipe.hset(key, mapping=_mapping(fields))
            pipe.expire(key, KEPT_S)
            pipe.zadd(index, {event_id: self._clock.wall_ns()})
            pipe.expire(index, KEPT_S)
            self._ask_surplus(pipe, index, most)
            self._drop(client, stream, index, pipe.execute()[-1])

        return self._try(write)

    def _ask_surplus(self, pipe: Any, index: str, most: int) -> None:
        pipe.zremrangebyscore(index, "-inf", self._clock.wall_ns() - KEPT_S * 10**9)
        pipe.zrange(index, 0, -(most + 1))

    def _drop(self, client: redis.Redis, stream: str, index: str, surplus: list[bytes]) -> None:
        if not surplus:
            return
        gone = CLIP_FIELDS if index == keys.evidence_clips(stream) else RECORD_FIELDS
        pipe = client.pipeline(transaction=False)
        for event_id in surplus:
            pipe.hdel(keys.evidence(stream, event_id.decode()), *gone)
        pipe.zrem(index, *surplus)
        pipe.execute()

    def _try(self, call: Any) -> bool:
        if not self._link.up:
            return False
        try:
            call(self._link.client)
        except redis.ResponseError as error:  # out of memory, say
            log.warning("redis refused evidence: %s", error)
            return False
        except redis.RedisError as error:
            self._link.lost(error)
            return False
        return True


def _mapping(fields: Fields) -> dict[Any, Any]:
    # The client's own type wants mappings of everything that it can send, and a mapping's keys are invariant.
    return dict(fields)
