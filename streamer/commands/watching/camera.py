"""Live cameras on loopback whose every picture says when it was taken: a drawn street with the time painted in it.

The pictures are encoded here as a camera would (H.264, key frame each second) and go as RTP to GStreamer's RTSP server
in the system's Python, which hands them on untouched.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from streamer.commands.watching.painted import BITS, COLUMNS, MODULUS, SIDE_PX, between, paint
from streamer.errors import SightlineError

HW = (360, 640)
FPS = 25
LOOP_FRAMES = 100  # of the street, drawn before anything is measured
SYSTEM_PYTHON = "/usr/bin/python3"
_NEEDED = (
    "apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
)


def painted_ms() -> int:
    """The number that a picture taken now bears: milliseconds of Unix time, mod 2^24."""
    return time.time_ns() // 1_000_000 % MODULUS


def street(seed: int = 7) -> list[NDArray[np.uint8]]:
    """Pictures uint8 (540, 640) YUV 4:2:0 of a drawn street, one after the other: what an encoder takes, made before
    anything is measured. Colourless where a number is to be painted."""
    from streamer.world import World, WorldConfig

    world = World(WorldConfig(seed=seed, height=HW[0], width=HW[1], fps=FPS))
    return [planar(np.array(world.step()[0])) for _ in range(LOOP_FRAMES)]


def planar(picture_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB as YUV 4:2:0, (3/2 H, W): Y over U over V."""
    height, width = picture_rgb.shape[:2]
    picture = VideoFrame.from_ndarray(picture_rgb, format="rgb24").to_ndarray(format="yuv420p")
    rows = -(-BITS // COLUMNS) * SIDE_PX // 2
    for plane in np.split(picture[height:].reshape(height, width // 2), 2):
        plane[:rows, : COLUMNS * SIDE_PX // 2] = 128
    return picture.astype(np.uint8, copy=False)


@contextmanager
def camera(pictures: list[NDArray[np.uint8]], *, b_frames: int = 0) -> Iterator[str]:
    """The address of a live camera, as long as the context lasts. With `b_frames` no browser can play its packets."""
    with cameras(pictures, 1, b_frames=b_frames) as (url,):
        yield url


@contextmanager
def cameras(
    pictures: list[NDArray[np.uint8]], count: int, *, fps: float = FPS, b_frames: int = 0
) -> Iterator[list[str]]:
    """The addresses of `count` live cameras, each with an encoder of its own and elsewhere in the same street, which
    `street` gave as `pictures`.

    They take their pictures in turn and not all at one moment, as cameras do that nobody has tuned to each other.
    """
    ports = _free_udp_ports(count)
    script = Path(__file__).with_name("rtsp_camera.py")
    server = subprocess.Popen(
        [SYSTEM_PYTHON, str(script), ",".join(map(str, ports)), *([] if b_frames else ["in-order"])],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    stop = threading.Event()
    shots = [
        Shots(port, pictures, fps, b_frames, first=place * len(pictures) // count, wait_s=place / count / fps)
        for place, port in enumerate(ports)
    ]
    shooting = [threading.Thread(target=_shoot, args=(shot, stop), daemon=True) for shot in shots]
    try:
        assert server.stdout is not None
        word = server.stdout.readline().split()
        if word[:1] != ["READY"]:
            raise SightlineError("GStreamer's RTSP server cannot be run", where="bench", mend=_NEEDED)
        for thread in shooting:
            thread.start()
        yield [f"rtsp://127.0.0.1:{word[1]}/{place}" for place in range(count)]
    finally:
        stop.set()
        for thread in shooting:
            if thread.ident is not None:
                thread.join(5)
        server.kill()
        server.wait()


@dataclass(frozen=True, slots=True)
class Shots:
    """What one camera takes: `pictures` to and fro from the `first` on, `wait_s` after the others, sent to `port`."""

    port: int
    pictures: list[NDArray[np.uint8]]
    fps: float
    b_frames: int
    first: int
    wait_s: float


def to_and_fro(taken: int, count: int) -> int:
    """Which of `count` pictures is the `taken`th: forwards and backwards in turn, for at the seam of a ring everybody
    would be elsewhere at once, and every track would end."""
    place = taken % max(1, 2 * count - 2)
    return place if place < count else 2 * count - 2 - place


def _shoot(shots: Shots, stop: threading.Event) -> None:
    """Take, encode and send pictures at their time until told to stop."""
    fps, b_frames, group = shots.fps, shots.b_frames, max(1, round(shots.fps))
    with av.open(f"rtp://127.0.0.1:{shots.port}?pkt_size=1200", "w", format="rtp") as out:
        stream = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = HW
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, 90_000)
        stream.options = {
            "preset": "superfast",
            "crf": "26",
            "x264-params": f"keyint={group}:min-keyint={group}:scenecut=0:repeat-headers=1:threads=1:bframes={b_frames}"
            + ("" if b_frames else ":rc-lookahead=0:sync-lookahead=0"),
        }
        if not b_frames:
            stream.options = {**stream.options, "tune": "zerolatency", "profile": "main"}
        start = time.monotonic() + shots.wait_s
        taken, first_ms = 0, None
        while not stop.wait(max(0.0, start + taken / fps - time.monotonic())):
            picture = shots.pictures[to_and_fro(shots.first + taken, len(shots.pictures))].copy()
            now_ms = painted_ms()
            paint(picture, now_ms)
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            # The time stamp is of the same moment as the number, however late this thread was on a busy machine.
            first_ms = now_ms if first_ms is None else first_ms
            frame.pts, frame.time_base = between(now_ms, first_ms) * 90, Fraction(1, 90_000)
            for packet in stream.encode(frame):
                out.mux(packet)
            taken += 1


def _free_udp_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now, none beside another: a camera's reports go to the port after its own."""
    taken: dict[int, socket.socket] = {}
    with ExitStack() as stack:
        while len(taken) < count:
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if not {port - 1, port + 1} & taken.keys():
                taken[port] = probe
        return list(taken)
