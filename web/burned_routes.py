"""Routes for players that cannot draw: `/{stream}/mjpeg`, a picture that changes, and `snapshot.jpg`, one of now.

No old picture passes for a new one: when pictures stop, the MJPEG goes on with the last one greyed and the reason
written over it, and a snapshot is refused in words.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send

from web.api import refusals
from web.audience import Audience, With
from web.burned import WIDEST_PX, Burned, BurnedStream, PictureStore, Place
from web.looks import LAYERS, Look, layers_of
from web.problems import Refused

BOUNDARY = "sightline"
STALE_S = 2.0
NOTE_EVERY_S = 1.0
SNAPSHOT_WAIT_S = 4.0
SNAPSHOT_AGE_S = 1.0
FASTEST_FPS = 30.0

Width = Annotated[
    int, Query(ge=0, le=WIDEST_PX, description="Of the picture, in pixels; 0: its own, at most 1920")
]
Fps = Annotated[float, Query(ge=0.1, le=FASTEST_FPS, description="At most so many pictures a second")]
Overlay = Annotated[bool, Query(description="Burn anything in")]
Layers = Annotated[
    str | None,
    Query(
        description=f"What is burned in, of {', '.join(LAYERS)}, with commas; default: all but ground",
        examples=["boxes,ids,zones"],
        max_length=200,
    ),
]
Quality = Annotated[int, Query(ge=20, le=95, description="JPEG quality")]
Watching = contextlib.AbstractAsyncContextManager[tuple[BurnedStream, Place]]


class BurnedServer:
    """Everybody who watches burned-in pictures through this process, and a decoder per stream.

    `audience` says who may still come.
    """

    def __init__(self, store: PictureStore, *, audience: Audience | None = None) -> None:
        self._store = store
        self._audience = audience or Audience()
        self._streams: dict[str, BurnedStream] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.router = self._routes()

    @property
    def decoders(self) -> dict[str, BurnedStream]:
        """The streams that are being decoded now, by name."""
        return dict(self._streams)

    async def aclose(self) -> None:
        """Stop all decoders."""
        streams, self._streams = self._streams, {}
        await asyncio.gather(*(stream.aclose() for stream in streams.values()), *self._ending)

    @contextlib.asynccontextmanager
    async def watching(
        self, stream: str, look: Look, fps: float
    ) -> AsyncIterator[tuple[BurnedStream, Place]]:
        """A place at a stream's decoder for as long as the context lasts. Raises Refused."""
        if not await self._store.has_stream(stream):
            raise Refused(404, "there is no such stream", where=stream, mend="see GET /api/v1/streams")
        seat = self._audience.take(stream, With.PICTURES)
        burned = self._streams.get(stream) or self._streams.setdefault(
            stream, BurnedStream(stream, self._store)
        )
        place = burned.join(look, fps)
        try:
            yield burned, place
        finally:
            seat.leave()
            burned.places.discard(place)
            if not burned.places and self._streams.get(stream) is burned:
                del self._streams[stream]
                # whoever asked may be cancelled; the decoder ends all the same
                task = asyncio.create_task(burned.aclose(), name=f"{stream} burn end")
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
                await asyncio.shield(task)

    def _routes(self) -> APIRouter:
        router = APIRouter(tags=["pictures"], responses=refusals(s404="no such stream"))

        @router.get(
            "/{stream}/mjpeg",
            summary="The live picture with results burned in (MJPEG), for players that cannot draw",
            response_class=Response,
            responses={
                200: {"content": {f"multipart/x-mixed-replace; boundary={BOUNDARY}": {}}},
                **refusals(s503="too many viewers"),
            },
        )
        async def mjpeg(
            stream: str,
            request: Request,
            width: Width = 0,
            fps: Fps = 12.5,
            overlay: Overlay = True,
            layers: Layers = None,
            quality: Quality = 80,
        ) -> Response:
            look = Look(width, layers_of(layers, overlay=overlay), quality)
            stopping: asyncio.Event = getattr(request.app.state, "stopping", asyncio.Event())
            return MixedReplace(self.watching(stream, look, fps), stopping)

        @router.get(
            "/api/v1/streams/{stream}/snapshot.jpg",
            summary="One picture of now, at most a second old",
            response_class=Response,
            responses={
                200: {"content": {"image/jpeg": {}}},
                **refusals(s409="the stream is not running", s503="no picture came, or too many viewers"),
            },
        )
        async def snapshot(
            stream: str,
            width: Width = 0,
            overlay: Overlay = True,
            layers: Layers = None,
            quality: Quality = 85,
        ) -> Response:
            look = Look(width, layers_of(layers, overlay=overlay), quality)
            async with self.watching(stream, look, FASTEST_FPS) as (_, place):
                why = why_down(await self._store.state(stream))
                if why is not None:
                    mend = "ask again when it is RUNNING"
                    raise Refused(409, f"there is no live picture: {': '.join(why)}", where=stream, mend=mend)
                burned = await _fresh(place)
            if burned is None:
                what = f"no new picture came within {SNAPSHOT_WAIT_S:.0f} s"
                raise Refused(503, what, where=stream, mend="see the stream's state")
            headers = {} if burned.seq is None else {"Sightline-Result": f"{burned.stamp[0]}:{burned.seq}"}
            return Response(burned.jpeg, media_type="image/jpeg", headers=headers)

        return router


async def _fresh(place: Place) -> Burned | None:
    """The first picture that is surely of now; None if none came in time."""
    now_s = asyncio.get_running_loop().time
    ends_s = now_s() + SNAPSHOT_WAIT_S
    while (left_s := ends_s - now_s()) > 0:
        burned = await place.next(left_s)
        if burned is not None and burned.fresh and now_s() - burned.arrived_s <= SNAPSHOT_AGE_S:
            return burned
    return None


def why_down(state: Mapping[str, str]) -> tuple[str, str] | None:
    """Title and text if the stream's state hash says that it does not run."""
    word = state.get("state") or "INITIALISING"
    if word == "RUNNING":
        return None
    return word, state.get("error") or "no picture is being taken"


class MixedReplace(Response):
    """JPEG after JPEG, each in the place of the one before, until the reader leaves or the server stops.

    A part is followed by the next boundary at once: browsers show a part when they see its end.
    """

    def __init__(self, watching: Watching, stopping: asyncio.Event) -> None:
        super().__init__(media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        del self.headers["content-length"]
        self._watching = watching
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._watching as (burned, place):  # a refusal is still an answer: nothing was sent yet
            ends = (self._send(send, burned, place), self._left(receive), self._stopping.wait())
            tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(end) for end in ends]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                sent, *_ = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(sent, Exception) and not isinstance(sent, OSError):  # OSError: the reader has gone
            raise sent

    @staticmethod
    async def _left(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _send(self, send: Send, burned: BurnedStream, place: Place) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send(_body(f"--{BOUNDARY}\r\n".encode()))
        silent_s = 0.0
        while True:
            wait_s = STALE_S if silent_s < STALE_S else NOTE_EVERY_S
            new = await place.next(wait_s)
            if new is not None:
                silent_s = 0.0
                jpeg = new.jpeg
            else:
                silent_s += wait_s
                title, text = why_down(burned.state) or ("No new picture", f"for {silent_s:.0f} s")
                jpeg = await burned.note(place.look, title, text)
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            await send(_body(head + jpeg + f"\r\n--{BOUNDARY}\r\n".encode()))


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}
