"""Brakes on guessing tokens: a growing wait for each client address, and a ceiling for all of them together.

A token that `sightline token new` made is let in at any time: nobody hits one of 2^256 by trying, so a brake on it
would help only those who want to lock others out. What the brake protects is a token that people thought up. The same
wrong token again and again is a program with an old token, no guess, and counts once; it would otherwise lock out
everybody behind its address.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

FREE_TRIES = 5
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
FORGIVEN_S = 900.0  # after this long without a wrong token, an address starts anew
MAX_CLIENTS = 4096
IN_ALL = 60
IN_ALL_S = 60.0


@dataclass(slots=True)
class _Client:
    failures: int = 0
    last_s: float = 0.0
    until_s: float = 0.0
    told: deque[bytes] = field(default_factory=lambda: deque(maxlen=8))  # marks of the newest wrong tokens


class Throttle:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._failed_s: deque[float] = deque(maxlen=IN_ALL)
        self._salt = secrets.token_bytes(16)

    def wait_s(self, address: str, now_s: float) -> float:
        """How long this client must wait before its next try is looked at; 0 if not at all."""
        client = self._clients.get(_net(address))
        own = client.until_s - now_s if client is not None else 0.0
        full = len(self._failed_s) == IN_ALL
        return max(0.0, own, self._failed_s[0] + IN_ALL_S - now_s if full else 0.0)

    def failed(self, address: str, given: str, now_s: float) -> bool:
        """A wrong token from there was looked at; False if that same one was counted already."""
        name = _net(address)
        client = self._clients.get(name)
        if client is None or now_s - client.last_s > FORGIVEN_S:
            client = self._clients[name] = _Client()
        self._clients.move_to_end(name)
        while len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        mark = hashlib.sha256(self._salt + given.encode("utf-8", "surrogateescape")).digest()[:8]
        if mark in client.told:
            return False
        client.told.append(mark)
        client.failures += 1
        client.last_s = now_s
        if (beyond := client.failures - FREE_TRIES) >= 0:
            client.until_s = now_s + min(FIRST_WAIT_S * 2.0 ** min(beyond, 16), LONGEST_WAIT_S)
        self._failed_s.append(now_s)
        return True


def _net(address: str) -> str:
    """What one client can be: an IPv4 address, or a /64, which one IPv6 client has for itself."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or ip_network((ip, 64), strict=False))
    return str(ip)
