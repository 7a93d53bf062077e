"""One stream's picture for viewers: the camera's own packets where a browser can play them, else one encoder for all.

Passing packets on costs some 10 % of a core for twenty viewers, encoding once and sending the same packets to all 19 %
(640x360 at 25 fps); an encoder per viewer takes all it can get and falls to 13.5 fps. So an encoder runs only where
packets will not do, and only from the first viewer to the last. VP8 is encoded beside it, for browsers without H.264,
while one of them watches.

A file that is analysed as fast as it can be read is not passed on: its packets would come faster than they play, and
none may be left out. Its viewers see the newest picture that the encoder is ready for, so it runs in fast motion (or
slow, if the engine is slower than the film). `realtime: true` makes it a camera.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from streamer.clock import Clock
from streamer.ports import ViewerCounts
from streamer.sinks.video_encoder import Encoder, bitrate_bps, encoded_hw
from streamer.sinks.video_lane import KEY_EVERY_S, KEY_REQUEST_GAP_S, Lane, PacketWriter
from streamer.sinks.video_passing import CameraPacket, Passing
from streamer.types import FrameRef

__all__ = [
    "KEY_EVERY_S",
    "KEY_REQUEST_GAP_S",
    "Encoder",
    "PacketWriter",
    "VideoPublisher",
    "bitrate_bps",
    "encoded_hw",
]

NEXT_KEY = "until the next key frame"


class VideoPublisher:
    """A PictureTap whose packets go to `writer` while somebody watches; `codec` is "h264" or "vp8", others are ignored.

    All methods may be called from any thread; none waits for an encoder or for the store (`close` joins the threads).
    """

    def __init__(self, stream: str, writer: PacketWriter, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._passing = Passing()
        self._h264 = Lane(stream, "h264", writer, clock)
        self._vp8 = Lane(stream, "vp8", writer, clock)
        self._lanes = {"h264": self._h264, "vp8": self._vp8}
        self._closed = False

    # ------------------------------------------------------------------------------------------------ viewers

    def set_watched(self, watched: bool, codec: str = "h264") -> None:
        """Somebody watches in this codec, or nobody any more. Saying it again changes nothing.

        Viewers begin with the running group of the camera's packets, under its own time stamps, or else with the next
        picture, which is encoded.
        """
        lane = self._lanes.get(codec)
        if lane is None:
            return
        with self._lock:
            if not watched or self._closed:
                lane.stop()
            elif not lane.watched:
                passed = lane is self._h264
                lane.start(self._passing.group(self._clock.monotonic_ns()) if passed else ())

    @property
    def watched(self) -> bool:
        """Whether somebody watches, in whatever codec."""
        return any(lane.watched for lane in self._lanes.values())

    def request_keyframe(self, codec: str = "h264") -> None:
        """A viewer cannot go on without a key frame; see `Lane.request_keyframe`."""
        if lane := self._lanes.get(codec):
            lane.request_keyframe()

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop for good; waits for the threads, at most `timeout_s` each."""
        with self._lock:
            self._closed = True
            for lane in self._lanes.values():
                lane.stop()
        for lane in self._lanes.values():
            lane.join(timeout_s)

    # ------------------------------------------------------------------------------------------------ the source

    @property
    def wanted(self) -> bool:
        """Whether pictures must be encoded now; the source asks before it does any work for viewers."""
        return self._h264.wants_pictures or self._vp8.wants_pictures

    def offer(self, ref: FrameRef, picture: Any) -> None:
        """Take this picture for the encoders that run. It must not be changed afterwards."""
        for lane in self._lanes.values():
            lane.offer(ref, picture)

    def offer_packet(self, ref: FrameRef, data: bytes, key: bool) -> None:
        """Take this packet for viewers, now or late; see PictureTap."""
        packet = CameraPacket(ref, data, key)
        with self._lock:
            if self._passing.take(packet, self._clock.monotonic_ns()):
                self._h264.pass_on(packet)
            else:
                self._h264.encode()

    def no_packets(self, why: str) -> None:
        """Encode from here on."""
        with self._lock:
            self._passing.refuse(why)
            self._h264.encode()

    # ------------------------------------------------------------------------------------------------ what is said

    def fields(self) -> dict[str, str]:
        """How viewers get their picture (`pass-through`, `encoded`, or nothing yet), why, and what it costs."""
        with self._lock:
            known, why = self._passing.known, self._passing.why
        if known and not why and self._h264.wants_pictures:
            why = NEXT_KEY
        lanes = self._lanes.values()
        return {
            "viewer_video": "" if not known else "encoded" if why else "pass-through",
            "viewer_video_why": why,
            "viewer_encoders": str(sum(lane.encoders_running for lane in lanes)),
            "viewer_encoders_started": str(self.encoders_started),
        }

    def counts(self) -> Mapping[str, ViewerCounts]:
        """By codec, what became of the stream's picture."""
        return {codec: lane.counts() for codec, lane in self._lanes.items()}

    @property
    def groups_given_up(self) -> int:
        """Groups of pictures that were not kept for a late viewer: too large, or their camera went silent."""
        return self._passing.given_up

    @property
    def encoders_started(self) -> int:
        return sum(lane.encoders_started for lane in self._lanes.values())

    @property
    def packets(self) -> int:
        """Packets handed to the writer, passed on or encoded."""
        return sum(lane.passed + lane.encoded for lane in self._lanes.values())

    @property
    def skipped(self) -> int:
        """Pictures and packets that viewers never saw, for whatever reason."""
        return sum(sum(lane.counts().dropped.values()) for lane in self._lanes.values())

    @property
    def failures(self) -> int:
        return sum(lane.failures for lane in self._lanes.values())
