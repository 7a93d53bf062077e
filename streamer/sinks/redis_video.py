"""Packets for viewers in Redis: one capped stream per codec, and where its newest key frame lies.

A reader begins at that key frame, so what came since the last but one is kept, and nothing of what nobody watches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import redis

from streamer.wire import keys

# A stream's packets vanish this long after its last key frame, so what nobody watches takes no memory.
VIDEO_TTL_S: Final = 30
# Key frames bound the packets kept; this is for a source whose key frames stay away.
VIDEO_MAXLEN: Final = 600
CODECS: Final = ("h264", "vp8")


class Try(Protocol):
    """Makes a call on the server; None if it is away or refuses."""

    def __call__(self, call: Callable[[redis.Redis], Any], /) -> Any: ...


class VideoLog:
    """Writes packets through `attempt`; each (stream, codec) from one thread at a time. Never raises."""

    def __init__(self, attempt: Try) -> None:
        self._try = attempt
        self._keyframes: dict[tuple[str, str], deque[bytes]] = {}  # entry ids of the last two key frames
        self.written = 0
        self.dropped = 0

    def write(
        self,
        stream: str,
        codec: str,
        data: bytes,
        key: bool,
        pts90k: int,
        epoch: int,
        seq: int,
        wall_ns: int,
    ) -> None:
        """One packet: H.264 Annex B or a VP8 frame. The stream keeps what came since the last key frame but one."""
        keyframes = self._keyframes.setdefault((stream, codec), deque(maxlen=2))
        trim: tuple[Any, ...] = ("MAXLEN", "~", VIDEO_MAXLEN)
        if key and keyframes:
            trim = ("MINID", keyframes[-1])
        name = keys.video(stream, codec)
        head = ("XADD", name, *trim, "*", "d", data, "k", b"1" if key else b"0", "p", pts90k)
        command = (*head, "e", epoch, "q", seq, "w", wall_ns, "c", codec)
        entry: Any = self._try(
            lambda client: client.execute_command(*command)  # type: ignore[no-untyped-call]
        )
        if entry is None:
            self.dropped += 1
            return
        self.written += 1
        if key:
            keyframes.append(entry)
            self._try(lambda client: _mark_key(client, name, keys.video_key(stream, codec), entry))

    def watched(self, streams: Sequence[str], codec: str) -> set[str]:
        """Those of `streams` that somebody watches now in this codec; none while the server is away."""
        if not streams:
            return set()

        def ask(client: redis.Redis) -> list[int]:
            pipe = client.pipeline(transaction=False)
            for name in streams:
                pipe.exists(keys.watch(name, codec))
            return pipe.execute()

        return {name for name, there in zip(streams, self._try(ask) or [], strict=False) if there}

    def forget(self, stream: str) -> list[str]:
        """The stream is no more; the keys that held its packets."""
        gone: list[str] = []
        for codec in CODECS:
            self._keyframes.pop((stream, codec), None)
            gone += [keys.video(stream, codec), keys.video_key(stream, codec), keys.watch(stream, codec)]
        return gone


def _mark_key(client: redis.Redis, video: str, video_key: str, entry: bytes) -> None:
    pipe = client.pipeline(transaction=False)
    pipe.set(video_key, entry, ex=VIDEO_TTL_S)
    pipe.expire(video, VIDEO_TTL_S)
    pipe.execute()
