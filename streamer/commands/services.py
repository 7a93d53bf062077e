"""The three parts of a server as the supervisor's services: how each is started, and when it is ready."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from streamer.clock import Clock
from streamer.commands.web_wishes import WEB_WISHES, web_wishes
from streamer.config import Config, StreamConfig
from streamer.errors import SightlineError
from streamer.process import ChildProcess, Heart

if TYPE_CHECKING:
    from streamer.commands.steps import Steps
    from streamer.sinks.redis_server import EmbeddedRedis

# -P: the folder that the server is started in is no place to import from.
COMMAND: Final = (sys.executable, "-P", "-m", "streamer.cli")
# A worker beats once a second. A busy machine may hold it back for a few; nothing good lasts this long.
WORKER_PATIENCE_S: Final = 15.0
ASK_WEB_S: Final = 1.0


class RedisService:
    """Our own Redis. What the file wishes is put into it once, at its first start."""

    name = "redis"

    def __init__(self, server: EmbeddedRedis, streams: Iterable[StreamConfig], steps: Steps) -> None:
        self._server, self._streams, self._steps = server, list(streams), steps
        self._seeded = False

    @property
    def hint(self) -> str:
        """The command with which a person looks inside."""
        return self._server.hint

    def start(self) -> None:
        if self._seeded:
            self._server.restart()
            return
        self._steps.say("Redis")
        self._server.start()
        seed(self._server.url, self._streams)
        self._seeded = True

    def alive(self) -> bool:
        return self._server.alive()

    def ready(self) -> bool:
        return self._server.alive()

    def stalled(self) -> bool:
        return False

    def ending(self) -> str:
        return f"it ended; {self._server.log_path} says why"

    def stop(self, deadline_s: float) -> bool:
        began_s = time.monotonic()
        self._server.stop(deadline_s=deadline_s)
        return time.monotonic() - began_s <= deadline_s

    def kill(self) -> None:
        self._server.stop(deadline_s=0.0)


class ToldChild(ChildProcess):
    """A child process whose first start is told as a step."""

    steps: Steps | None = None

    def start(self) -> None:
        if self.steps is not None:
            self.steps.say(self.name)
            self.steps = None
        super().start()


def seed(url: str, streams: Iterable[StreamConfig]) -> None:
    """Put the wished-for streams where the worker looks."""
    from streamer.desired import DesiredStreams

    desired = DesiredStreams(url)
    try:
        desired.seed(streams)
    finally:
        desired.close()


def redis_service(config: Config, steps: Steps) -> tuple[RedisService | None, str]:
    """(our own Redis, its URL), or (None, URL) of the one that is named, which must answer. Raises StoreError."""
    from streamer.sinks.redis_server import EmbeddedRedis, check_redis

    named = config.redis_url or os.environ.get("REDIS_URL")
    if named:
        check_redis(named)
        seed(named, config.streams)
        return None, named
    server = EmbeddedRedis(config.data_dir)
    return RedisService(server, config.streams, steps), server.url


def worker_service(
    config: Config, precision: str, url: str, environ: Mapping[str, str], clock: Clock, steps: Steps
) -> ChildProcess:
    """The process that decodes, infers and publishes; ready when it beats, stalled when it no longer does."""
    from streamer.client import Client

    client = Client(url)

    def field(name: str) -> int | None:
        try:
            value = client.worker().get(name)
        except SightlineError:
            return None
        return int(value) if value else None

    argv = [
        *(*COMMAND, "worker"),
        *("--backend", config.backend),
        *("--precision", precision),
        *("--max-batch-size", str(config.max_batch_size)),
        *(("--lanes", str(config.lanes)) if config.lanes else ()),
        *(("--threads", str(config.threads)) if config.threads else ()),
        *("--max-queue-delay-ms", str(config.max_queue_delay_ms)),
        *("--results-maxlen", str(config.results_maxlen)),
        *("--events-maxlen", str(config.events_maxlen)),
        *("--drain-deadline-s", str(config.drain_deadline_s)),
        "--why" if config.evidence.why else "--no-why",
        *("--evidence-pictures", str(config.evidence.pictures)),
        *("--evidence-clips", str(config.evidence.clips)),
    ]
    heart = Heart(lambda: field("heartbeat_wall_ns"), clock, patience_s=WORKER_PATIENCE_S)
    child = ToldChild("worker", argv, ready=lambda pid: field("pid") == pid, heart=heart, environ=environ)
    child.steps = steps
    return child


def web_service(config: Config, environ: Mapping[str, str], clock: Clock, steps: Steps) -> ChildProcess:
    """The process that serves the page and the API; ready when its page is there."""
    argv = [*COMMAND, "web", "--host", config.host, "--port", str(config.port)]
    if config.media_root is not None:
        argv += ["--media-root", str(config.media_root)]
    environ = {**environ, WEB_WISHES: web_wishes(config)}
    if config.token is not None:
        environ["SIGHTLINE_TOKEN"] = config.token.get_secret_value()
    child = ToldChild("web", argv, ready=lambda pid: page_is_up(config.host, config.port), environ=environ)
    child.steps = steps
    return child


def page_is_up(host: str, port: int) -> bool:
    """Whether a server of ours on that port says that its page is there (the API answers seconds before)."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host).strip("[]")
    connection = http.client.HTTPConnection(host, port, timeout=ASK_WEB_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status == 200 and json.loads(answer.read()).get("viewer") == "ready"
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
