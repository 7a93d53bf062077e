"""REST under /api/v1: streams, results, events; and the probes. Thin: questions to the store, answers as views."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from streamer.clock import Clock
from streamer.config import MAX_STREAMS, StreamConfig
from streamer.errors import ConfigError
from streamer.types import EventKind
from web.admission import admit, admit_model
from web.changes import StreamChange, changed, refuse_masked
from web.problems import Problem, Refused
from web.sse import sse
from web.store import Store
from web.views import EventList, StreamList, StreamView, stream_view, worker_view

MAX_PAGE = 1000

StreamQuery = Annotated[str | None, Query(description="Of this stream only")]
KindQuery = Annotated[EventKind | Literal[""] | None, Query(description="Of this kind only")]
LabelQuery = Annotated[str | None, Query(description="Of this kind of object only, such as person")]
SinceQuery = Annotated[
    float | None,
    Query(ge=0, allow_inf_nan=False, le=1e10, description="Not before this Unix time, in seconds"),
]
UntilQuery = Annotated[
    float | None,
    Query(ge=0, allow_inf_nan=False, le=1e10, description="Not after this Unix time, in seconds"),
]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the routes work with. `viewers(name)` counts the browsers on a stream, None if nobody can say."""

    store: Store
    clock: Clock
    media_root: Path | None
    viewers: Callable[[str], int | None]
    stopping: asyncio.Event
    stream_hosts: tuple[str, ...] = ()


