"""WHIP (RFC 9725): how video is published. POST an offer, get the answer; PATCH candidates; DELETE at the end.

A browser or another publisher sends; the packets go to Redis as they came, and a worker reads them like any camera
(`whip://NAME`). One publisher a stream: a second is refused while the first sends, and takes its place when it has been
silent for three seconds. Who vanished without a word is ended within ten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Sequence
from typing import Any, Final, Protocol

from fastapi import APIRouter, Request, Response

from streamer.access import Role
from streamer.addresses import published_name, redact_url
from streamer.client import PublishedFrame
from streamer.config import MAX_STREAMS, StreamConfig, stream_config
from streamer.errors import ConfigError
from streamer.metrics import Number
from streamer.network import WebRtcConfig
from web.audience import RETRY_AFTER_S
from web.exchange import OFFER, answered, body_text, takes_candidates, takes_offers, trickle
from web.ice import Addresses, OwnServers
from web.problems import Refused
from web.publication import FrameStore, carry
from web.publishing import PublishingPeer, wall_ns
from web.sdp import BadOffer, NoCodec
from web.security import GRANT
from web.webrtc import NoWay

log = logging.getLogger(__name__)

MAX_PUBLISHERS: Final = 32
# A publisher that connects has its place for so long, and one that sends for as long as it sends (`web.publication`).
CONNECT_WITHIN_S: Final = 10.0
SILENT_FOR_S: Final = 9.0  # it takes a second to be noticed
REAP_EVERY_S: Final = 0.5


class PublishStore(FrameStore, Protocol):
    """What publishing needs of Redis; every call raises StoreError while it is away."""

    async def streams(self) -> list[StreamConfig]: ...

    async def add_stream(self, config: StreamConfig) -> bool: ...

    async def claim_publication(self, name: str, session: str, ttl_ms: int) -> int:
        """The number of the new publication, or 0 if somebody else publishes."""
        ...


class WhipServer:
    """The WHIP routes of one web process, and everybody who publishes through them."""

    def __init__(
        self,
        store: PublishStore,
        *,
        network: WebRtcConfig | None = None,
        max_publishers: int = MAX_PUBLISHERS,
    ) -> None:
        self._store = store
        self._network = network or WebRtcConfig()
        self._addresses = Addresses(self._network.hosts)
        self._servers = OwnServers(self._network)
        self._max_publishers = max_publishers
        self._peers: dict[str, PublishingPeer] = {}
        self._carrying: set[asyncio.Task[None]] = set()
        self._opening = 0
        self._closing = False
        self._publishers = Number("sightline_web_publishers", "Who publishes", "gauge", ("stream",))
        self._packets = Number("sightline_web_published_total", "Packets passed on", "counter", ("stream",))
        self._bytes = Number("sightline_web_published_bytes_total", "Bytes passed on", "counter", ("stream",))
        self._dropped = Number(
            "sightline_web_published_dropped_total",
            "Frames of publishers that were not passed on",
            "counter",
            ("stream", "reason"),
        )
        self.router = self._routes()

    def families(self) -> list[dict[str, Any]]:
        """What is counted, for /metrics."""
        return [n.snapshot() for n in (self._publishers, self._packets, self._bytes, self._dropped)]

    def publishes(self, stream: str) -> bool:
        """Whether somebody publishes to this stream through this process."""
        return any(peer.stream == stream for peer in self._peers.values())

    async def aclose(self) -> None:
        """End every session."""
        self._closing = True
        for peer in list(self._peers.values()):
            peer.finish()
        await asyncio.gather(*self._carrying)

    # ------------------------------------------------------------------------------------------------ sessions

    async def open_session(self, stream: str, offer: str, *, may_create: bool) -> tuple[PublishingPeer, str]:
        """A new session and its answer. Raises Refused."""
        if self._closing:
            raise _busy("the server is closing")
        if len(self._peers) + self._opening >= self._max_publishers:
            raise _busy(f"{self._max_publishers} publish, which is all this server takes")
        self._opening += 1
        peer: PublishingPeer | None = None
        number = 0
        try:
            await self._admit(stream, may_create=may_create)
            peer = PublishingPeer(secrets.token_urlsafe(16), stream, self._network, self._servers)
            number = await self._store.claim_publication(stream, peer.session, int(CONNECT_WITHIN_S * 1000))
            if not number:
                raise Refused(
                    409,
                    "somebody publishes to this stream already",
                    where=f"stream {stream}",
                    mend="end that first, or wait until it has been silent for 3 s",
                )
            answer = await peer.accept(offer, await self._addresses.now())
        except BaseException as error:
            if peer is not None:
                await peer.close()
                if number:
                    await self._store.end_publication(stream, peer.session, number)
            raise _refusal(error) from None
        finally:
            self._opening -= 1
        self._peers[peer.session] = peer
        task = asyncio.create_task(self._run(peer, number), name=f"whip {stream}")
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        return peer, answer

    async def _admit(self, stream: str, *, may_create: bool) -> None:
        """See that what is published has a reader: a stream of url `whip://NAME`, made now if it may be."""
        configs = await self._store.streams()
        if any(published_name(config.url, config.name) == stream for config in configs):
            return
        taken = next((config for config in configs if config.name == stream), None)
        if taken is not None:
            what = f"it reads {redact_url(taken.url)}, and nobody can publish to it"
            raise Refused(
                409,
                what,
                where=f"stream {stream}",
                mend=f"give it the url whip://{stream}, or use another name",
            )
        if not may_create:
            mend = f"have somebody who manages add it with the url whip://{stream}"
            raise Refused(404, f"there is no stream {stream!r}", mend=mend)
        if len(configs) >= MAX_STREAMS:
            raise Refused(
                409, f"{MAX_STREAMS} streams are all that this server takes", mend="delete one first"
            )
        try:
            config = stream_config({"name": stream, "url": f"whip://{stream}"})
        except ConfigError as error:
            raise Refused(422, error.what, where=error.where, mend=error.mend) from None
        await self._store.add_stream(config)

    async def _run(self, peer: PublishingPeer, number: int) -> None:
        """The session's life: frames are carried on, and whoever is gone is found to be."""
        stream = peer.stream
        self._publishers.set(1, stream)

        def wrote(frames: Sequence[PublishedFrame]) -> None:
            self._packets.add(len(frames), stream)
            self._bytes.add(sum(len(frame.data) for frame in frames), stream)

        watching = asyncio.create_task(_end_when_gone(peer), name=f"whip watch {stream}")
        try:
            why = await carry(peer, stream, number, self._store, wall_ns=wall_ns, wrote=wrote)
            log.info("stream %s: its publication is over: %s", stream, why)
        except Exception:
            log.exception("stream %s: its publication failed", stream)
        finally:
            self._peers.pop(peer.session, None)
            self._publishers.set(float(self.publishes(stream)), stream)
            for reason, count in peer.dropped.items():
                self._dropped.add(count, stream, reason)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await peer.close()

    def _session(self, stream: str, session: str) -> PublishingPeer:
        peer = self._peers.get(session)
        if peer is None or peer.stream != stream:
            raise Refused(404, "there is no such session", where=f"stream {stream}", mend="POST a new offer")
        return peer

    # ------------------------------------------------------------------------------------------------ routes

    def _routes(self) -> APIRouter:
        router = APIRouter(tags=["whip"])

        @router.post("/{stream}/whip", status_code=201, summary="Publish: offer in, answer out (WHIP)")
        async def post(stream: str, request: Request) -> Response:
            offer = await body_text(request, OFFER)
            grant = request.scope.get(GRANT)
            may_create = grant is None or grant.role is Role.MANAGE
            peer, answer = await self.open_session(stream, offer, may_create=may_create)
            servers = self._network.ice_servers
            return answered(f"/{stream}/whip", peer.session, answer, servers)

        @router.options("/{stream}/whip", status_code=204, summary="What a publisher may send")
        async def options(stream: str) -> Response:
            return takes_offers(self._network.ice_servers)

        @router.options("/{stream}/whip/{session}", status_code=204, summary="What a publication takes")
        async def session_options(stream: str, session: str) -> Response:
            return takes_candidates()

        @router.patch("/{stream}/whip/{session}", status_code=204, summary="More candidates (trickle ICE)")
        async def patch(stream: str, session: str, request: Request) -> Response:
            return await trickle(self._session(stream, session), request, stream=stream, session=session)

        @router.delete("/{stream}/whip/{session}", summary="End a publication")
        async def delete(stream: str, session: str) -> Response:
            self._session(stream, session).finish()
            return Response(status_code=200)

        return router


async def _end_when_gone(peer: PublishingPeer) -> None:
    """Finish the session once its publisher will not come (back): failed, never connected, or silent for too long."""
    loop = asyncio.get_running_loop()
    while not peer.ended:
        await asyncio.sleep(REAP_EVERY_S)
        limit_s = SILENT_FOR_S if peer.connected else CONNECT_WITHIN_S
        if peer.lost or loop.time() - peer.last_seen_s > limit_s:
            log.info("stream %s: the publisher is gone", peer.stream)
            peer.finish()


def _busy(what: str, mend: str = "ask again in a moment") -> Refused:
    return Refused(503, what, mend=mend, headers={"Retry-After": str(RETRY_AFTER_S)})


def _refusal(error: BaseException) -> BaseException:
    """What a publisher is told of a failed offer; what is no fault of the offer stays what it is."""
    match error:
        case NoCodec():
            return Refused(406, str(error), mend="send H.264 or VP8")
        case BadOffer():
            return Refused(400, str(error), mend="send a WebRTC offer that sends video")
        case NoWay():
            return _busy(str(error), mend="see `sightline doctor --ice`")
    return error
