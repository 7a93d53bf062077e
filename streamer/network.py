"""How browsers reach the media: ports, further addresses of this host, and the STUN and TURN servers in between."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from streamer.strict import Strict


class IceServer(Strict):
    """A STUN or TURN server, for the server's side and for every player."""

    url: Annotated[
        str, Field(pattern=r"^(stun|stuns|turn|turns):\S+$", description="turn:host:3478?transport=udp")
    ]
    username: str | None = None
    credential: SecretStr | None = None


class WebRtcConfig(Strict):
    """The media's way to and from browsers."""

    udp_ports: Annotated[
        str | None,
        Field(
            pattern=r"^\d{1,5}(-\d{1,5})?$",
            description="One port or a range such as 50000-50100; default: any",
        ),
    ] = None
    hosts: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        Field(
            description="Further addresses at which this host is reached (behind NAT, or of a container's host)"
        ),
    ] = ()
    ice_servers: Annotated[
        tuple[IceServer, ...], Field(description="At most one STUN and one TURN server are used by this side")
    ] = ()
    relay_only: Annotated[bool, Field(description="Through the TURN server only")] = False
