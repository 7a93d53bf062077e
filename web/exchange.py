"""What WHEP and WHIP share: an offer comes and an answer goes, candidates trickle, OPTIONS says what is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from fastapi import Request, Response

from streamer.network import IceServer
from web.ice import link_header
from web.problems import Refused
from web.sdp import BadOffer

OFFER: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"
MAX_BODY_BYTES: Final = 64 * 1024


class Trickled(Protocol):
    """A session that takes candidates after its offer."""

    async def add_candidates(self, body: str) -> None:
        """Raises BadOffer for one that cannot be read or for an ICE restart."""
        ...


def links(servers: Sequence[IceServer]) -> dict[str, str]:
    """`Link` with the STUN and TURN servers, if there are any."""
    header = link_header(servers)
    return {"Link": header} if header else {}


def answered(resource: str, session: str, answer: str, servers: Sequence[IceServer]) -> Response:
    """201: the answer, where the session is (`/{stream}/whep/{session}`), and its ICE session's tag."""
    headers = {"Location": f"{resource}/{session}", "ETag": f'"{session}"', **links(servers)}
    return Response(answer, 201, headers, OFFER)


def takes_offers(servers: Sequence[IceServer]) -> Response:
    """What OPTIONS says of the place that takes offers."""
    headers = {"Allow": "OPTIONS, POST", "Accept-Post": OFFER, **links(servers)}
    return Response(status_code=204, headers=headers)


def takes_candidates() -> Response:
    """What OPTIONS says of a session."""
    headers = {"Allow": "DELETE, OPTIONS, PATCH", "Accept-Patch": FRAGMENT}
    return Response(status_code=204, headers=headers)


async def trickle(peer: Trickled, request: Request, *, stream: str, session: str) -> Response:
    """PATCH: more candidates. Raises Refused."""
    body = await body_text(request, FRAGMENT)
    tag = request.headers.get("if-match")
    # A session has one ICE session all its life, so a missing tag leaves no doubt; many players send none.
    if tag is not None and tag not in ("*", f'"{session}"'):
        raise Refused(412, "If-Match names another ICE session", where=f"stream {stream}")
    try:
        await peer.add_candidates(body)
    except BadOffer as error:
        raise Refused(422, str(error), where=f"stream {stream}", mend="POST a new offer") from None
    return Response(status_code=204)


async def body_text(request: Request, kind: str) -> str:
    """The body, if it is of this media type and of sane size. Raises Refused."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != kind:
        raise Refused(415, f"the body is {given or 'of no named type'}", mend=f"send Content-Type: {kind}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refused(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Refused(400, "the body is not text") from None
