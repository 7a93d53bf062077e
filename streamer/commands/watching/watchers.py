"""Many viewers in one process that receive everything and decode nothing: `python -m … watchers URL N SECONDS`.

They are plain aiortc peers that offer H.264 only and know nothing of this product but its WHEP address. Prints one JSON
line: frames of each viewer in the measured time, and how long each waited for its first.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import aiortc.rtcrtpreceiver
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)

FIRST_DEADLINE_S = 30.0


class Counting:
    """Stands where a decoder would: takes whole encoded frames and gives none."""

    def __init__(self, at_s: list[float]) -> None:
        self._at_s = at_s

    def decode(self, encoded_frame: Any) -> list[Any]:
        self._at_s.append(time.monotonic())
        return []


@dataclass
class Watcher:
    """One viewer; `frames_s` are the times at which its frames were whole."""

    pc: RTCPeerConnection
    asked_s: float
    location: str
    frames_s: list[float] = field(default_factory=list)


_taking: list[list[float]] = []  # whose decoder is made next: one viewer connects at a time


def _counting(codec: Any) -> Counting:
    return Counting(_taking[-1])


vars(aiortc.rtcrtpreceiver)["get_decoder"] = _counting


async def watch(url: str) -> Watcher:
    """One more viewer, connected and with its first frame."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    transceiver = pc.addTransceiver("video", direction="recvonly")
    able = RTCRtpReceiver.getCapabilities("video")
    assert able is not None
    transceiver.setCodecPreferences([c for c in able.codecs if c.mimeType in ("video/H264", "video/rtx")])
    await pc.setLocalDescription(await pc.createOffer())
    asked_s = time.monotonic()
    frames_s: list[float] = []
    _taking.append(frames_s)
    answer, location = await asyncio.to_thread(_post, url, pc.localDescription.sdp)
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    until = asked_s + FIRST_DEADLINE_S
    while not frames_s:
        if time.monotonic() > until:
            raise TimeoutError(f"no frame in {FIRST_DEADLINE_S:.0f} s")
        await asyncio.sleep(0.005)
    return Watcher(pc, asked_s, location, frames_s)


def _post(url: str, offer: str) -> tuple[str, str]:
    request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode(), answer.headers.get("Location", "")


async def main(url: str, viewers: int) -> None:
    """Connect all, say READY, count until a line comes on stdin, print what was counted."""
    watchers = [await watch(url) for _ in range(viewers)]
    print("READY", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    since_s = time.monotonic()
    print("BEGUN", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    until_s = time.monotonic()
    frames = [sum(since_s <= at <= until_s for at in w.frames_s) for w in watchers]
    first = [w.frames_s[0] - w.asked_s for w in watchers]
    print(json.dumps({"seconds": until_s - since_s, "frames": frames, "first_s": first}), flush=True)
    await asyncio.gather(*(w.pc.close() for w in watchers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
