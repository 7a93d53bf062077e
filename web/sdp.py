"""What we need of session descriptions: an offer cut down to one codec, the codec of an answer, more addresses in it, a
trickled candidate.

Browsers offer VP8 first, and the answering side has no way to prefer another codec; H.264 packets would then travel
labelled as VP8: connected, nothing decoded, no error. So the other codecs are taken out of the offer before it is
read. Pure text in, pure text out.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_RTPMAP = re.compile(r"a=rtpmap:(\d+) ([^/ ]+)/")
_FMTP = re.compile(r"a=fmtp:(\d+) (.*)")
_PER_PAYLOAD = re.compile(r"a=(?:rtpmap|fmtp|rtcp-fb):(\d+) ")


Codec = Literal["h264", "vp8"]


class BadOffer(ValueError):
    """The offer cannot be answered."""


class NoCodec(BadOffer):
    """The offer holds video, but neither H.264 that can be sent (packetization-mode 1) nor VP8."""


def sections(sdp: str) -> list[list[str]]:
    """The lines of the session part, then those of each media section (which begin with their `m=` line)."""
    parts: list[list[str]] = [[]]
    for line in sdp.replace("\r\n", "\n").split("\n"):
        if line.startswith("m="):
            parts.append([])
        if line:
            parts[-1].append(line)
    return parts


def one_codec(offer: str) -> tuple[str, Codec]:
    """The same offer with every video codec but one (and its retransmission) taken out, and that codec: H.264 if it
    is there, as it costs least, else VP8. Raises BadOffer, NoCodec."""
    if not offer.startswith("v=0"):
        raise BadOffer("the body is no session description")
    session, *media = sections(offer)
    video = [part for part in media if _is_video(part)]
    if not video:
        raise BadOffer("the offer asks for no video")
    codec: Codec = "h264" if all(_payloads(part, "h264") for part in video) else "vp8"
    kept = [_only(part, codec) if _is_video(part) else part for part in media]
    return "\r\n".join(line for part in [session, *kept] for line in part) + "\r\n", codec


def _is_video(part: list[str]) -> bool:
    return part[0].startswith("m=video ")


def _codecs(part: list[str]) -> dict[str, str]:
    return {m[1]: m[2].lower() for line in part if (m := _RTPMAP.match(line))}


def _formats(part: list[str]) -> dict[str, list[str]]:
    return {m[1]: m[2].replace(" ", "").lower().split(";") for line in part if (m := _FMTP.match(line))}


def _payloads(part: list[str], wanted: Codec) -> list[str]:
    """The payload types under which this codec can be sent."""
    formats = _formats(part)
    return [
        pt
        for pt, codec in _codecs(part).items()
        if codec == wanted and (codec != "h264" or "packetization-mode=1" in formats.get(pt, []))
    ]


def _only(part: list[str], codec: Codec) -> list[str]:
    keep = _payloads(part, codec)
    codecs, formats = _codecs(part), _formats(part)
    if not keep:
        offered = sorted(set(codecs.values()) - {"rtx", "red", "ulpfec", "flexfec-03"})
        raise NoCodec(
            "the offer holds neither H.264 with packetization-mode 1 nor VP8 "
            f"(it holds {', '.join(offered) or 'nothing'})"
        )
    keep += [
        pt
        for pt, name in codecs.items()
        if name == "rtx" and any(f"apt={base}" in formats.get(pt, []) for base in keep)
    ]
    kind, port, profile, *payloads = part[0].split(" ")
    first = " ".join([kind, port, profile, *(pt for pt in payloads if pt in keep)])
    rest = [line for line in part[1:] if not (m := _PER_PAYLOAD.match(line)) or m[1] in keep]
    return [first, *rest]


def video_codec(answer: str) -> str | None:
    """The codec that an answer's video will be sent in (lower case), None if it refuses video."""
    for part in sections(answer)[1:]:
        kind, port, _, *payloads = part[0].split(" ")
        if kind == "m=video" and port != "0" and payloads and "a=inactive" not in part:
            return {m[1]: m[2].lower() for line in part if (m := _RTPMAP.match(line))}.get(payloads[0])
    return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport address of a description; `kind` is host, srflx, prflx or relay."""

    address: str
    port: int
    kind: str


def candidates(sdp: str) -> list[Candidate]:
    """All candidates of a description, over UDP and first component, in their order."""
    return [
        Candidate(fields[4], int(fields[5]), fields[7])
        for line in sdp.splitlines()
        if line.startswith("a=candidate:") and len(fields := line.split()) > 7 and fields[2].lower() == "udp"
    ]


def with_addresses(answer: str, addresses: Sequence[str]) -> str:
    """The answer with a host candidate more for each of these addresses at each port of a host candidate of its family.

    So a host behind a one-to-one NAT, or in a container whose ports are published, is reached from outside. The own
    candidates stay, and come first by their priority: in the same network they are the shorter way.
    """
    out: list[str] = []
    own = {(found.address, found.port) for found in candidates(answer)}
    for line in answer.replace("\r\n", "\n").split("\n"):
        out.append(line)
        fields = line.split()
        if not line.startswith("a=candidate:") or fields[7:8] != ["host"] or fields[2].lower() != "udp":
            continue
        version = ipaddress.ip_address(fields[4]).version
        for i, address in enumerate(addresses, 1):
            if ipaddress.ip_address(address).version == version and (address, int(fields[5])) not in own:
                foundation = hashlib.sha256(f"host {address}".encode()).hexdigest()[:16]
                priority = max(1, int(fields[3]) - (i << 8))  # the local preference, one lower each
                out.append(
                    f"a=candidate:{foundation} {fields[1]} udp {priority} {address} {fields[5]} typ host"
                )
    return "\r\n".join(out)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A trickled piece (RFC 8840): candidates as (mid, text after `candidate:`), and the sender's ICE user."""

    candidates: tuple[tuple[str, str], ...]
    ufrag: str | None


def parse_fragment(body: str) -> Fragment:
    """Read an `application/trickle-ice-sdpfrag` body; lines that it need not hold are passed over."""
    found: list[tuple[str, str]] = []
    mid, ufrag = "0", None
    for line in body.replace("\r\n", "\n").split("\n"):
        if line.startswith("a=mid:"):
            mid = line.removeprefix("a=mid:").strip()
        elif line.startswith("a=ice-ufrag:"):
            ufrag = line.removeprefix("a=ice-ufrag:").strip()
        elif line.startswith("a=candidate:"):
            found.append((mid, line.removeprefix("a=candidate:").strip()))
    return Fragment(tuple(found), ufrag)


def ice_ufrag(sdp: str) -> str | None:
    """The ICE user of the first part of a description that names one."""
    match = re.search(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE)
    return match[1] if match else None
