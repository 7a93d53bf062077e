"""One viewer's WebRTC session: packets go out as they are, never encoded again; results ride on a data channel.

aiortc adds a random origin to the RTP time stamps and does not tell it, so it is read from the first RTP packet that
leaves (`RtpOrigin`). With it the player matches each shown picture to its result exactly: 500 of 500 pictures where
other ways are a picture or two off. That, the hook for picture loss, the sign of life and the length of the history
use private parts of aiortc 1.16; a test fails should one of them move.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import aioice.ice
import aiortc.rtcrtpsender
import orjson
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.sdp import candidate_from_sdp
from av.packet import Packet

from streamer.network import IceServer, WebRtcConfig
from web.feed import StreamFeed
from web.ice import OwnServers, secret
from web.ports import noting_shortage
from web.results import DEFLATE, ResultMessage
from web.sdp import (
    BadOffer,
    Codec,
    NoCodec,
    candidates,
    ice_ufrag,
    one_codec,
    parse_fragment,
    video_codec,
    with_addresses,
)
from web.subscription import FeedPacket, Subscription

log = logging.getLogger(__name__)

RTP_TIME_BASE = Fraction(1, 90_000)
RTP_WRAP = 1 << 32
# A channel that has not taken this much yet is too slow for results; the newest matter, so new ones are let go.
CHANNEL_BACKLOG_BYTES = 1 << 18
CLOSE_DEADLINE_S = 3.0
# RTP packets that a sender keeps for those who miss some; aiortc's 128 are a quarter of a second of 1080p at 4 Mbit/s,
# and 0.8 s without a network froze the picture until the next key frame. Browsers ask for the last 1000 at most.
# It costs 1.3 MB a viewer where the packets are full.
HISTORY_PACKETS = 1024

aiortc.rtcrtpsender.RTP_HISTORY_SIZE = HISTORY_PACKETS  # type: ignore[attr-defined]

_host_addresses = aioice.ice.get_host_addresses


def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """The addresses that viewers are told: this host's, and loopback only where there is no other.

    aioice leaves loopback out always, so a player on a host with no network could not be reached at all. (Chromium
    with no network has no candidates of its own, which this does not mend.)
    """
    found: list[str] = _host_addresses(use_ipv4, use_ipv6)
    return found or (["127.0.0.1"] if use_ipv4 else ["::1"])


aioice.ice.get_host_addresses = host_addresses


class NoWay(Exception):
    """No address to be reached at could be had; the message says why."""


def rtc_configuration(network: WebRtcConfig, servers: Iterable[IceServer]) -> RTCConfiguration:
    """The network in aiortc's words, with these of its servers."""
    # An empty list, not None: None means a public STUN server, and nobody asked for that.
    found = [RTCIceServer(urls=s.url, username=s.username, credential=secret(s)) for s in servers]
    policy = RTCIceTransportPolicy.RELAY if network.relay_only else RTCIceTransportPolicy.ALL
    return RTCConfiguration(iceServers=found, iceTransportPolicy=policy)


class PacketTrack(MediaStreamTrack):
    """A video track whose `recv` gives packets, which aiortc splits and sends without touching the pictures."""

    kind = "video"

    def __init__(self, subscription: Subscription, on_packet: Callable[[FeedPacket], None]) -> None:
        super().__init__()
        self._subscription = subscription
        self._on_packet = on_packet

    async def recv(self) -> Packet[Any]:
        """The next packet, `pts` on the viewer's time line (90 kHz). Raises MediaStreamError at the end."""
        item = await self._subscription.next()
        if item is None:
            raise MediaStreamError
        self._on_packet(item)
        packet: Packet[Any] = Packet(item.packet.data)
        packet.pts = packet.dts = item.out_pts90k
        packet.time_base = RTP_TIME_BASE
        packet.is_keyframe = item.packet.key
        return packet


