"""Many viewers in one process that receive everything and decode nothing: `python -m … watchers URL N [results]`.

They are plain aiortc peers that offer H.264 only and know nothing of this product but its WHEP address; with `results`
each has the channel of results too, as the product's own page asks for it. Prints one JSON line: frames and results of
each viewer in the measured time, and how long each waited for its first frame.
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
    """One viewer; `frames_s` are the times at which its frames were whole, `results_s` those of its results."""

    pc: RTCPeerConnection
    asked_s: float
    location: str
    frames_s: list[float] = field(default_factory=list)
    results_s: list[float] = field(default_factory=list)


_taking: list[list[float]] = []  # whose decoder is made next: one viewer connects at a time


def _counting(codec: Any) -> Counting:
    return Counting(_taking[-1])


vars(aiortc.rtcrtpreceiver)["get_decoder"] = _counting


async def watch(url: str, *, results: bool) -> Watcher:
    """One more viewer, connected and with its first frame."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    transceiver = pc.addTransceiver("video", direction="recvonly")
    able = RTCRtpReceiver.getCapabilities("video")
    assert able is not None
    transceiver.setCodecPreferences([c for c in able.codecs if c.mimeType in ("video/H264", "video/rtx")])
    results_s: list[float] = []
    if results:
        channel = pc.createDataChannel("results", protocol="deflate")
        channel.on("message", lambda told: note(told, results_s))
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
    return Watcher(pc, asked_s, location, frames_s, results_s)


def note(told: str | bytes, results_s: list[float]) -> None:
    """Results come compressed; the other messages are text."""
    if isinstance(told, bytes):
        results_s.append(time.monotonic())


def _post(url: str, offer: str) -> tuple[str, str]:
    request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode(), answer.headers.get("Location", "")


async def main(url: str, viewers: int, *, results: bool) -> None:
    """Connect all, say READY, count until a line comes on stdin, print what was counted."""
    watchers = [await watch(url, results=results) for _ in range(viewers)]
    print("READY", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    since_s = time.monotonic()
    print("BEGUN", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    until_s = time.monotonic()
    counted = {
        "seconds": until_s - since_s,
        "frames": [sum(since_s <= at <= until_s for at in w.frames_s) for w in watchers],
        "results": [sum(since_s <= at <= until_s for at in w.results_s) for w in watchers],
        "first_s": [w.frames_s[0] - w.asked_s for w in watchers],
    }
    print(json.dumps(counted), flush=True)
    await asyncio.gather(*(w.pc.close() for w in watchers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), results="results" in sys.argv[3:]))
