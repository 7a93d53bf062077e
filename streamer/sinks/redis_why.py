"""What the worker says of itself and of its answers beside results and events: why, and which models it knows.

Answers to events lie with the event's evidence, the newest KEEP of each stream; answers to people under the question's
own key, for as long as somebody may still wait. A server that is away loses both, and they can be asked again; the
models are said again when it is back.
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

TIMEOUT_S: Final = 0.5
ANSWER_TTL_S: Final = 60
EVENT_TTL_S: Final = 86_400
KEEP: Final = 200  # events of a stream with their attention, 30 kB each

# KEYS: the evidence, the list. ARGV: the answer, the event, seconds to live, how many are kept, its stream's prefix.
_KEEP_WHY: Final = """
redis.call('HSET', KEYS[1], 'why', ARGV[1])
if redis.call('TTL', KEYS[1]) == -1 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
redis.call('LREM', KEYS[2], 0, ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[2])
for _, old in ipairs(redis.call('LRANGE', KEYS[2], ARGV[4], -1)) do
  redis.call('HDEL', ARGV[5] .. old, 'why')
end
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""


class WhyWriter:
    """`streamer.why.Answers` of one worker, on a connection of its own. Never raises, and never waits for long."""

    def __init__(
        self, url: str, clock: Clock, *, models: Mapping[str, bytes] | None = None, keep: int = KEEP
    ) -> None:
        self._models, self._keep = dict(models or {}), keep
        self._link = Link(url, clock, self._bring, timeout_s=TIMEOUT_S)
        self.lost = 0

    def open(self) -> None:
        """Connect, and say the models. Redis may be away."""
        self._link.open()

    def close(self) -> None:
        self._link.close()

    def keep_why(self, stream: str, event: str, data: bytes) -> None:
        """The answer to an event, with its evidence."""
        prefix = keys.evidence(stream, "")
        self._try(
            "EVAL", _KEEP_WHY, 2, keys.evidence(stream, event), keys.whys(stream),
            data, event, EVENT_TTL_S, self._keep, prefix,
        )  # fmt: skip

    def answer_why(self, stream: str, question: str, data: bytes) -> None:
        """The answer to a person's question."""
        self._try("SET", keys.why(stream, question), data, "EX", ANSWER_TTL_S)

    def _try(self, *command: Any) -> None:
        if not self._link.up:
            self.lost += 1
            return
        try:
            self._link.client.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            self.lost += 1
            log.warning("redis refused an answer: %s", error)
        except redis.RedisError as error:
            self.lost += 1
            self._link.lost(error)

    def _bring(self) -> None:
        pipe = self._link.client.pipeline(transaction=True)
        pipe.delete(keys.MODELS)
        if self._models:
            pipe.hset(keys.MODELS, mapping=dict[Any, Any](self._models))
        pipe.execute()
