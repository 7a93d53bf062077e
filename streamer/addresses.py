"""The addresses that streams and servers can have: checked without opening anything, and shown without secrets."""

from __future__ import annotations

import difflib
import errno
import re
import socket
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from streamer.errors import ConfigError

SCHEMES = ("rtsp", "rtsps", "http", "https", "file", "device", "world", "whip")
NETWORK_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https"})

# As names of streams are (streamer.config has the same, one floor up).
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_CREDENTIALS = re.compile(r"(?<=//)[^/?#]*@")
_SECRET_QUERY = re.compile(r"(?i)([?&][^=&#]*(?:pass|pwd|token|secret|key|auth|sig)[^=&#]*=)[^&#]*")


def redact_url(url: str) -> str:
    """The URL with credentials and secret-looking query values replaced by `***`; safe to log and to show."""
    return _SECRET_QUERY.sub(r"\1***", _CREDENTIALS.sub("***@", url))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def local_file(url: str) -> Path | None:
    """The local media file that `url` names (`file:///…`, `file:…` or a path), or None for anything else."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return None if url.startswith("/dev/") else Path(url).expanduser()
    if scheme[1].lower() != "file":
        return None
    rest = url[len("file:") :]
    return Path(rest[2:] if rest.startswith("//") else rest).expanduser()


def published_name(url: str, stream: str) -> str | None:
    """The name that `whip://NAME` is published under, `stream` where NAME is left out; None for other urls."""
    scheme, colon, name = url.partition("://")
    return (name or stream) if colon and scheme.lower() == "whip" else None


def checked_url(url: str) -> str:
    """The same URL; raises PydanticCustomError (what — mend) if no stream can have it. Nothing is opened."""

    def refuse(what: str, mend: str) -> PydanticCustomError:
        return PydanticCustomError("bad_url", "{what} — {mend}", {"what": what, "mend": mend})

    if not url.strip():
        raise refuse("the address is empty", "write an address such as rtsp://camera/stream or clip.mp4")
    if any(ord(c) < 32 for c in url) or url != url.strip():
        raise refuse("the address has spaces or control characters around or in it", "remove them")
    scheme = _SCHEME.match(url)
    if scheme is None:
        return url
    name = scheme[1].lower()
    if name not in SCHEMES:
        close = difflib.get_close_matches(name, SCHEMES, n=2)
        likely = f"did you mean {min(close, key=len)}://?" if close else ""
        hint = likely or f"use one of {', '.join(SCHEMES)}, or a file's path"
        raise refuse(f"{name}: is no scheme that a stream can have", hint)
    if name in NETWORK_SCHEMES:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise refuse(
                "the host or port in the address cannot be read", f"write {name}://host:port/path"
            ) from None
        if not host:
            raise refuse("the address names no host", f"write {name}://host/path")
    if name == "whip" and not _NAME.fullmatch(published_name(url, "own") or ""):
        raise refuse(
            "what is published has a name like a stream's, and nothing behind it",
            "write whip://NAME or whip://",
        )
    if name == "world" and not url.lower().startswith("world://street"):
        raise refuse("the world has no such place", "write world://street?seed=7")
    return url


def refuse_taken_port(host: str, port: int, *, where: str = "") -> None:
    """Raise ConfigError if nobody can listen on `host`:`port` now: it is in use, or no address of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise ConfigError(
            f"{host} is no address of this machine", where=where or "host", mend="use 127.0.0.1"
        ) from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise ConfigError(
                f"port {port} {reason}", where=where or host, mend="take another with --port"
            ) from None
