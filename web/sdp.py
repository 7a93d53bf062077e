"""What we need of session descriptions: an offer cut down to H.264, the codec of an answer, a trickled candidate.

Browsers offer VP8 first, and the answering side has no way to prefer another codec; H.264 packets would then travel
labelled as VP8: connected, nothing decoded, no error. So the other codecs are taken out of the offer before it is
read. Pure text in, pure text out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_RTPMAP = re.compile(r"a=rtpmap:(\d+) ([^/ ]+)/")
_FMTP = re.compile(r"a=fmtp:(\d+) (.*)")
_PER_PAYLOAD = re.compile(r"a=(?:rtpmap|fmtp|rtcp-fb):(\d+) ")


class BadOffer(ValueError):
    """The offer cannot be answered; `has_video` False means that it asks for no video at all."""


class NoH264(BadOffer):
    """The offer holds video, but no H.264 that can be sent (packetization-mode 1)."""


def sections(sdp: str) -> list[list[str]]:
    """The lines of the session part, then those of each media section (which begin with their `m=` line)."""
    parts: list[list[str]] = [[]]
    for line in sdp.replace("\r\n", "\n").split("\n"):
        if line.startswith("m="):
            parts.append([])
        if line:
            parts[-1].append(line)
    return parts


def h264_only(offer: str) -> str:
    """The same offer with every video codec but H.264 (and its retransmission) taken out. Raises BadOffer."""
    if not offer.startswith("v=0"):
        raise BadOffer("the body is no session description")
    session, *media = sections(offer)
    video = [part for part in media if part[0].startswith("m=video ")]
    if not video:
        raise BadOffer("the offer asks for no video")
    kept = [_only_h264(part) if part[0].startswith("m=video ") else part for part in media]
    return "\r\n".join(line for part in [session, *kept] for line in part) + "\r\n"


def _only_h264(part: list[str]) -> list[str]:
    codecs = {m[1]: m[2].lower() for line in part if (m := _RTPMAP.match(line))}
    formats = {m[1]: m[2].replace(" ", "").lower().split(";") for line in part if (m := _FMTP.match(line))}
    keep = [
        pt
        for pt, codec in codecs.items()
        if codec == "h264" and "packetization-mode=1" in formats.get(pt, [])
    ]
    if not keep:
        offered = sorted(set(codecs.values()) - {"rtx", "red", "ulpfec", "flexfec-03"})
        raise NoH264(
            f"the offer holds no H.264 with packetization-mode 1 (it holds {', '.join(offered) or 'nothing'})"
        )
    keep += [
        pt
        for pt, codec in codecs.items()
        if codec == "rtx" and any(f"apt={base}" in formats.get(pt, []) for base in keep)
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
