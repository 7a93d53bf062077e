"""One event and what is kept to look at of it: `/api/v1/events/{id}`, its picture, whole and small, and its clip.

What was kept never changes, so browsers may keep it; what is not there is told in words, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from streamer.client import Evidence
from streamer.clock import Clock
from streamer.evidence import EvidenceConfig
from web.api import refusals
from web.problems import Refused
from web.ranges import with_ranges
from web.thumbnails import Thumbnails

_FOR_EVER = {"Cache-Control": "private, max-age=86400, immutable"}
_WORDS: Mapping[str, str] = {
    "gone": "its frame had left the memory before the event was told",
    "busy": "too many events came at once",
    "failed": "it could not be made",
    "soon": "another clip of this stream began less than 5 s before it",
    "short": "the stream had not two pictures of it",
    "none": "none belongs to an event of this kind",
}


class SightingView(BaseModel):
    """Where the track was in one frame."""

    wall_ns: int
    box_xyxy: tuple[float, float, float, float] = Field(description="px in the source picture")
    score: float


class EventView(BaseModel):
    """One event and what is kept of it."""

    event: dict[str, Any]
    picture: bool = Field(
        description="Whether picture.jpg is there: the event's frame (of a leave the last sighting)"
    )
    clip: bool = Field(description="Whether clip.mp4 is there")
    clip_pending: bool = Field(False, description="A clip is in the making: ask again in a few seconds")
    clip_span_ns: tuple[int, int] | None = Field(
        None, description="First and last wall_ns that the clip shows"
    )
    path: list[SightingView] = Field(description="Of its track in the ten seconds before, oldest first")
    why: bool = Field(description="Whether why is there")
    no_picture: str | None = Field(None, description="In words, why there is no picture")
    no_clip: str | None = Field(None, description="In words, why there is no clip")


class EvidenceStore(Protocol):
    """What this needs of Redis. Every method raises StoreError while it cannot be reached."""

    async def evidence(self, event_id: str) -> Evidence | None: ...

    async def evidence_picture(self, event_id: str) -> bytes | None: ...

    async def evidence_clip(self, event_id: str) -> bytes | None: ...


def evidence_router(store: EvidenceStore, clock: Clock, config: EvidenceConfig) -> APIRouter:
    """The routes of one event. They come after `/events/stream`, which is no id."""
    api = APIRouter(prefix="/api/v1", tags=["events"], responses=refusals(s503="Redis cannot be reached"))

    async def known(event_id: str) -> Evidence:
        found = await store.evidence(event_id)
        if found is None:
            mend = "ids are stream:epoch:seq:kind:track, see GET /api/v1/events"
            raise Refused(404, "there is no such event, or not any more", where=event_id, mend=mend)
        return found

    async def frame_of(event_id: str) -> bytes:
        body = await store.evidence_picture(event_id)
        if body is None:
            raise Refused(404, _no_picture(await known(event_id), config), where=event_id)
        return body

    thumbnails = Thumbnails()
    a_picture: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/jpeg": {}}},
        304: {"description": "as the client has it"},
        **refusals(s404="no picture is kept, and why"),
    }

    def pending(found: Evidence) -> bool:
        return not (found.clip or found.no_clip) and found.clip_due_ns > clock.wall_ns()

    @api.get("/events/{event_id}", summary="One event", responses=refusals(s404="no such event"))
    async def get_event(event_id: str) -> EventView:
        found = await known(event_id)
        return EventView(
            event=dict(found.event),
            picture=found.picture,
            clip=found.clip,
            clip_pending=pending(found),
            clip_span_ns=found.clip_span_ns,
            path=[SightingView.model_validate(one) for one in found.path],
            why=found.why,
            no_picture=None if found.picture else _no_picture(found, config),
            no_clip=None if found.clip or pending(found) else _no_clip(found, config),
        )

    @api.get(
        "/events/{event_id}/picture.jpg",
        summary="The event's frame",
        response_class=Response,
        responses=a_picture,
    )
    async def get_picture(event_id: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        body = await frame_of(event_id)
        etag = _etag(body)
        if _matches(if_none_match, etag):
            return Response(status_code=304, headers={**_FOR_EVER, "ETag": etag})
        return Response(body, media_type="image/jpeg", headers={**_FOR_EVER, "ETag": etag})

    @api.get(
        "/events/{event_id}/thumbnail.jpg",
        summary="Its object with a margin around it, cut out of the event's frame",
        response_class=Response,
        responses=a_picture,
    )
    async def get_thumbnail(
        event_id: str,
        width: Annotated[int, Query(ge=16, le=640, description="px; its height is 3/4 of it")] = 104,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        body = await frame_of(event_id)
        etag = f'"{_digest(body)}-{width}"'
        if _matches(if_none_match, etag):
            return Response(status_code=304, headers={**_FOR_EVER, "ETag": etag})
        try:
            small = await thumbnails.of(event_id, body, (await known(event_id)).event, width)
        except ValueError as error:
            raise Refused(404, f"its picture cannot be read: {error}", where=event_id) from error
        return Response(small, media_type="image/jpeg", headers={**_FOR_EVER, "ETag": etag})

    @api.get(
        "/events/{event_id}/clip.mp4",
        summary="Some seconds around the event; may be asked for in parts",
        response_class=Response,
        responses={
            200: {"content": {"video/mp4": {}}},
            206: {"description": "the part that Range names", "content": {"video/mp4": {}}},
            304: {"description": "as the client has it"},
            416: {"description": "no byte of it lies in the range"},
            **refusals(s404="no clip is kept, and why"),
        },
    )
    async def get_clip(
        event_id: str,
        asked: Annotated[str | None, Header(alias="Range")] = None,
        if_range: Annotated[str | None, Header()] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        body = await store.evidence_clip(event_id)
        if body is None:
            found = await known(event_id)
            if pending(found):
                raise Refused(
                    404, "the clip is not ready yet", where=event_id, mend="ask again in a few seconds"
                )
            raise Refused(404, _no_clip(found, config), where=event_id)
        etag = _etag(body)
        if _matches(if_none_match, etag):
            return Response(status_code=304, headers={**_FOR_EVER, "ETag": etag})
        return with_ranges(
            body, media_type="video/mp4", etag=etag, headers=_FOR_EVER, asked=asked, if_range=if_range
        )

    return api


def _no_picture(found: Evidence, config: EvidenceConfig) -> str:
    if not config.pictures:
        return "pictures of events are off (evidence.pictures is 0)"
    if found.no_picture:
        return f"no picture was kept: {_WORDS.get(found.no_picture, found.no_picture)}"
    return f"no picture is kept any more, or none ever was: of each stream the newest {config.pictures} are, for a day"


def _no_clip(found: Evidence, config: EvidenceConfig) -> str:
    if not config.clips:
        return "clips of events are off (evidence.clips is 0)"
    if found.no_clip:
        return f"no clip was kept: {_WORDS.get(found.no_clip, found.no_clip)}"
    return (
        f"no clip is kept any more, or none ever was: of each stream the newest {config.clips} are, for a day"
    )


def _etag(body: bytes) -> str:
    return f'"{_digest(body)}"'


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def _matches(if_none_match: str | None, etag: str) -> bool:
    said = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    return etag in said or "*" in said