class RtpOrigin:
    """Learns what a sender adds to time stamps: watches its transport until the first RTP packet has gone out.

    `known` is called once with (RTP time stamp - pts) mod 2^32; then the transport is as it was before.
    """

    def __init__(self, sender: RTCRtpSender, known: Callable[[int], None]) -> None:
        self._transport = sender.transport
        self._ssrc: int = sender._ssrc
        self._known = known
        self._send: Callable[[bytes], Awaitable[None]] = self._transport._send_rtp
        self._pts90k: int | None = None
        self._transport._send_rtp = self._watch  # type: ignore[method-assign]

    def sending(self, pts90k: int) -> None:
        """The track has handed out a packet with this time stamp, which is the next to be sent."""
        self._pts90k = pts90k

    async def _watch(self, data: bytes) -> None:
        # RTCP shares the transport (RFC 5761): its packet types, 192-223, fall on RTP payload types 64-95.
        is_rtp = len(data) >= 12 and not 64 <= data[1] & 0x7F <= 95
        if is_rtp and self._pts90k is not None and int.from_bytes(data[8:12], "big") == self._ssrc:
            self.forget()
            self._known((int.from_bytes(data[4:8], "big") - self._pts90k) % RTP_WRAP)
        await self._send(data)

    def forget(self) -> None:
        """Leave the transport as it was."""
        self._transport.__dict__.pop("_send_rtp", None)


