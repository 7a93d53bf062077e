"""`sightline doctor --ice`: what a browser will see of this host's media, and which of it can work.

Nothing is guessed: each port is bound on each address, STUN and TURN servers are asked as the server asks them. It
runs beside a server too; a port that one of ours holds is as good as a free one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aioice import Connection, stun, turn
from aioice.ice import StunProtocol

from streamer.commands.machine import Finding
from streamer.network import IceServer, WebRtcConfig
from web.ice import Endpoint, OwnServers, endpoint, resolve, secret
from web.sdp import Candidate
from web.webrtc import host_addresses

ANSWER_WITHIN_S = 5.0
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_REFUSALS = {
    400: "does not understand the question",
    401: "refuses the name and password",
    403: "forbids it",
    437: "says that there is no such allocation",
    441: "refuses the name and password",
    486: "has no allocation left for this user",
    508: "has no address left to give",
}


@dataclass(slots=True)
class Report:
    """What was found, and what a browser will be offered (`port` 0: any)."""

    findings: list[Finding] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    can_work: bool = False


def examine_ice(network: WebRtcConfig, max_viewers: int) -> Report:
    """Look at the network as a configuration has it. Asks its STUN and TURN servers, and no other host."""
    return asyncio.run(_examine(network, max_viewers))


async def _examine(network: WebRtcConfig, max_viewers: int) -> Report:
    report = Report()
    own = host_addresses(True, True)
    if network.relay_only:
        report.findings.append(Finding("host", "addresses", "info", "not shown", "relay_only is set"))
    else:
        report.findings += _hosts(network, own, max_viewers, report.candidates)
        report.findings += await _further(network, own, report.candidates)
    used = OwnServers(network).now(0.0)
    asked = [server for server in network.ice_servers if server in used]
    answers = await asyncio.gather(*(_ask(server, own) for server in asked))
    for server in network.ice_servers:
        if server not in used:
            what = "a second one of its kind" if endpoint(server) else "a kind that this side does not speak"
            report.findings.append(Finding("servers", server.url, "info", "for players only", what))
            continue
        finding, found = answers[asked.index(server)]
        report.findings.append(finding)
        report.candidates += [found] if found and not (network.relay_only and found.kind != "relay") else []
    report.can_work = any(found.kind in ("host", "relay") for found in report.candidates)
    report.findings += _advice(network, own, report)
    return report


def _hosts(
    network: WebRtcConfig, own: list[str], max_viewers: int, seen: list[Candidate]
) -> Iterator[Finding]:
    """This host's addresses and how many of the ports can be had on each."""
    ports = network.ports
    if ports is not None and 1 < len(ports) < max_viewers:
        note = f"max_viewers is {max_viewers}; one port alone would be shared by all"
        yield Finding("ports", f"udp {network.udp_ports}", "warn", f"room for {len(ports)} viewers", note)
    for address in own:
        state: Any = "ok"
        held = [port for port in ports or (0,) if not _can_bind(address, port)]
        ours = [port for port in held if _is_ours(port)]
        lost = len(held) - len(ours)
        if ports is None:
            value = "any UDP port" if not held else "no UDP socket can be had"
        else:
            value = f"udp {network.udp_ports}: {len(ports) - len(held)} of {len(ports)} free"
            value += f", {len(ours)} held by a running server" if ours else ""
        if lost:
            state = "bad" if lost == len(ports or (0,)) else "warn"
        note = f"{lost} held by other programs" if lost and ports else _reach(address)
        yield Finding("host", address, state, value, note)
        if state != "bad":
            seen.append(Candidate(address, ports[0] if ports and len(ports) == 1 else 0, "host"))


