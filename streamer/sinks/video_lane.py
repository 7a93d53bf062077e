"""One codec's way to the viewers of one stream: a thread that writes packets, passed on or encoded, while watched.

Packets of the camera wait in a bounded queue, in order: leaving one out would spoil all up to the next key frame.
Pictures to encode come through one slot in which the newest wins, so that decoding never waits for the encoder. A
change from one to the other begins with a key frame, and as one thread writes both, time stamps grow across it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from streamer.clock import Clock
from streamer.ports import ViewerCounts
from streamer.sinks.video_encoder import Encoder, encoded_hw, hw_of
from streamer.sinks.video_passing import KEEP_BYTES, KEEP_PACKETS, CameraPacket
from streamer.types import TICKS_90K, FrameRef, Hw

log = logging.getLogger(__name__)

# A late viewer starts from the last key frame, and a lossy one heals at the next: two seconds bound both.
KEY_EVERY_S: Final = 2.0
# Key frames are large; a viewer in trouble asks for many. One per half second is what a link in trouble can take.
KEY_REQUEST_GAP_S: Final = 0.5
# What waits for the store: a late viewer's whole group, and as much again.
QUEUE_PACKETS: Final = 2 * KEEP_PACKETS
QUEUE_BYTES: Final = 2 * KEEP_BYTES
_FPS: Final = 25.0
_FPS_RANGE: Final = (1.0, 60.0)

BUSY: Final = "encoder busy"
SLOW_STORE: Final = "slow store"


class PacketWriter(Protocol):
    """Takes packets for viewers: H.264 Annex B, parameter sets in band at each key frame, or VP8 frames.

    `pts90k` in 90 kHz ticks; must not raise for a store that is away (it counts and drops).
    """

    def write_packet(
        self,
        stream: str,
        data: bytes,
        key: bool,
        pts90k: int,
        epoch: int,
        seq: int,
        wall_ns: int,
        codec: str = "h264",
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class _Picture:
    ref: FrameRef
    picture: Any  # av.VideoFrame, or uint8 (H, W, 3) RGB


@dataclass(slots=True)
class _Encoding:
    """The encoder that runs, and what it was made for; the thread's own."""

    encoder: Encoder
    epoch: int
    source_hw: Hw
    last_key_pts90k: int = 0