class Peer:
    """One viewer from offer to end. `answer` once, `add_candidates` while it connects, `close` at the end.

    `last_seen_s` (event loop time) is when the viewer last gave a sign of life, an RTCP report.
    """

    def __init__(self, session: str, stream: str, network: WebRtcConfig, servers: OwnServers) -> None:
        self.session = session
        self.stream = stream
        self.codec: Codec = "h264"
        self._network = network
        self._feed: StreamFeed | None = None
        self._loop = asyncio.get_running_loop()
        self.began_s = self.last_seen_s = self._loop.time()
        self._servers = servers
        self._asked = servers.now(self.began_s)
        self._pc = RTCPeerConnection(rtc_configuration(network, self._asked))
        self._subscription: Subscription | None = None
        self._channel: RTCDataChannel | None = None
        self._deflates = False
        self._replayed = False
        self._origin: RtpOrigin | None = None
        self._rtp_origin: int | None = None
        self._placed: tuple[int, int] | None = (
            None  # epoch and offset of the newest packet handed to the sender
        )
        self._told: tuple[int, int] | None = None
        self._offer_ufrag: str | None = None
        self._closed = False
        self.messages_dropped = 0
        self._pc.on("datachannel", self._on_channel)

    @property
    def connected(self) -> bool:
        return self._pc.connectionState == "connected"

    @property
    def lost(self) -> bool:
        """Whether the connection has ended or failed."""
        return self._closed or self._pc.connectionState in ("failed", "closed")

    async def answer(
        self, offer: str, feed_of: Callable[[Codec], StreamFeed], addresses: Sequence[str] = ()
    ) -> str:
        """The answer to a WHEP offer, this host's further `addresses` among its candidates.

        `feed_of` gives the feed of the codec that the offer can play. Raises BadOffer (NoCodec for want of a codec),
        NoWay if this side has no address to offer.
        """
        offer, self.codec = one_codec(offer)
        self._offer_ufrag = ice_ufrag(offer)
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        except Exception as error:  # aiortc raises whatever its parser meets: ValueError, AttributeError, ...
            raise BadOffer(f"the offer cannot be read ({type(error).__name__}: {error})") from None
        feed = self._feed = feed_of(self.codec)
        subscription = self._subscription = feed.join()
        sender = self._pc.addTrack(PacketTrack(subscription, self._on_packet))
        answer = await self._pc.createAnswer()
        codec = video_codec(answer.sdp)
        if codec != self.codec:
            raise NoCodec(
                f"no {self.codec.upper()} of the offer can be sent (the answer says {codec or 'no video'})"
            )
        sdp = await self._gather(answer)
        self._hook(sender, feed, subscription)
        return with_addresses(sdp, addresses)

    async def _gather(self, answer: RTCSessionDescription) -> str:
        """Bind and find this side's candidates; the answer with them. Raises NoWay."""
        began_s = self._loop.time()
        with noting_shortage() as short:
            await self._pc.setLocalDescription(answer)
        sdp: str = self._pc.localDescription.sdp
        kinds = {found.kind for found in candidates(sdp)}
        now_s = self._loop.time()
        self._servers.judge(self._asked, kinds, now_s - began_s, now_s)
        if short and "relay" not in kinds:
            raise NoWay(f"all UDP ports of {self._network.udp_ports} are in use on {short[0]}")
        if not kinds:
            raise NoWay(
                "the TURN server gave no address" if self._network.relay_only else "this host has no address"
            )
        return sdp

    def _hook(self, sender: RTCRtpSender, feed: StreamFeed, subscription: Subscription) -> None:
        self._origin = RtpOrigin(sender, self._on_origin)
        # With packets aiortc answers a picture loss (PLI, FIR) by setting a flag that nobody reads.
        sender._send_keyframe = lambda: feed.picture_lost(subscription)  # type: ignore[method-assign]
        handle = sender._handle_rtcp_packet

        async def seen(packet: Any) -> None:
            self.last_seen_s = self._loop.time()
            await handle(packet)

        sender._handle_rtcp_packet = seen  # type: ignore[method-assign]

    async def add_candidates(self, body: str) -> None:
        """Take trickled candidates. Raises BadOffer for one that cannot be read or for an ICE restart.

        The end of candidates is taken note of and not passed on: aioice would give up as soon as the pairs it knows
        have failed, though the player's own checks may still get through (RFC 8863). Who never connects is reaped.
        """
        fragment = parse_fragment(body)
        if fragment.ufrag is not None and fragment.ufrag != self._offer_ufrag:
            raise BadOffer("an ICE restart is not supported")
        for mid, text in fragment.candidates:
            try:
                candidate = candidate_from_sdp(text)
            except (ValueError, IndexError, AssertionError):
                raise BadOffer(f"candidate {text[:60]!r} cannot be read") from None
            candidate.sdpMid = mid
            await self._pc.addIceCandidate(candidate)

    async def close(self) -> None:
        """End the session and give the place at the feed back; any number of times."""
        if self._closed:
            return
        self._closed = True
        if self._origin is not None:
            self._origin.forget()
        try:
            # The track ends first, else the sender may wait for a packet that never comes.
            if self._subscription is not None and self._feed is not None:
                self._subscription.on_message = None
                await self._feed.leave(self._subscription)
            await asyncio.wait_for(self._pc.close(), CLOSE_DEADLINE_S)
        except TimeoutError:
            log.warning("stream %s: a viewer's connection did not close in time", self.stream)

    # ------------------------------------------------------------------------------------------------ results

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if channel.label != "results" or self._channel is not None:
            return
        self._channel = channel
        self._deflates = channel.protocol == DEFLATE
        self.send(orjson.dumps({"t": "hello", "stream": self.stream}).decode())
        self._tell_origin()
        if self._subscription is not None and self._feed is not None:
            if self._feed.told_state is not None:
                self.send(self._feed.told_state)
            self._subscription.on_message = self._on_message
            self._replay()

    def _on_message(self, message: str | ResultMessage) -> None:
        if self._replayed or isinstance(message, str):
            self.send(message)

    def _replay(self) -> None:
        """Tell the results of the pictures so far, once there is a channel and a picture; until then none is told."""
        feed, subscription = self._feed, self._subscription
        if self._replayed or self._channel is None or feed is None or subscription is None:
            return
        if subscription.begins is None:
            return
        self._replayed = True
        # Of more than the channel takes at once, the newest: the pictures before them are played in a moment.
        told: list[ResultMessage] = []
        left = CHANNEL_BACKLOG_BYTES - self._channel.bufferedAmount
        for result in reversed(feed.replay(subscription)):
            left -= result.size(deflated=self._deflates)
            if left < 0:
                break
            told.append(result)
        for result in reversed(told):
            self.send(result)

    def send(self, message: str | ResultMessage) -> None:
        """Send a message if the channel is open and keeps up, else count it as dropped."""
        channel = self._channel
        if channel is None or channel.readyState != "open" or channel.bufferedAmount > CHANNEL_BACKLOG_BYTES:
            self.messages_dropped += 1
        elif isinstance(message, str):
            channel.send(message)
        else:
            channel.send(message.deflated if self._deflates else message.text)

    def _on_packet(self, item: FeedPacket) -> None:
        if self._origin is not None:
            self._origin.sending(item.out_pts90k)
        self._placed = (item.packet.epoch, item.offset)
        self._tell_origin()
        self._replay()

    def _on_origin(self, origin: int) -> None:
        self._rtp_origin = origin
        self._tell_origin()

    def _tell_origin(self) -> None:
        """Say how the current epoch's pts90k map to RTP, once per epoch, when all of it is known."""
        if (
            self._rtp_origin is None
            or self._placed is None
            or self._placed == self._told
            or self._channel is None
        ):
            return
        epoch, offset = self._told = self._placed
        rtp = (self._rtp_origin + offset) % RTP_WRAP
        self.send(orjson.dumps({"t": "origin", "rtp": rtp, "epoch": epoch}).decode())
