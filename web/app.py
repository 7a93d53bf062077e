"""The web process as one application: REST, WHEP, probes, metrics and the viewer behind one guard. It knows only
Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.access import TokenConfig
from streamer.clock import Clock, SystemClock
from streamer.errors import StoreError, WireError
from streamer.evidence import EvidenceConfig
from streamer.metrics import LATENCY_BUCKETS_S, Histogram, Number, prometheus_text
from streamer.network import WebRtcConfig
from web import me
from web.api import Surroundings, refusals, router
from web.assets import FOLDER
from web.audience import Audience
from web.changes import said_of_body
from web.evidence import evidence_router
from web.ice import ice_routes
from web.problems import Refused, problem
from web.security import Guard, check_bind
from web.store import Store
from web.viewer import Viewer
from web.views import worker_view
from web.why import why_router

VERSION = "1"


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the web process is told to run. `media_root` None: no files through the API."""

    host: str = "127.0.0.1"
    port: int = 7860
    token: str | None = field(default=None, repr=False)
    media_root: Path | None = None
    tokens: tuple[TokenConfig, ...] = ()
    webrtc: WebRtcConfig = field(default_factory=WebRtcConfig, repr=False)
    secret: str | None = field(default=None, repr=False)  # signs cookies; None: this process' own
    stream_hosts: tuple[str, ...] = ()
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)


class Whep(Protocol):
    """Live video for browsers: the WHEP routes and who watches through them."""

    @property
    def router(self) -> APIRouter: ...

    def viewers(self, stream: str) -> int: ...

    async def aclose(self) -> None: ...


class Pictures(Protocol):
    """Burned-in pictures for players that cannot draw."""

    @property
    def router(self) -> APIRouter: ...

    async def aclose(self) -> None: ...


class Whip(Protocol):
    """Publishing: the WHIP routes and what is counted of them."""

    @property
    def router(self) -> APIRouter: ...

    def families(self) -> list[dict[str, Any]]: ...

    async def aclose(self) -> None: ...


class WebMetrics:
    """What this process counts of itself."""

    def __init__(self) -> None:
        self.requests = Number("sightline_web_requests_total", "Requests answered", "counter", ("status",))
        self.seconds = Histogram("sightline_web_request_seconds", "Time to an answer", LATENCY_BUCKETS_S, ())
        self.viewers = Number("sightline_web_viewers", "Browsers watching", "gauge", ("stream",))

    def text(self) -> str:
        return prometheus_text([family.snapshot() for family in (self.requests, self.seconds, self.viewers)])


def create_app(
    settings: WebSettings,
    store: Store,
    *,
    whep: Whep | None = None,
    whip: Whip | None = None,
    burned: Pictures | None = None,
    audience: Audience | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """The application. `store` and all that serves live as long as it does: they are closed at its end.

    Raises ConfigError if others could reach `settings.host` without a token.
    """
    check_bind(settings.host, settings.token, settings.tokens)
    clock = clock or SystemClock()
    viewer = Viewer()
    stopping = asyncio.Event()
    metrics = WebMetrics()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with viewer.running():
            yield
        stopping.set()
        if whip is not None:
            await whip.aclose()
        if whep is not None:
            await whep.aclose()
        if burned is not None:
            await burned.aclose()
        await store.aclose()

    app = FastAPI(
        title="Sightline",
        version=VERSION,
        description="Streams, results and events of one Sightline server.",
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.stopping = stopping  # set it early and open event feeds end at once
    _refuse_in_words(app)

    def viewers(stream: str) -> int | None:
        return None if whep is None else whep.viewers(stream)

    surroundings = Surroundings(
        store, clock, settings.media_root, viewers, stopping, stream_hosts=settings.stream_hosts
    )
    app.include_router(router(surroundings))
    app.include_router(me.router())
    app.include_router(ice_routes(settings.webrtc))
    app.include_router(evidence_router(store, clock, settings.evidence))
    app.include_router(why_router(store))
    _add_probes(app, store, clock, viewer, metrics, whep, whip, audience)
    if whep is not None:
        app.include_router(whep.router)
    if whip is not None:
        app.include_router(whip.router)
    if burned is not None:
        app.include_router(burned.router)
    app.mount("/ui", StaticFiles(directory=FOLDER), name="ui")
    app.mount("/", viewer)
    app.add_middleware(Counted, metrics=metrics)
    app.add_middleware(
        Guard, token=settings.token, tokens=settings.tokens, secret=settings.secret, clock=clock
    )
    return app


def _add_probes(
    app: FastAPI,
    store: Store,
    clock: Clock,
    viewer: Viewer,
    metrics: WebMetrics,
    whep: Whep | None,
    whip: Whip | None,
    audience: Audience | None,
) -> None:
    @app.get("/healthz", tags=["probes"], summary="This process is alive")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok", "viewer": "ready" if viewer.ready else "starting"}

    @app.get(
        "/readyz",
        tags=["probes"],
        summary="Redis answers and the worker's heartbeat is fresh",
        responses=refusals(s503="not ready, and why"),
    )
    async def readyz() -> dict[str, str]:
        await store.ping()
        worker = worker_view(await store.worker(), clock.wall_ns())
        if not worker.alive:
            age = worker.heartbeat_age_s
            what = (
                "no worker has started yet"
                if age is None
                else f"the worker's last heartbeat is {age:.0f} s old"
            )
            raise Refused(503, what, mend="see the server's log")
        return {"status": "ready"}

    @app.get("/metrics", tags=["probes"], summary="Prometheus text: this process and the worker")
    async def metrics_text() -> Response:
        if whep is not None:
            for config in await store.streams():
                metrics.viewers.set(whep.viewers(config.name) or 0, config.name)
        families = orjson.loads((await store.worker()).get("metrics") or "[]")
        families += [] if whip is None else whip.families()
        families += [] if audience is None else audience.families()
        return Response(metrics.text() + prometheus_text(families), media_type="text/plain; version=0.0.4")


def _refuse_in_words(app: FastAPI) -> None:
    """Every refusal is a problem document; a stack never reaches a user."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return error.response()

    @app.exception_handler(StoreError)
    async def store_lost(_: Request, error: StoreError) -> Response:
        return problem(503, error.what, where=error.where, mend=error.mend)

    @app.exception_handler(WireError)
    async def bad_cursor(_: Request, error: WireError) -> Response:
        return problem(400, error.what, where=error.where, mend=error.mend)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _say_invalid(request.url.path, error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), where=request.url.path)


def _say_invalid(path: str, error: RequestValidationError) -> Response:
    """The first finding in plain words; for a stream the configuration's own, which never repeat the value."""
    first = error.errors()[0]
    if first["loc"][:1] == ("body",) and (said := said_of_body(path, error.body)) is not None:
        return problem(422, said.what, where=said.where, mend=said.mend)
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    return problem(422, str(first["msg"]), where=where)


class Counted:
    """Counts requests and times answers, to the first byte (feeds last for hours)."""

    def __init__(self, app: ASGIApp, *, metrics: WebMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.add(1, str(message["status"]))
                self._metrics.seconds.observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, counted)