class Lane:
    """Runs from `start` to `stop`, again and again. All methods may be called from any thread; none waits for it."""

    def __init__(self, stream: str, codec: str, writer: PacketWriter, clock: Clock) -> None:
        self._stream, self._codec = stream, codec
        self._writer = writer
        self._clock = clock
        self._ready = threading.Condition()
        self._queue: deque[CameraPacket] = deque()
        self._queued_bytes = 0
        self._slot: _Picture | None = None
        self._watched = False
        self._passing = False
        self._lagging = False  # packets were left out: nothing goes on but from a key frame
        self._thread: threading.Thread | None = None
        self._key_wanted = False
        self._key_forced = False
        self._key_served_ns: int | None = None
        self._last_ref: FrameRef | None = None
        self._fps = _FPS
        self._dropped: Counter[str] = Counter()
        self.encoders_started = 0
        self.encoders_running = 0
        self.passed = 0
        self.encoded = 0
        self.failures = 0

    @property
    def watched(self) -> bool:
        return self._watched

    @property
    def passing(self) -> bool:
        """Whether what viewers get now is the camera's own packets."""
        return self._watched and self._passing

    @property
    def wants_pictures(self) -> bool:
        return self._watched and not self._passing

    def counts(self) -> ViewerCounts:
        with self._ready:
            dropped = {reason: many for reason, many in self._dropped.items() if many}
        return ViewerCounts(self.encoders_started, self.encoders_running, self.passed, self.encoded, dropped)

    def start(self, group: Sequence[CameraPacket] = ()) -> None:
        """Somebody watches: `group` goes out first, and packets after it; without one, the next picture is encoded."""
        with self._ready:
            if self._watched:
                return
            self._watched, self._passing, self._lagging = True, bool(group), False
            self._queue.extend(group)
            self._queued_bytes = sum(len(packet.data) for packet in group)
            self._key_forced = True
            self._last_ref = None
            if self._thread is None:
                name = f"viewers {self._stream} {self._codec}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            self._ready.notify_all()

    def stop(self) -> None:
        """Nobody watches: what waits is forgotten, the encoder is freed and the thread ends."""
        with self._ready:
            self._watched = self._passing = False
            self._slot = None
            self._clear()
            self._ready.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end after `stop`, at most so long."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def request_keyframe(self) -> None:
        """Make the next encoded picture a key frame, at most once per half second (a later request is kept for then).

        A camera whose packets pass cannot be asked; its own next key frame is the answer.
        """
        with self._ready:
            self._key_wanted = True

    def pass_on(self, packet: CameraPacket) -> None:
        """The camera's next packet; where pictures were encoded until now, a key frame takes over."""
        with self._ready:
            self._note_pace(packet.ref)
            if not self._watched or not (self._passing or packet.key):
                return
            if not self._passing:
                self._passing = True
                self._dropped[BUSY] += self._slot is not None
                self._slot = None
            if len(self._queue) >= QUEUE_PACKETS or self._queued_bytes >= QUEUE_BYTES:
                self._dropped[SLOW_STORE] += len(self._queue)
                self._clear()
                self._lagging = True
            if self._lagging and not packet.key:
                self._dropped[SLOW_STORE] += 1
                return
            self._lagging = False
            self._queue.append(packet)
            self._queued_bytes += len(packet.data)
            self._ready.notify_all()

    def encode(self) -> None:
        """From here on packets will not do: pictures are encoded, beginning with a key frame."""
        with self._ready:
            self._passing = False

    def offer(self, ref: FrameRef, picture: Any) -> None:
        """The newest picture; one that the encoder has not begun is passed over. It must not be changed afterwards."""
        with self._ready:
            self._note_pace(ref)
            if not self.wants_pictures:
                return
            self._dropped[BUSY] += self._slot is not None
            self._slot = _Picture(ref, picture)
            self._ready.notify_all()

    def _note_pace(self, ref: FrameRef) -> None:
        last, self._last_ref = self._last_ref, ref
        if last is not None and last.epoch == ref.epoch and ref.pts90k > last.pts90k:
            low, high = _FPS_RANGE
            self._fps = min(high, max(low, TICKS_90K / (ref.pts90k - last.pts90k)))

    def _clear(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0

    # ------------------------------------------------------------------------------------------------ the thread

    def _take(self) -> CameraPacket | _Picture | None:
        """What goes out next, waited for; None when nobody watches any more (and then the thread has signed off)."""
        with self._ready:
            while self._watched and not self._queue and self._slot is None:
                self._ready.wait()
            if not self._watched:
                self._thread = None
                return None
            if self._queue:
                packet = self._queue.popleft()
                self._queued_bytes -= len(packet.data)
                return packet
            picture, self._slot = self._slot, None
            return picture

    def _run(self) -> None:
        encoding: _Encoding | None = None
        while (item := self._take()) is not None:
            try:
                if isinstance(item, CameraPacket):
                    self._free(encoding)
                    encoding = None
                    self.passed += 1
                    self._write(item.data, item.key, item.ref)
                else:
                    encoding = self._made_for(item, encoding)
                    self._encode(item, encoding)
            except Exception as error:  # viewers may go without; the stream's own work must not notice
                self._free(encoding)
                encoding = None
                self._stumble(error)
        self._free(encoding)

    def _made_for(self, item: _Picture, encoding: _Encoding | None) -> _Encoding:
        hw = hw_of(item.picture)
        if encoding is not None and encoding.epoch == item.ref.epoch and encoding.source_hw == hw:
            return encoding
        encoder = Encoder(encoded_hw(hw), self._fps, self._codec)
        self._free(encoding)
        with self._ready:
            self.encoders_started += 1
            self.encoders_running += 1
            self._key_forced = True
        return _Encoding(encoder, item.ref.epoch, hw)

    def _free(self, encoding: _Encoding | None) -> None:
        """It runs no more; with the last name for it goes its memory."""
        if encoding is not None:
            with self._ready:
                self.encoders_running -= 1

    def _encode(self, item: _Picture, encoding: _Encoding) -> None:
        ref = item.ref
        key = ref.pts90k - encoding.last_key_pts90k >= KEY_EVERY_S * TICKS_90K or self._key_due()
        for data, is_key, pts90k in encoding.encoder.encode(item.picture, ref.pts90k, key=key):
            if is_key:
                encoding.last_key_pts90k = pts90k
            self.encoded += 1
            self._write(data, is_key, ref)

    def _write(self, data: bytes, key: bool, ref: FrameRef) -> None:
        self._writer.write_packet(
            self._stream, data, key, ref.pts90k, ref.epoch, ref.seq, ref.wall_ns, self._codec
        )
        if key:
            with self._ready:
                self._key_wanted = self._key_forced = False
                self._key_served_ns = self._clock.monotonic_ns()

    def _stumble(self, error: Exception) -> None:
        with self._ready:
            if self._passing:
                self._dropped[SLOW_STORE] += len(self._queue)
                self._clear()
                self._lagging = True
        self.failures += 1
        if self.failures & (self.failures - 1) == 0:  # told at 1, 2, 4, 8, ...
            log.warning("stream %s: no picture for viewers: %s", self._stream, error)

    def _key_due(self) -> bool:
        with self._ready:
            if self._key_forced or not self._key_wanted:
                return self._key_forced
            served_ns = self._key_served_ns
            return served_ns is None or self._clock.monotonic_ns() - served_ns >= KEY_REQUEST_GAP_S * 1e9
