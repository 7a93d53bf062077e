"""How this host's media is reached, put into words for each side: names to addresses, STUN and TURN servers for our
own sockets (`OwnServers`), for WHEP players (`link_header`) and for our page (`GET /api/v1/ice`).

A server's password goes to whoever may watch and to nobody else: it stays out of every repr and log.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from streamer.network import IceServer, WebRtcConfig

log = logging.getLogger(__name__)

RESOLVE_AGAIN_S = 60.0
RESOLVE_WITHIN_S = 2.0
SLOW_S = 3.0  # a server that answers is there in a second
REST_S = 60.0
# What aioice can talk to: no IPv6 literals, no DTLS to STUN, TURN over UDP, TCP and TLS.
_OURS = re.compile(
    r"(?P<scheme>stun|turns?):(?P<host>[^?:\[\]]+)(?::(?P<port>\d{1,5}))?(?:\?transport=(?P<transport>udp|tcp))?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a STUN or TURN server is and how it is spoken to."""

    host: str
    port: int
    transport: Literal["udp", "tcp"]
    tls: bool


class IceServerView(BaseModel):
    """A STUN or TURN server as browsers take it (RTCIceServer)."""

    urls: str
    username: str | None = None
    credential: str | None = Field(default=None, repr=False)


class IceView(BaseModel):
    """What a player needs to know of the network."""

    ice_servers: list[IceServerView]
    relay_only: bool = Field(description="Only candidates of the TURN server are of use")


def secret(server: IceServer) -> str | None:
    """The server's password in plain."""
    return None if server.credential is None else server.credential.get_secret_value()


def endpoint(server: IceServer) -> Endpoint | None:
    """How this side reaches the server; None if it cannot use it (players may have means that it has not)."""
    found = _OURS.fullmatch(server.url)
    if found is None or (found["scheme"] == "stun" and found["transport"]):
        return None
    tls = found["scheme"] == "turns"
    if tls and found["transport"] == "udp":
        return None
    tcp = tls or found["transport"] == "tcp"
    port = int(found["port"] or (5349 if tls else 3478))
    return Endpoint(found["host"], port, "tcp" if tcp else "udp", tls)


class OwnServers:
    """The first STUN and the first TURN server that this side can use (aioice takes one of each), while they answer.

    One that gave nothing holds every answer up for aioice's five seconds, so it rests for a minute, and viewers are
    served without it; not the TURN server that is the only way.
    """

    def __init__(self, network: WebRtcConfig) -> None:
        usable = [server for server in network.ice_servers if endpoint(server) is not None]
        first = [next((s for s in usable if s.is_turn is turn), None) for turn in (False, True)]
        self._servers = [server for server in first if server is not None]
        self._relay_only = network.relay_only
        self._rests_until_s: dict[IceServer, float] = {}

    def now(self, now_s: float) -> list[IceServer]:
        """Those to ask at this time (event loop's clock)."""
        return [s for s in self._servers if now_s >= self._rests_until_s.get(s, now_s)]

    def judge(self, asked: Iterable[IceServer], kinds: Collection[str], took_s: float, now_s: float) -> None:
        """What asking these brought: the kinds of candidates that were found, and how long it took."""
        if took_s < SLOW_S:
            return
        for server in asked:
            if ("relay" if server.is_turn else "srflx") not in kinds:
                log.warning("%s gave no address within %.0f s", server.url, took_s)
                if not (server.is_turn and self._relay_only):
                    self._rests_until_s[server] = now_s + REST_S


def link_header(servers: Iterable[IceServer], *, secrets: bool = True) -> str:
    """`Link` with each server as WHEP says it; without `secrets` only those that want none. Empty for none."""
    links = []
    for server in servers:
        link = f'<{server.url}>; rel="ice-server"'
        if server.is_turn:
            if not secrets:
                continue
            link += f'; username="{_quoted(server.username)}"; credential="{_quoted(secret(server))}"'
            link += '; credential-type="password"'
        links.append(link)
    return ", ".join(links)


def _quoted(text: str | None) -> str:
    return (text or "").replace("\\", "\\\\").replace('"', '\\"')


def ice_view(network: WebRtcConfig) -> IceView:
    """What players are told."""
    views = [
        IceServerView(urls=server.url, username=server.username, credential=secret(server))
        if server.is_turn
        else IceServerView(urls=server.url)
        for server in network.ice_servers
    ]
    return IceView(ice_servers=views, relay_only=network.relay_only)


def ice_routes(network: WebRtcConfig) -> APIRouter:
    """`GET /api/v1/ice`."""
    api = APIRouter(prefix="/api/v1", tags=["whep"])

    @api.get("/ice", summary="STUN and TURN servers for a player", response_model_exclude_none=True)
    async def ice() -> IceView:
        return ice_view(network)

    return api


async def resolve(host: str) -> list[str]:
    """The addresses of a host, itself if it is one, IPv4 first. Raises OSError in words (TimeoutError is one)."""
    loop = asyncio.get_running_loop()
    asked = loop.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_DGRAM)
    found = await asyncio.wait_for(asked, RESOLVE_WITHIN_S)
    addresses = {str(address[0]): family for family, _, _, _, address in found}
    return sorted(addresses, key=lambda address: (addresses[address] != socket.AF_INET, address))


class Addresses:
    """The addresses of the configured `hosts`, looked up again every minute; one that fails keeps its last."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = tuple(hosts)
        self._known: dict[str, list[str]] = {}
        self._asked_s = float("-inf")

    async def now(self) -> list[str]:
        """All of them, in the order of the hosts, each once."""
        now_s = asyncio.get_running_loop().time()
        if self._hosts and now_s - self._asked_s >= RESOLVE_AGAIN_S:
            self._asked_s = now_s
            await asyncio.gather(*(self._look_up(host) for host in self._hosts))
        return list(dict.fromkeys(at for host in self._hosts for at in self._known.get(host, ())))

    async def _look_up(self, host: str) -> None:
        try:
            self._known[host] = await resolve(host)
        except (OSError, UnicodeError) as error:
            log.warning("webrtc.hosts: %s has no address now (%s)", host, error or type(error).__name__)
