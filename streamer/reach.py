"""Which hosts may a stream lead to that somebody added over the network? No door to this machine or its cloud.

Whoever may add streams can make this machine connect to an address of their choice. Cameras stand in private networks,
so those stay open; refused are the machine itself (loopback, unspecified), link-local and the addresses at which clouds
give out credentials, and what is no single host (multicast, broadcast, reserved). An address inside another (IPv4 in
IPv6: mapped, compatible, 6to4, Teredo, NAT64) is judged as well, and so are the spellings that the C library
understands and people do not: 2130706433, 0x7f.1, 0177.0.0.1.

`exempt` are hosts or networks that the owner of the machine named: what they hold is not refused.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from pydantic_core import PydanticCustomError

from streamer.errors import ConfigError

Ip = IPv4Address | IPv6Address
Resolve = Callable[[str], Iterable[str]]

_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
# AWS and most others; AWS over IPv6; Alibaba; Azure's wire server; Oracle's old one; AWS ECS' task credentials and
# GKE's are within link-local.
_METADATA_NETS = tuple(
    ip_network(net)
    for net in (
        *("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32"),
        *("192.0.0.192/32", "fd20:ce::254/128"),
    )
)
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_NUMBERS = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+)){0,3}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?")


def resolve(host: str) -> list[str]:
    """Every address that the system's resolver has for `host`; none if it has none. May block for seconds."""
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def admitted(host: str, *, exempt: Sequence[str] = (), resolve: Resolve = resolve) -> list[str]:
    """The addresses of `host`, each of which may be dialled; none if it has none now. Raises ConfigError (where: url).

    One refused address refuses the host: which of them a later connection takes is not ours to choose.
    """
    name = host.lower().strip("[]").rstrip(".")
    known = parsed(name)
    if known is None and name in exempt:
        return list(resolve(name))
    if name in _METADATA_NAMES:
        raise _refused(_METADATA)
    if known is None and not name.isascii():
        raise _refused("the host is not written in plain letters")
    addresses = [str(known)] if known is not None else list(resolve(name))
    if name == "localhost" or name.endswith(".localhost"):
        addresses = addresses or ["127.0.0.1"]
    for address in addresses:
        ip = parsed(address)
        why = "the name server's answer is no address" if ip is None else refusal(ip, exempt)
        if why:
            raise _refused(why)
    return addresses


def parsed(text: str) -> Ip | None:
    """The address that `text` is, in any spelling the C library takes (zone left out); None for a name."""
    plain = text.partition("%")[0]
    try:
        return ip_address(plain)
    except ValueError:
        pass
    if _NUMBERS.fullmatch(plain):
        try:
            return IPv4Address(socket.inet_aton(plain))
        except (OSError, ValueError):
            return None
    return None


def refusal(ip: Ip, exempt: Sequence[str] = ()) -> str:
    """Why `ip` is not dialled; empty if it may be."""
    for each in (ip, *_inner(ip)):
        if why := _of_its_own(each):
            return "" if _is_exempt(ip, exempt) or _is_exempt(each, exempt) else why
    return ""


_METADATA = "link-local and metadata addresses are not admitted"


def _of_its_own(ip: Ip) -> str:
    if any(ip in net for net in _METADATA_NETS):
        return _METADATA
    if ip.is_loopback or ip.is_unspecified or (ip.version == 4 and ip in _THIS_NETWORK):
        return "addresses of this machine itself are not admitted"
    if ip.is_multicast or ip == _BROADCAST or (ip.version == 4 and ip.is_reserved):
        return "the address is of no single host"
    return ""


_THIS_NETWORK = ip_network("0.0.0.0/8")
_BROADCAST = IPv4Address("255.255.255.255")


def _inner(ip: Ip) -> list[Ip]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(ip, IPv4Address):
        return []
    found: list[Ip | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    number = int(ip)
    if any(ip in net for net in _NAT64) or (number >> 32 == 0 and number > 1):
        found.append(IPv4Address(number & 0xFFFFFFFF))
    return [each for each in found if each is not None]


def _is_exempt(ip: Ip, exempt: Iterable[str]) -> bool:
    for each in exempt:
        try:
            if ip in ip_network(each):
                return True
        except ValueError:  # a name
            continue
    return False


def _refused(what: str) -> ConfigError:
    return ConfigError(
        what,
        where="url",
        mend="give the camera's own address, or name the host under stream_hosts in the YAML",
    )


def checked_net(text: str) -> str:
    """An address or network in its canonical form; raises PydanticCustomError (what — mend) for anything else."""
    try:
        return str(ip_network(text, strict=False)) if "/" in text else str(ip_address(text))
    except ValueError:
        told = {"what": "it is no address or network", "mend": "write 10.0.0.7 or 10.0.0.0/24"}
        raise PydanticCustomError("bad_host", "{what} — {mend}", told) from None


def checked_reach(text: str) -> str:
    """As `checked_net`, or a host's name in small letters."""
    if parsed(text) is None and "/" not in text and _HOST.fullmatch(text):
        return text.lower()
    return checked_net(text)