def refusals(**by_status: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's words for the problems that a route may answer with (`s404="no such stream"`)."""
    return {int(key[1:]): {"model": Problem, "description": text} for key, text in by_status.items()}


def router(world: Surroundings) -> APIRouter:
    """The routes of /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=refusals(s503="Redis cannot be reached"))
    store = world.store

    async def wanted(name: str) -> StreamConfig:
        for config in await store.streams():
            if config.name == name:
                return config
        raise Refused(404, "there is no such stream", where=name, mend="see GET /api/v1/streams")

    async def view(config: StreamConfig, *, worker_alive: bool) -> StreamView:
        return stream_view(
            config,
            await store.state(config.name),
            worker_alive=worker_alive,
            viewers=world.viewers(config.name),
            now_ns=world.clock.wall_ns(),
        )

    async def worker_alive() -> bool:
        return worker_view(await store.worker(), world.clock.wall_ns()).alive

    @api.get("/streams", tags=["streams"], summary="All streams and how they do")
    async def list_streams() -> StreamList:
        worker = worker_view(await store.worker(), world.clock.wall_ns())
        configs = await store.streams()
        views = await asyncio.gather(*(view(config, worker_alive=worker.alive) for config in configs))
        return StreamList(streams=list(views), worker=worker)

    @api.post(
        "/streams",
        tags=["streams"],
        summary="Add a stream",
        status_code=201,
        responses=refusals(
            s409="the name is taken, or there are too many streams", s422="the stream is not admitted"
        ),
    )
    async def add_stream(body: StreamConfig, response: Response) -> StreamView:
        there = await store.streams()
        if len(there) >= MAX_STREAMS:
            raise Refused(
                409, f"{MAX_STREAMS} streams are all that this server takes", mend="delete one first"
            )
        try:
            admit_model(body.model, {config.model for config in there})
            url = await asyncio.to_thread(
                admit, body.url, media_root=world.media_root, exempt=world.stream_hosts
            )
        except ConfigError as error:
            raise Refused(422, error.what, where=error.where, mend=error.mend) from None
        config = body.model_copy(update={"url": url, "guard": world.stream_hosts})
        if not await store.add_stream(config):
            raise Refused(
                409, "the name is taken", where=config.name, mend="choose another, or delete it first"
            )
        response.headers["Location"] = f"/api/v1/streams/{config.name}"
        return await view(config, worker_alive=await worker_alive())

    @api.get(
        "/streams/{name}", tags=["streams"], summary="One stream", responses=refusals(s404="no such stream")
    )
    async def get_stream(name: str) -> StreamView:
        return await view(await wanted(name), worker_alive=await worker_alive())

    @api.patch(
        "/streams/{name}",
        tags=["streams"],
        summary="Change a stream that runs",
        description="Zones, lines and events change at once, while the source stays connected and its epoch goes on. "
        "Pausing disconnects it. Other changes start this stream anew, and no other.",
        responses=refusals(s404="no such stream", s422="the change is not admitted"),
    )
    async def change_stream(name: str, body: StreamChange) -> StreamView:
        before, asked = await wanted(name), body.asked()
        try:
            if "model" in asked:
                admit_model(str(body.model), {config.model for config in await store.streams()})
            url = None
            if "url" in asked:
                url = changed(before, body).url  # its form is judged first
                refuse_masked(url)
                url = await asyncio.to_thread(
                    admit, url, media_root=world.media_root, exempt=world.stream_hosts
                )
            guard = world.stream_hosts
            config = await store.change_stream(name, lambda now: changed(now, body, url=url, guard=guard))
        except ConfigError as error:
            raise Refused(422, error.what, where=error.where, mend=error.mend) from None
        if config is None:
            raise Refused(404, "there is no such stream", where=name, mend="see GET /api/v1/streams")
        return await view(config, worker_alive=await worker_alive())

    @api.delete(
        "/streams/{name}",
        tags=["streams"],
        summary="Remove a stream; its events stay",
        status_code=204,
        responses=refusals(s404="no such stream"),
    )
    async def delete_stream(name: str) -> None:
        if not await store.remove_stream(name):
            raise Refused(404, "there is no such stream", where=name, mend="see GET /api/v1/streams")

    @api.get(
        "/streams/{name}/result",
        tags=["results"],
        summary="The newest result",
        responses=refusals(s404="no such stream, or nothing seen yet"),
    )
    async def latest_result(name: str) -> dict[str, Any]:
        await wanted(name)
        result = await store.latest_result(name)
        if result is None:
            raise Refused(404, "nothing has been seen yet", where=name, mend="ask again when it is RUNNING")
        return dict(result)

    @api.get(
        "/events",
        tags=["events"],
        summary="Events, newest first",
        description="A filter may pass over so many events that a page has few of them, or none: there is more as long "
        "as `previous` is not null.",
        responses=refusals(s400="bad cursor"),
    )
    async def list_events(
        stream: StreamQuery = None,
        kind: KindQuery = None,
        label: LabelQuery = None,
        since: SinceQuery = None,
        until: UntilQuery = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        after: Annotated[str | None, Query(description="The first ones behind this cursor")] = None,
        before: Annotated[str | None, Query(description="The last ones before this cursor")] = None,
    ) -> EventList:
        if after and before:
            raise Refused(400, "after and before exclude each other", mend="give one of them")
        page = await store.events_page(
            stream or None,
            kind or None,
            limit=limit,
            after=after or None,
            before=before or None,
            label=label or None,
            since_s=since,
            until_s=until,
        )
        return EventList(
            events=[dict(event) for event in page.events], next=page.next, previous=page.previous
        )

    @api.get(
        "/events/stream",
        tags=["events"],
        summary="Events as they happen (server-sent events)",
        description="Each `id` is a cursor; a reconnect resumes with `Last-Event-ID`. Without a cursor: from now.",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **refusals(s400="bad cursor")},
    )
    async def stream_events(
        stream: StreamQuery = None,
        kind: KindQuery = None,
        label: LabelQuery = None,
        since: SinceQuery = None,
        until: UntilQuery = None,
        after: Annotated[str | None, Query(description="Begin behind this cursor")] = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> StreamingResponse:
        cursor = last_event_id or after or None
        # a page of nothing checks the cursor and Redis while a status can still be sent
        await store.events_page(stream or None, kind or None, limit=1, after=cursor, before=None)
        events = store.follow_events(
            stream or None, kind or None, after=cursor, label=label or None, since_s=since, until_s=until
        )
        body = sse(_messages(events), stopping=world.stopping)
        return StreamingResponse(body, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    return api


async def _messages(events: AsyncIterator[tuple[str, Any]]) -> AsyncGenerator[tuple[str, bytes], None]:
    async for cursor, event in events:
        yield cursor, orjson.dumps(event)
