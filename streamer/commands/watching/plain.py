"""The usual way, to compare with: aiortc with an H.264 encoder for each viewer. `python -m … plain CAMERA`.

One thread decodes the camera; each viewer has a track that gives the newest picture, which aiortc encodes for it alone.
Prints `READY <port>`; its WHEP route is /cam/whep.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av.video.frame import VideoFrame


class Newest:
    """The newest picture, for any number of tracks of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._picture: VideoFrame | None = None
        self.count = 0
        self._more = asyncio.Event()

    def give(self, picture: VideoFrame) -> None:
        """From the decoding thread."""
        self._loop.call_soon_threadsafe(self._take, picture)

    def _take(self, picture: VideoFrame) -> None:
        self._picture, self.count = picture, self.count + 1
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def after(self, seen: int) -> tuple[int, VideoFrame]:
        while self._picture is None or self.count <= seen:
            await self._more.wait()
        return self.count, self._picture


class PlainTrack(MediaStreamTrack):
    """Pictures for one viewer; aiortc makes an encoder for it."""

    kind = "video"

    def __init__(self, newest: Newest) -> None:
        super().__init__()
        self._newest, self._seen = newest, 0

    async def recv(self) -> VideoFrame:
        self._seen, picture = await self._newest.after(self._seen)
        frame = VideoFrame.from_ndarray(picture.to_ndarray(format="yuv420p"), format="yuv420p")
        frame.pts, frame.time_base = self._seen * 3600, Fraction(1, 90_000)
        return frame


def decode(url: str, newest: Newest) -> None:
    """The camera's pictures, until the process ends."""
    with av.open(url, options={"rtsp_transport": "tcp", "fflags": "nobuffer"}) as source:
        for picture in source.decode(video=0):
            newest.give(picture)


async def main(url: str) -> None:
    loop = asyncio.get_running_loop()
    newest = Newest(loop)
    peers: list[RTCPeerConnection] = []

    async def answer(offer: str) -> str:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peers.append(pc)
        await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        pc.addTrack(PlainTrack(newest))
        await pc.setLocalDescription(await pc.createAnswer())
        return pc.localDescription.sdp

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            offer = self.rfile.read(int(self.headers["Content-Length"])).decode()
            text = asyncio.run_coroutine_threadsafe(answer(offer), loop).result(20).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/sdp")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=decode, args=(url, newest), daemon=True).start()
    print(f"READY {server.server_address[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
