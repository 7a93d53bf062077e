"""What a stream's url means: which kind of source, what FFmpeg is told, and what may be shown of it.

A url may hold a password; `shown` is the only form that leaves this package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from streamer.addresses import local_file, redact_url
from streamer.errors import SourceCode, SourceError

SCHEMES = (
    "rtsp://",
    "rtsps://",
    "http://",
    "https://",
    "file:",
    "a path",
    "device:N",
    "/dev/videoN",
    "world://",
    "whip://NAME",
)

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class Kind(Enum):
    """How a source is read."""

    RTSP = "rtsp"
    HTTP = "http"
    FILE = "file"
    DEVICE = "device"
    WORLD = "world"
    WHIP = "whip"


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed url. `ffmpeg` may hold a password, so the repr leaves it out; `host` is None where none is dialled."""

    kind: Kind
    ffmpeg: str = field(repr=False)
    shown: str
    host: str | None = None
    port: int | None = None


def parse_address(url: str, *, where: str = "") -> Address:
    """Sort a url into its kind; raises SourceError (INVALID, not retryable) naming the good schemes."""

    def bad(what: str, mend: str) -> SourceError:
        return SourceError(what, code=SourceCode.INVALID, retryable=False, where=where, mend=mend)

    text = url.strip()
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower() if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) else ""
    if not text:
        raise bad("the url is empty", f"use one of {', '.join(SCHEMES)}")
    if scheme == "world":
        return Address(Kind.WORLD, text, text)
    if scheme == "whip":
        return Address(Kind.WHIP, text, text)
    if scheme in _PORTS:
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port or _PORTS[scheme]
        except ValueError as error:
            raise bad(f"{redact_url(text)}: {error}", "check the host and the port") from None
        if not host:
            raise bad(f"{redact_url(text)} names no host", f"write {scheme}://HOST/PATH")
        kind = Kind.RTSP if scheme.startswith("rtsp") else Kind.HTTP
        return Address(kind, text, redact_url(text), host, port)
    if scheme == "device" or text.startswith("/dev/video"):
        device = text if text.startswith("/dev/") else rest.removeprefix("//")
        device = f"/dev/video{device}" if device.isdecimal() else device
        if not device.startswith("/dev/"):
            raise bad(f"{text} names no device", "write device:0 or /dev/video0")
        return Address(Kind.DEVICE, device, device)
    if scheme and scheme != "file" and rest.startswith("//"):
        raise bad(f"no source reads {scheme}:// urls", f"use one of {', '.join(SCHEMES)}")
    path = local_file(text) or Path(text)
    full = path.absolute()
    # The prefix keeps FFmpeg from reading a protocol into the name of a file ("concat:a", "pipe:0").
    return Address(Kind.FILE, f"file:{full}", str(full))
