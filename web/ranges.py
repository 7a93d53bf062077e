"""Parts of a body: browsers ask for a film piece by piece, and show none that cannot be asked so (RFC 9110, 14)."""

from __future__ import annotations

import re

from starlette.responses import Response

_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE)


def wanted_part(header: str | None, size: int) -> tuple[int, int] | None:
    """(first, last) byte of a Range header for a body of `size` bytes, both included; None: all of it.

    A header that is not understood, and one that asks for several parts, counts as none. Raises ValueError if no byte
    of the body lies in the range.
    """
    found = None if header is None else _RANGE.fullmatch(header.strip())
    if found is None:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        if not int(last) or not size:
            raise ValueError(header)
        return max(0, size - int(last)), size - 1
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise ValueError(header)
    return int(first), min(int(last or size), size - 1)


def with_ranges(
    body: bytes,
    *,
    media_type: str,
    etag: str,
    headers: dict[str, str],
    asked: str | None,
    if_range: str | None,
) -> Response:
    """The body, or the part that `asked` (a Range header) names; 416 if there is no such part.

    With `if_range` of another entity the whole body is the answer.
    """
    headers = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    try:
        part = wanted_part(asked if if_range in (None, etag) else None, len(body))
    except ValueError:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(body)}"})
    if part is None:
        return Response(body, media_type=media_type, headers=headers)
    first, last = part
    headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
    return Response(body[first : last + 1], 206, media_type=media_type, headers=headers)
