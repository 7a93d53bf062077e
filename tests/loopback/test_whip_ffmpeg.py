"""FFmpeg's own WHIP muxer publishes here, given a certificate whose curve our DTLS speaks.

By itself a build with GnuTLS makes one on P-224, which OpenSSL from 4.0 on has not: it ends the handshake with
`illegal_parameter`, and FFmpeg says that a fatal alert has been received. It publishes from a process of its own: while
PyAV writes the muxer's header, which is the whole handshake, it holds the interpreter.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import sys
import time
from pathlib import Path

import av
import numpy as np
import uvicorn
from av.video.stream import VideoStream
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI

from tests.fakes.publishers import PublishedMemory, decoded, until
from web.whip import WhipServer

FRAMES = 60


def own_certificate(folder: Path) -> dict[str, str]:
    """The muxer's options for a certificate on P-256, which every WebRTC library speaks."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whip")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    (folder / "cert.pem").write_bytes(
        made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    form = serialization.PrivateFormat.PKCS8
    plain = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(plain)
    return {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}


def publish(url: str, options: dict[str, str]) -> None:
    """What `ffmpeg -re … -f whip URL` does. Raises av.FFmpegError if it does not connect."""
    with av.open(url, "w", format="whip", options=options) as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency"})
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt, video.codec_context.gop_size = 320, 180, "yuv420p", 10
        video.codec_context.profile = "Baseline"
        for i in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((180, 320, 3), i, np.uint8), format="rgb24")
            out.mux(video.encode(frame))
            time.sleep(0.02)  # the muxer sends at once what it is given


def test_ffmpegs_muxer_publishes_with_a_certificate_on_p256(tmp_path: Path) -> None:
    store = PublishedMemory("desk")

    async def run() -> None:
        whip, app = WhipServer(store), FastAPI()
        app.include_router(whip.router)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/desk/whip"
            try:
                options = [f"{name}={value}" for name, value in own_certificate(tmp_path).items()]
                root = Path(__file__).parents[2]
                child = await asyncio.create_subprocess_exec(
                    sys.executable, __file__, url, *options, env={**os.environ, "PYTHONPATH": str(root)}
                )
                try:
                    assert await asyncio.wait_for(child.wait(), 40) == 0
                finally:
                    if child.returncode is None:
                        child.kill()
                        await child.wait()
                await until(lambda: store.ended, "it says goodbye")
            finally:
                server.should_exit = True
                await serving
                await whip.aclose()

    asyncio.run(run())
    frames = [frame for _, frame in store.frames]
    assert len(frames) >= FRAMES - 10 and frames[0].key
    assert {frame.codec for frame in frames} == {"h264"} and len(decoded(frames)) >= FRAMES - 15


if __name__ == "__main__":
    publish(sys.argv[1], dict(option.split("=", 1) for option in sys.argv[2:]))
