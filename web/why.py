"""Why did it fire? The API's part: what was kept of an event, and questions to the worker that sees the stream.

A question goes out on the control line and its answer comes back under a key of its own, which is looked at until it is
there or ANSWER_S have passed. An event whose attention was not kept is asked about in the same way: the worker may
still remember the frame.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Annotated, Any, Protocol

import orjson
from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from streamer.config import StreamConfig
from streamer.types import event_id_parts
from streamer.wire.answers import refusal_of
from web.api import refusals
from web.problems import Refused

ANSWER_S = 4.0
LOOK_S = 0.05


class WhyStore(Protocol):
    """What these routes need of Redis; every method raises StoreError while it cannot be reached."""

    async def streams(self) -> list[StreamConfig]: ...

    async def event_why(self, stream: str, event: str) -> bytes | None:
        """The attention kept with an event; None where there is none."""
        ...

    async def ask_why(self, stream: str, question: str, **about: str | int) -> int:
        """Put a question about a `track_id` or an `event`; how many workers heard it."""
        ...

    async def why_answer(self, stream: str, question: str) -> bytes | None:
        """What was answered; None while there is no answer."""
        ...

    async def models(self) -> list[dict[str, Any]]: ...


class HeatView(BaseModel):
    """Where one query looked, over the whole picture."""

    size_hw: tuple[int, int]
    values: list[int] = Field(description="0 to 255, row by row; 255 is where it looked most")


class PictureAttentionView(BaseModel):
    """How the picture's cells looked at each other."""

    grid_hw: tuple[int, int]
    rows: str = Field(
        description="base64 of u8 (r*c, r*c): for each cell where it looked, 255 at that cell's own most"
    )


class SimilarityView(BaseModel):
    """The cosine of the track's query in an earlier frame with its query now."""

    wall_ns: int
    value: float


class WhyView(BaseModel):
    """Where the query of one track looked in one frame. It says where a network looked, not why it answered."""

    note: str
    model: str
    layer: str
    wall_ns: int = Field(description="The frame's, Unix nanoseconds")
    track_id: int
    query: HeatView
    picture_attention: PictureAttentionView | None
    similarity: list[SimilarityView] = Field(description="Oldest first; empty where tracks are no queries")
    picture: str | None = Field(
        description="data:image/jpeg;base64,… as the model saw it; only of a question"
    )


class WhyQuestion(BaseModel):
    """About the newest frame in which this track was told."""

    track_id: Annotated[int, Field(ge=0)]


class ModelView(BaseModel):
    """One model that the worker knows: its card."""

    name: str
    family: str
    task: str
    size_bytes: int
    input_hw: tuple[int, int] | None = None
    labels: list[str] = []
    actions: list[str] = []
    attention: bool = Field(False, description="Whether it can be asked why")
    shown: dict[str, float] = Field(description="Measured numbers by name, of the synthetic world")
    data: str | None = None
    intended_use: str | None = None
    text: str = Field(description="Markdown")


class ModelList(BaseModel):
    """The models, by name; empty until a worker has started."""

    models: list[ModelView]


def why_router(store: WhyStore, *, answer_s: float = ANSWER_S) -> APIRouter:
    """`GET /events/{id}/why`, `POST /streams/{name}/why` and `GET /models`."""
    api = APIRouter(prefix="/api/v1", responses=refusals(s503="Redis cannot be reached"))

    async def answer(stream: str, **about: str | int) -> WhyView:
        question = secrets.token_hex(8)
        until_s = time.monotonic() + answer_s
        if not await store.ask_why(stream, question, **about):
            raise Refused(503, "no worker is there to ask", where=stream, mend="see GET /readyz")
        while (data := await store.why_answer(stream, question)) is None:
            if time.monotonic() >= until_s:
                what = f"no answer came within {answer_s:g} s"
                raise Refused(504, what, where=stream, mend="the worker is busy; ask again")
            await asyncio.sleep(LOOK_S)
        said = orjson.loads(data)
        if (no := refusal_of(said)) is not None:
            raise Refused(no["status"], no["what"], where=no["where"], mend=no["mend"])
        return WhyView.model_validate(said)

    async def check(stream: str) -> None:
        if stream not in {config.name for config in await store.streams()}:
            raise Refused(404, "there is no such stream", where=stream, mend="see GET /api/v1/streams")

    @api.get(
        "/events/{event}/why",
        tags=["events"],
        summary="Where the model looked when it happened",
        responses=refusals(
            s404="it was not kept, or no such stream", s409="nothing to show", s504="no answer in time"
        ),
    )
    async def why_event(
        event: Annotated[str, Path(description="The event's id; percent-encode its colons")],
    ) -> WhyView:
        try:
            stream, *_, track_id, _ = event_id_parts(event)
        except ValueError:
            mend = "see GET /api/v1/events"
            raise Refused(404, "this is no id of an event", where=event[:80], mend=mend) from None
        if track_id is None:
            raise Refused(409, "the event is of no object", where=event, mend="ask about an object's")
        if (kept := await store.event_why(stream, event)) is not None:
            return WhyView.model_validate_json(kept)
        await check(stream)
        return await answer(stream, event=event)

    @api.post(
        "/streams/{name}/why",
        tags=["results"],
        summary="Where the model looked for a track, now",
        responses=refusals(
            s404="no such stream", s409="no attention to show, or no such track", s504="no answer in time"
        ),
    )
    async def why_track(name: str, body: WhyQuestion) -> WhyView:
        await check(name)
        return await answer(name, track_id=body.track_id)

    @api.get("/models", tags=["models"], summary="The models that the worker knows, with their cards")
    async def list_models() -> ModelList:
        return ModelList(models=[ModelView.model_validate(fields) for fields in await store.models()])

    return api
