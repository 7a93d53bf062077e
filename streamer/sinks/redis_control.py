"""Words to the workers over sl:control, for as long as we run and whatever becomes of the server meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
import redis

from streamer.clock import Clock
from streamer.sinks.redis_link import connect
from streamer.wire import keys

log = logging.getLogger(__name__)

_TURN_S: Final = 0.2  # how often a listener looks whether it shall end
_LONGEST_PAUSE_S: Final = 2.0
# A connection that is silent this long is asked for a sign of life, so that a half-open one is noticed.
_SILENCE_S: Final = 5


class ControlListener:
    """Calls `callback` with each control message, on its own thread.

    Messages sent while the line was down are gone. So after every (re)connect it says {"op": "streams"} itself: what
    matters is read again from where it is kept.
    """

    def __init__(self, url: str, clock: Clock, callback: Callable[[Mapping[str, Any]], None]) -> None:
        self._client = connect(url, timeout_s=2.0, health_check_interval=_SILENCE_S)
        self._clock = clock
        self._callback = callback
        self._closed = threading.Event()
        self.ready = threading.Event()  # set while the subscription stands
        self.connects = 0
        self.unreadable = 0
        self._thread = threading.Thread(target=self._run, name="redis control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No callback after this returned (unless called from one)."""
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._client.close()

    def _run(self) -> None:
        pause_s = 0.05
        while not self._closed.is_set():
            before = self.connects
            try:
                self._listen()
            except (redis.RedisError, OSError) as error:
                log.debug("control line: %s", error)
            self.ready.clear()
            pause_s = 0.05 if self.connects > before else min(_LONGEST_PAUSE_S, pause_s * 2)
            self._clock.wait(self._closed, pause_s)

    def _listen(self) -> None:
        with self._client.pubsub() as line:  # type: ignore[no-untyped-call]
            line.subscribe(keys.CONTROL)
            while not self._closed.is_set():
                message = line.get_message(timeout=_TURN_S)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self.connects += 1
                    self.ready.set()
                    self._tell({"op": "streams"})
                elif message["type"] == "message":
                    self._heard(message["data"])

    def _heard(self, data: bytes) -> None:
        try:
            said = orjson.loads(data)
        except orjson.JSONDecodeError:
            said = None
        if isinstance(said, dict) and isinstance(said.get("op"), str):
            self._tell(said)
        else:
            self.unreadable += 1
            log.warning("a control message that is no JSON object with an op: %.100r", data)

    def _tell(self, said: Mapping[str, Any]) -> None:
        try:
            self._callback(said)
        except Exception:  # the line must outlive whoever listens
            log.exception("control message %s", said)