def _can_bind(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _is_ours(port: int) -> bool:
    """Whether a Sightline of this user holds the UDP port."""
    import psutil

    try:
        holders = {c.pid for c in psutil.net_connections("udp") if c.laddr and c.laddr.port == port and c.pid}
        names = [" ".join(psutil.Process(pid).cmdline()) for pid in holders if pid != os.getpid()]
    except psutil.Error:
        return False
    return any("sightline" in name or "streamer.cli" in name for name in names)


def _reach(address: str) -> str:
    at = ipaddress.ip_address(address)
    if at.is_loopback:
        return "only browsers on this machine"
    return "only browsers in the same network" if at.is_private else "public"


async def _further(network: WebRtcConfig, own: list[str], seen: list[Candidate]) -> list[Finding]:
    """The configured `hosts`: an address of a family that this host has none of is of no use."""
    versions = {ipaddress.ip_address(at).version for at in own}
    found: list[Finding] = []
    for host in network.hosts:
        try:
            addresses = await resolve(host)
        except (OSError, UnicodeError):
            found.append(Finding("hosts", host, "bad", "no address", "the name is not known here"))
            continue
        for address in addresses:
            fits = ipaddress.ip_address(address).version in versions
            value = address if address != host else "added to every answer"
            note = _reach(address) if fits else "left out: this host has no address of its family"
            found.append(Finding("hosts", host, "ok" if fits else "warn", value, note))
            if fits and any(c.kind == "host" for c in seen):
                ports = network.ports
                seen.append(Candidate(address, ports[0] if ports and len(ports) == 1 else 0, "host"))
    return found


async def _ask(server: IceServer, own: list[str]) -> tuple[Finding, Candidate | None]:
    """One server: the address that it gives and the time it took, or why none."""
    at = endpoint(server)
    assert at is not None
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        found = await asyncio.wait_for(
            _relayed(server, at) if server.is_turn else _reflected(at, own), ANSWER_WITHIN_S
        )
    except Exception as error:  # whatever its server answers; the words below tell them apart
        return Finding("servers", server.url, "bad", _why_not(error), "players will not get through it"), None
    took_ms = (loop.time() - began_s) * 1000
    said = "relays at" if server.is_turn else "sees this host as"
    value = f"answers in {took_ms:.0f} ms, {said} {found.address}:{found.port}"
    return Finding("servers", server.url, "ok", value), found


async def _reflected(at: Endpoint, own: list[str]) -> Candidate:
    """The address from which a STUN server is reached, as it sees it."""
    address = (await _ipv4(at.host), at.port)
    local = _local_for(address, own)
    connection = Connection(ice_controlling=False)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: StunProtocol(connection), local_addr=(local, 0)
    )
    try:
        question = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        answer, _ = await protocol.request(question, address)
    finally:
        transport.close()
    seen = answer.attributes["XOR-MAPPED-ADDRESS"]
    return Candidate(seen[0], seen[1], "srflx")


async def _relayed(server: IceServer, at: Endpoint) -> Candidate:
    """An address of the TURN server's, given back at once."""
    connection = Connection(ice_controlling=False)
    transport, protocol = await turn.create_turn_endpoint(
        lambda: StunProtocol(connection),
        server_addr=(at.host, at.port),
        username=server.username,
        password=secret(server),
        ssl=at.tls,
        transport=at.transport,
    )
    address = transport.get_extra_info("sockname")
    with contextlib.suppress(TimeoutError, stun.TransactionError):  # the server forgets it by itself
        await asyncio.wait_for(protocol.close(), 1.0)
    return Candidate(address[0], address[1], "relay")


async def _ipv4(host: str) -> str:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, family=socket.AF_INET)
    return str(found[0][4][0])


def _local_for(address: tuple[str, int], own: list[str]) -> str:
    """The local address that the way to `address` begins at (no packet is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        local = str(probe.getsockname()[0])
    return local if local in own else next((at for at in own if ":" not in at), local)


def _why_not(error: Exception) -> str:
    if isinstance(error, stun.TransactionFailed):
        code = error.response.error_code or 0
        return _REFUSALS.get(code, f"refuses (code {code})")
    if isinstance(error, socket.gaierror):
        return "its name is not known here"
    if isinstance(error, ssl.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, (TimeoutError, stun.TransactionTimeout)):
        return f"no answer within {ANSWER_WITHIN_S:g} s"
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "nobody listens there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"answers what nobody understands ({type(error).__name__})"


def _advice(network: WebRtcConfig, own: list[str], report: Report) -> Iterator[Finding]:
    """What stands between this host and browsers elsewhere, and the mend."""
    given = {found.address for found in report.candidates if found.kind == "host"}
    for found in report.candidates:
        if found.kind == "srflx" and found.address not in given:
            note = (
                f"set webrtc.hosts: [{found.address}], webrtc.udp_ports, and forward those ports to this host"
            )
            yield Finding("advice", "NAT", "info", f"this host is seen as {found.address}", note)
    contained = any(mark.exists() for mark in _CONTAINER_MARKS)
    if contained and not network.relay_only and not (network.udp_ports and network.hosts):
        note = "publish webrtc.udp_ports (-p 50000-50100:50000-50100/udp), set webrtc.hosts to the machine's address"
        yield Finding("advice", "container", "warn", "its addresses are not reached from outside", note)
    public = any(not ipaddress.ip_address(found.address).is_private for found in report.candidates)
    if not public and not contained and not network.relay_only:
        note = "for others set webrtc.hosts to the public address, or add a TURN server"
        yield Finding("advice", "reach", "info", "browsers in the same network only", note)
    if not report.can_work:
        yield Finding("advice", "nothing", "bad", "no browser can be reached", "see the lines marked ✗")
