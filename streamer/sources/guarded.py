"""What FFmpeg is told about a stream that came in through the API: where it may connect, and through which door.

`http` and `https` go through `streamer.sources.outbound`, which judges every connection, those of redirects and
playlists too. `rtsp` is dialled at the very address that was judged. `rtsps` keeps its name, which TLS needs, so FFmpeg
looks the name up once more. Not covered: an RTSP server that redirects (FFmpeg follows it, speaking RTSP), and for
`rtsps` a name server that changes its mind between two questions a moment apart.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from streamer.errors import ConfigError, SourceCode
from streamer.reach import admitted
from streamer.sources.address import Address, Kind
from streamer.sources.failure import source_error
from streamer.sources.outbound import way_out

PROBE_S = 2.0
_HTTP = {"protocol_whitelist": "http,https,httpproxy,tls,tcp,crypto,data"}


def guarded(
    address: Address, found: Sequence[str], exempt: tuple[str, ...], *, where: str
) -> tuple[str, dict[str, str]]:
    """(the url to dial, further options) for an address whose host means `found` now. Raises SourceError."""
    assert address.host is not None
    try:
        judged = admitted(address.host, exempt=exempt, resolve=lambda _: found)
    except ConfigError as error:
        raise source_error(address, SourceCode.REFUSED, error.what, where=where, mend=error.mend) from None
    if address.kind is Kind.HTTP:
        if os.environ.get("no_proxy"):  # FFmpeg would go around the guarded door for the hosts in it
            what = "streams added at run time cannot be guarded while no_proxy is set"
            mend = "unset no_proxy for this server, or name the stream in the YAML"
            raise source_error(address, SourceCode.REFUSED, what, where=where, mend=mend)
        return address.ffmpeg, {**_HTTP, "http_proxy": way_out(exempt)}
    if address.ffmpeg[:5].lower() == "rtsp:":
        return _at(address.ffmpeg, _answering(judged, address.port or 554)), {}
    return address.ffmpeg, {}


def _answering(addresses: Sequence[str], port: int) -> str:
    """The first of several that takes a connection, as FFmpeg would find it; the first of all if none does."""
    for ip in addresses if len(addresses) > 1 else ():
        with contextlib.suppress(OSError), socket.create_connection((ip, port), timeout=PROBE_S):
            return ip
    return addresses[0]


def _at(url: str, ip: str) -> str:
    """The url with this address in place of its host."""
    parts = urlsplit(url)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{user}{f'[{ip}]' if ':' in ip else ip}{port}").geturl()
