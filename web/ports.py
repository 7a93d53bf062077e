"""An event loop that gives media sockets their UDP ports: any, a range with a port for each viewer, or one for all.

A firewall or a container lets only named ports through, and aioice asks for port 0 always. Its sockets come from the
loop, so the loop chooses. With a range each session takes a port of its own on each local address, and the next free
one is tried, so that late packets of one viewer do not reach the next. With one port all sessions share a socket:
a check names its session (the user name of ICE), an answer its transaction, and all else is told by where it is from.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from aioice import stun

Address = tuple[str, int]

_short: ContextVar[list[str] | None] = ContextVar("short", default=None)


@contextmanager
def noting_shortage() -> Iterator[list[str]]:
    """Collects the local addresses that had no port left for what is done within (aioice itself only logs them)."""
    found: list[str] = []
    token = _short.set(found)
    try:
        yield found
    finally:
        _short.reset(token)


class MediaLoop(asyncio.SelectorEventLoop):
    """The usual loop, but for UDP sockets that ask for any port of a local address: those come from `ports`."""

    def __init__(self, ports: range | None = None) -> None:
        super().__init__()
        self._ports = ports
        self._next = 0
        self._shared: dict[str, SharedSocket] = {}
        self._sharing = asyncio.Lock()

    async def create_datagram_endpoint(
        self, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, **options: Any
    ) -> Any:
        """As asyncio's; OSError EADDRINUSE if none of the ports is free on this address."""
        ask = super().create_datagram_endpoint
        if self._ports is None or local_addr is None or local_addr[1] != 0 or remote_addr is not None:
            return await ask(protocol_factory, local_addr, remote_addr, **options)
        if len(self._ports) == 1:
            return await self._share(protocol_factory, local_addr[0])
        for _ in self._ports:
            port = self._ports[self._next % len(self._ports)]
            self._next += 1
            try:
                return await ask(protocol_factory, (local_addr[0], port), **options)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise self._none_left(local_addr[0])

    def _none_left(self, address: str) -> OSError:
        if (short := _short.get()) is not None:
            short.append(address)
        return OSError(errno.EADDRINUSE, f"no UDP port of {self._ports} is free on {address}")

    async def _share(self, protocol_factory: Callable[[], Any], address: str) -> tuple[Any, Any]:
        assert self._ports is not None
        async with self._sharing:
            shared = self._shared.get(address)
            if shared is not None and shared.closed:
                await shared.lost.wait()  # until then its port is not free
            if shared is None or shared.closed:
                try:
                    _, shared = await super().create_datagram_endpoint(
                        SharedSocket, (address, self._ports[0])
                    )
                except OSError as error:
                    raise self._none_left(address) if error.errno == errno.EADDRINUSE else error from None
                self._shared[address] = shared
            return shared.join(protocol_factory())


class SharedSocket(asyncio.DatagramProtocol):
    """One socket for many sessions. Closed with the last of them.

    A session's protocol is aioice's `StunProtocol`: `receiver.local_username` and `local_password` are its ICE user,
    `transactions` what it has asked and not been answered.
    """

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._sessions: dict[str, SessionTransport] = {}
        self._by_address: dict[Address, SessionTransport] = {}
        self.closed = False
        self.lost = asyncio.Event()
        self.strangers = 0  # datagrams that belong to no session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.lost.set()
        for session in list(self._sessions.values()):
            session.close()

    def join(self, protocol: Any) -> tuple[SessionTransport, Any]:
        """One more session: its transport, and the protocol that was given."""
        assert self._transport is not None
        user = str(protocol.receiver.local_username)
        session = self._sessions[user] = SessionTransport(self, self._transport, user, protocol)
        protocol.connection_made(session)
        return session, protocol

    def leave(self, session: SessionTransport) -> None:
        """Forget a session; the last one closes the socket."""
        self._sessions.pop(session.user, None)
        self._by_address = {at: other for at, other in self._by_address.items() if other is not session}
        if not self._sessions and self._transport is not None and not self.closed:
            self.closed = True
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        at = (str(addr[0]), int(addr[1]))
        session = self._asked(data, at) if is_stun(data) else self._by_address.get(at)
        if session is None:
            self.strangers += 1
        else:
            session.protocol.datagram_received(data, at)

    def _asked(self, data: bytes, at: Address) -> SessionTransport | None:
        """The session that a STUN message is for. A signed check makes its sender's address known."""
        try:
            message = stun.parse_message(data)
        except (ValueError, struct.error, IndexError):  # whatever its parser meets in bytes from anybody
            return None
        if message.message_class is not stun.Class.REQUEST:
            waiting = (
                s for s in self._sessions.values() if message.transaction_id in s.protocol.transactions
            )
            return next(waiting, None)
        user = str(message.attributes.get("USERNAME", "")).partition(":")[0]
        session = self._sessions.get(user)
        # Only who knows the password may claim an address, else packets could be led astray.
        if session is not None and message.check_message_integrity(session.password):
            self._by_address[at] = session
        return session


class SessionTransport(asyncio.DatagramTransport):
    """A session's share in the socket; closing it closes only this share."""

    def __init__(
        self, shared: SharedSocket, transport: asyncio.DatagramTransport, user: str, protocol: Any
    ) -> None:
        super().__init__()
        self._shared = shared
        self._transport = transport
        self._closing = False
        self.user = user
        self.password = str(protocol.receiver.local_password).encode()
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not self._closing:
            self._transport.sendto(data, addr)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._shared.leave(self)
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


def is_stun(data: bytes) -> bool:
    """Whether a datagram is STUN and neither DTLS nor RTP (RFC 7983; the cookie of RFC 8489)."""
    return len(data) >= 20 and data[0] < 4 and data[4:8] == b"\x21\x12\xa4\x42"
