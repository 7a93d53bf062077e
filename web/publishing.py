"""One publisher's WebRTC session: video comes in and goes on encoded, as it came; nothing is decoded here.

aiortc decodes what it receives. Its receiver hands whole encoded frames to a queue that a decoder's thread empties;
`Inbox` takes the place of that queue, so frames go to us and the thread sleeps until the end. That, the unwrapping of
time stamps and the signs of life use private parts of aiortc 1.16; a test fails should one of them move.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiortc import RTCRtpReceiver, RTCSessionDescription

from streamer.network import WebRtcConfig
from web.encoded import Codec, EncodedFrame, Gate, KeyWish, RtpTime
from web.ice import OwnServers
from web.sdp import BadOffer, NoCodec, ice_ufrag, one_codec, video_codec, with_addresses
from web.webrtc import Peer

log = logging.getLogger(__name__)

# What may wait for the store; a second of 60 frames/s. More means that the store is away, and the newest matter.
BACKLOG_FRAMES: Final = 64
# More than any picture needs; bounds what a publisher can make us hold.
MAX_FRAME_BYTES: Final = 4 << 20
_PROFILE = re.compile(r"profile-level-id=([0-9A-Fa-f]{6})")
_BASELINE: Final = "42e01f"
_NAMES: Final[dict[str, Codec]] = {"H264": "h264", "VP8": "vp8"}


class Inbox(queue.Queue[Any]):
    """Stands where aiortc's receiver has the queue of its decoder: frames go to `on_frame`, at once and on the loop.

    The thread behind it gets only the end (None), which `on_end` is told as well.
    """

    def __init__(
        self, receiver: RTCRtpReceiver, on_frame: Callable[[Any, Any], None], on_end: Callable[[], None]
    ) -> None:
        super().__init__()
        self._on_frame, self._on_end = on_frame, on_end
        self._jitter = _private(receiver, "jitter_buffer")
        if not isinstance(_private(receiver, "decoder_queue"), queue.Queue):
            raise AttributeError("aiortc's receiver has no decoder_queue any more")
        _private(receiver, "timestamp_mapper")
        self._time = RtpTime()
        vars(receiver)["_RTCRtpReceiver__decoder_queue"] = self
        # aiortc's takes each step back for a wrap, and pictures that refer to later ones step back.
        vars(receiver)["_RTCRtpReceiver__timestamp_mapper"] = self._time

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """What aiortc calls for each whole frame."""
        if item is None:
            super().put(None)
            self._on_end()
            return
        codec, frame = item
        self._on_frame(codec, frame)
        # aiortc hands one frame a packet on: after a loss was mended, the others would lag behind for ever.
        while (more := self._jitter._remove_frame(0)) is not None:
            more.timestamp = self._time.map(more.timestamp)
            self._on_frame(codec, more)


def _private(receiver: RTCRtpReceiver, name: str) -> Any:
    return getattr(receiver, f"_RTCRtpReceiver__{name}")


class PublishingPeer(Peer):
    """One publisher from offer to end: `accept` once, `next` for what came, `close` at the end.

    `last_frame_s` and `last_seen_s` are event loop times; `dropped` counts frames that did not go on, by reason.
    """

    def __init__(self, session: str, stream: str, network: WebRtcConfig, servers: OwnServers) -> None:
        super().__init__(session, stream, network, servers)
        self._frames: asyncio.Queue[EncodedFrame | None] = asyncio.Queue(BACKLOG_FRAMES + 1)
        self._gate = Gate()
        self._wish = KeyWish()
        self._receiver: RTCRtpReceiver | None = None
        self.last_frame_s = self.began_s
        self.frames = 0
        self.ended = False

    @property
    def dropped(self) -> Counter[str]:
        return self._gate.dropped

    async def accept(self, offer: str, addresses: Sequence[str] = ()) -> str:
        """The answer to a WHIP offer. Raises BadOffer (NoCodec for want of a codec), NoWay.

        Sound is accepted, so that publishers which send it are content, and let fall.
        """
        offer, self.codec = one_codec(offer)
        self._offer_ufrag = ice_ufrag(offer)
        offer, profile = as_baseline(offer)
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        except Exception as error:  # aiortc raises whatever its parser meets: ValueError, AttributeError, ...
            raise BadOffer(f"the offer cannot be read ({type(error).__name__}: {error})") from None
        transceivers = self._pc.getTransceivers()
        if sum(found.kind == "video" for found in transceivers) != 1:
            raise BadOffer("the offer has more than one video")
        for found in transceivers:
            self._receive(found.receiver, found.kind)
        answer = await self._pc.createAnswer()
        if video_codec(answer.sdp) is None:
            raise BadOffer("the offer sends no video")
        if video_codec(answer.sdp) != self.codec:
            raise NoCodec(f"no {self.codec.upper()} of the offer can be received")
        sdp = await self._gather(answer)
        if profile is not None:
            sdp = _PROFILE.sub(f"profile-level-id={profile}", sdp)
        return with_addresses(sdp, addresses)

    def _receive(self, receiver: RTCRtpReceiver, kind: str) -> None:
        if kind != "video":
            receiver._enabled = False
            return
        self._receiver = receiver
        Inbox(receiver, self._on_frame, self.finish)
        handle, pli = receiver._handle_rtcp_packet, receiver._send_rtcp_pli

        async def seen(packet: Any) -> None:
            self.last_seen_s = self._loop.time()
            await handle(packet)

        async def lost(media_ssrc: int) -> None:
            self._gate.lost()
            await pli(media_ssrc)

        receiver._handle_rtcp_packet = seen  # type: ignore[method-assign]
        receiver._send_rtcp_pli = lost  # type: ignore[method-assign]

    def _on_frame(self, codec: Any, frame: Any) -> None:
        self.last_frame_s = self.last_seen_s = self._loop.time()
        name = _NAMES.get(codec.name)
        if name is None or len(frame.data) > MAX_FRAME_BYTES:
            self._gate.dropped["too large" if name else "codec"] += 1
            self._gate.lost()
            return
        if self._frames.qsize() >= BACKLOG_FRAMES:
            self._gate.dropped["store too slow"] += 1
            self._gate.lost()
            return
        found = self._gate.take(name, bytes(frame.data), int(frame.timestamp))
        if found is None:
            return
        if found.key:
            self._wish.came(self._loop.time())
        self.frames += 1
        self._frames.put_nowait(found)

    async def batch(self, within_s: float) -> list[EncodedFrame] | None:
        """What has come, at least one frame unless none comes `within_s`; None at the end, again and again."""
        found: list[EncodedFrame] = []
        try:
            item = await asyncio.wait_for(self._frames.get(), within_s)
            while item is not None:
                found.append(item)
                item = self._frames.get_nowait()
        except (TimeoutError, asyncio.QueueEmpty):
            return found
        self._frames.put_nowait(None)
        return found or None

    def store_lost(self) -> None:
        """Frames did not reach the store: nothing goes on until the next key frame."""
        self._gate.dropped["store away"] += 1
        self._gate.lost()

    def want_key(self) -> None:
        """A reader asks for a key frame."""
        self._wish.want()

    async def ask_for_key(self) -> None:
        """Send a PLI if one is due. Call it often."""
        receiver, now_s = self._receiver, self._loop.time()
        if receiver is None or not self.connected or self.ended:
            return
        sources = receiver.getSynchronizationSources()
        if sources and self._wish.due(now_s, waiting=self._gate.waiting):
            for source in sources:  # that of retransmissions among them; who gets one for it lets it pass
                await RTCRtpReceiver._send_rtcp_pli(receiver, source.source)

    def finish(self) -> None:
        """No frame will come any more."""
        if not self.ended:
            self.ended = True
            self._frames.put_nowait(None)

    async def close(self) -> None:
        """End the session; any number of times."""
        self.finish()
        await super().close()


def wall_ns() -> int:
    """Unix time of a frame's arrival."""
    return time.time_ns()


def as_baseline(offer: str) -> tuple[str, str | None]:
    """The offer as aiortc takes it, and the profile to put back into its answer (None: nothing was changed).

    aiortc knows H.264 Baseline alone. What is not decoded here may be of any profile, and ffmpeg and some encoders
    offer only the one that they send.
    """
    profiles = [found.lower() for found in _PROFILE.findall(offer)]
    if not profiles or any(found.startswith(("4200", "42e0")) for found in profiles):
        return offer, None
    return _PROFILE.sub(f"profile-level-id={_BASELINE}", offer), profiles[0]
