"""How browsers reach the media: ports, further addresses of this host, and the STUN and TURN servers in between."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from streamer.strict import Strict


def _refusal(what: str, mend: str) -> PydanticCustomError:
    return PydanticCustomError("bad_url", "{what} — {mend}", {"what": what, "mend": mend})


def udp_range(text: str) -> range:
    """The ports of `50000` or `50000-50100`, both ends included. Raises ValueError for what is no range of ports."""
    first, _, last = text.partition("-")
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65535:
        raise ValueError(f"{text} is no range of ports")
    return ports


def _checked_range(text: str | None) -> str | None:
    try:
        if text is not None:
            udp_range(text)
    except ValueError:
        raise _refusal("no range of ports", "write 1 to 65535, the lower end first") from None
    return text


class IceServer(Strict):
    """A STUN or TURN server, for the server's side and for every player."""

    url: Annotated[
        str, Field(pattern=r"^(stun|stuns|turn|turns):\S+$", description="turn:host:3478?transport=udp")
    ]
    username: str | None = None
    credential: SecretStr | None = None

    @property
    def is_turn(self) -> bool:
        return self.url.startswith("turn")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> IceServer:
        if self.is_turn and not (self.username and self.credential and self.credential.get_secret_value()):
            raise _refusal("a TURN server wants a name and a password", "give username and credential")
        return self


class WebRtcConfig(Strict):
    """The media's way to and from browsers."""

    udp_ports: Annotated[
        str | None,
        # the pattern first: behind a validator pydantic would hold it against None, too
        Field(
            pattern=r"^\d{1,5}(-\d{1,5})?$",
            description="One port, shared by all viewers, or a range such as 50000-50100 with a port for each; "
            "default: any",
        ),
        AfterValidator(_checked_range),
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

    @property
    def ports(self) -> range | None:
        """The UDP ports that the media may use; None: any."""
        return None if self.udp_ports is None else udp_range(self.udp_ports)

    @model_validator(mode="after")
    def _has_a_relay(self) -> WebRtcConfig:
        if self.relay_only and not any(server.is_turn for server in self.ice_servers):
            raise _refusal("relay_only is set and there is no TURN server", "add one to ice_servers")
        return self
