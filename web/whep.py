"""WHEP: how a player asks for a stream. POST an offer, get the answer; PATCH candidates; DELETE at the end.

By draft-ietf-wish-whep, in the manner of RFC 9725 where it is silent: the ICE session's tag, `Link` with the STUN and
TURN servers, 503 with Retry-After when full, 422 for an ICE restart, which is not supported. What a player of another
origin may do is decided at the door, `web.security`. Sessions whose viewer vanished without a word end after ten
seconds of silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets

from fastapi import APIRouter, Request, Response

from streamer.network import WebRtcConfig
from web.audience import RETRY_AFTER_S, Audience, Seat, With
from web.exchange import OFFER, answered, body_text, takes_candidates, takes_offers, trickle
from web.feed import StreamFeed, VideoStore
from web.ice import Addresses, OwnServers
from web.problems import Refused
from web.sdp import BadOffer, Codec, NoCodec
from web.webrtc import NoWay, Peer

log = logging.getLogger(__name__)

REAP_EVERY_S = 1.0
CONNECT_WITHIN_S = 15.0
SILENT_FOR_S = 10.0

RESULTS_CHANNEL = """
An offer may hold a data channel named `results`. Its messages are JSON `{"t": …}`: `hello`; `state` with the stream's
state as `data`; `origin` with an `epoch` and as `rtp` the RTP time stamp at which its `pts90k` is 0, so that a result
finds its picture; and `result`, with a result as `data`, its boxes rounded to a hundredth of a pixel, key points to a
tenth and scores to four digits. Of a channel with the subprotocol `deflate` each result is bytes: the message and a
line's end as raw deflate (RFC 1951), flushed but not ended, so that they can be read one by one or as one stream; all
else is text."""


def is_gone(peer: Peer, now_s: float) -> bool:
    """Whether this session's viewer will not come (back): failed, never connected, or silent for too long."""
    if peer.lost:
        return True
    if not peer.connected:
        return now_s - max(peer.began_s, peer.last_seen_s) > CONNECT_WITHIN_S
    return now_s - peer.last_seen_s > SILENT_FOR_S


class WhepServer:
    """The WHEP routes of one web process, and everybody who watches through them.

    `network` is how the media travels, and which STUN and TURN servers players are told in `Link`; `audience` says who
    may still come.
    """

    def __init__(
        self, store: VideoStore, *, network: WebRtcConfig | None = None, audience: Audience | None = None
    ) -> None:
        self._store = store
        self._network = network or WebRtcConfig()
        self._addresses = Addresses(self._network.hosts)
        self._servers = OwnServers(self._network)
        self._audience = audience or Audience()
        self._feeds: dict[tuple[str, Codec], StreamFeed] = {}
        self._peers: dict[str, Peer] = {}
        self._seats: dict[str, Seat] = {}  # by session
        self._opening = 0
        self._reaper: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closing = False
        self.router = self._routes()

    def viewers(self, stream: str) -> int:
        """How many watch this stream through this process."""
        return sum(peer.stream == stream for peer in self._peers.values())

    async def aclose(self) -> None:
        """End every session."""
        self._closing = True
        reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reaper
        await asyncio.gather(*(self._end(peer) for peer in list(self._peers.values())), *self._ending)
        await asyncio.gather(*(feed.aclose() for feed in self._feeds.values()))

    # ------------------------------------------------------------------------------------------------ sessions

    async def open_session(self, stream: str, offer: str) -> tuple[Peer, str]:
        """A new session and its answer. Raises Refused."""
        if self._closing:
            raise _busy("the server is closing")
        if not await self._store.has_stream(stream):
            raise Refused(404, f"there is no stream {stream!r}", mend="see GET /api/v1/streams")
        seat = self._audience.take(stream, With.WEBRTC)
        self._opening += 1
        try:
            peer = Peer(secrets.token_urlsafe(16), stream, self._network, self._servers)
            try:
                answer = await peer.answer(
                    offer, lambda codec: self._feed(stream, codec), await self._addresses.now()
                )
            except BaseException as error:
                await peer.close()
                raise _refusal(error) from None
        except BaseException:
            seat.leave()
            raise
        finally:
            self._opening -= 1
        self._peers[peer.session], self._seats[peer.session] = peer, seat
        if self._reaper is None:
            self._reaper = asyncio.create_task(self._reap(), name="whep reaper")
        return peer, answer

    def _feed(self, stream: str, codec: Codec) -> StreamFeed:
        return self._feeds.setdefault((stream, codec), StreamFeed(stream, self._store, codec))

    def _session(self, stream: str, session: str) -> Peer:
        peer = self._peers.get(session)
        if peer is None or peer.stream != stream:
            raise Refused(404, "there is no such session", where=f"stream {stream}", mend="POST a new offer")
        return peer

    async def _end(self, peer: Peer) -> None:
        """Close the session, wholly, even if whoever asked for it goes away meanwhile."""
        self._peers.pop(peer.session, None)
        if (seat := self._seats.pop(peer.session, None)) is not None:
            seat.leave()
        task = asyncio.create_task(self._close(peer), name="whep end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        await asyncio.shield(task)

    async def _close(self, peer: Peer) -> None:
        await peer.close()
        for key in [key for key, feed in self._feeds.items() if not feed.viewers and not self._opening]:
            del self._feeds[key]

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(REAP_EVERY_S)
            now_s = asyncio.get_running_loop().time()
            for peer in [peer for peer in self._peers.values() if is_gone(peer, now_s)]:
                log.info("stream %s: a viewer is gone", peer.stream)
                await self._end(peer)

    # ------------------------------------------------------------------------------------------------ routes

    def _routes(self) -> APIRouter:
        router = APIRouter(tags=["whep"])

        @router.post(
            "/{stream}/whep",
            status_code=201,
            summary="Watch a stream: offer in, answer out (WHEP)",
            description=RESULTS_CHANNEL,
        )
        async def post(stream: str, request: Request) -> Response:
            offer = await body_text(request, OFFER)
            peer, answer = await self.open_session(stream, offer)
            servers = self._network.ice_servers
            return answered(f"/{stream}/whep", peer.session, answer, servers)

        @router.options("/{stream}/whep", status_code=204, summary="What a player may send")
        async def options(stream: str) -> Response:
            return takes_offers(self._network.ice_servers)

        @router.options("/{stream}/whep/{session}", status_code=204, summary="What a session takes")
        async def session_options(stream: str, session: str) -> Response:
            return takes_candidates()

        @router.patch("/{stream}/whep/{session}", status_code=204, summary="More candidates (trickle ICE)")
        async def patch(stream: str, session: str, request: Request) -> Response:
            return await trickle(self._session(stream, session), request, stream=stream, session=session)

        @router.delete("/{stream}/whep/{session}", summary="End a session")
        async def delete(stream: str, session: str) -> Response:
            await self._end(self._session(stream, session))
            return Response(status_code=200)

        return router


def _busy(what: str, mend: str = "ask again in a moment") -> Refused:
    return Refused(503, what, mend=mend, headers={"Retry-After": str(RETRY_AFTER_S)})


def _refusal(error: BaseException) -> BaseException:
    """What a player is told of a failed offer; what is no fault of the offer stays what it is."""
    match error:
        case NoCodec():
            return Refused(406, str(error), mend="use a player that takes H.264 or VP8")
        case BadOffer():
            return Refused(400, str(error), mend="send a WebRTC offer that receives video")
        case NoWay():
            return _busy(str(error), mend="see `sightline doctor --ice`")
    return error
