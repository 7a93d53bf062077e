"""FFmpeg's errors and PyAV's, each mapped to a code, one line that says what is wrong, and the mend.

The text of an FFmpeg error holds the url as it was given, password and all; so nothing of it is passed on but the
reason.
"""

from __future__ import annotations

import av
import av.error

from streamer.errors import SourceCode, SourceError
from streamer.sources.address import Address, Kind

_CHECK_HOST = "check that the camera is on and the address is right"

# The first row whose type matches counts: (error, code, what, mend). More special types stand first.
_OPENING: tuple[tuple[type[BaseException], SourceCode, str, str], ...] = (
    (
        av.error.HTTPUnauthorizedError,
        SourceCode.AUTH_FAILED,
        "the user or password was not accepted",
        "put them in the url as rtsp://USER:PASSWORD@HOST/PATH",
    ),
    (
        av.error.HTTPForbiddenError,
        SourceCode.AUTH_FAILED,
        "the server forbids this stream",
        "use an account that may see it",
    ),
    (
        av.error.HTTPNotFoundError,
        SourceCode.NOT_FOUND,
        "the server has no such stream",
        "check the path of the url",
    ),
    (av.error.HTTPClientError, SourceCode.INVALID, "the server rejects the request", "check the url"),
    (av.error.HTTPServerError, SourceCode.LOST, "the server failed to answer", "look at the server's log"),
    (av.error.ConnectionRefusedError, SourceCode.REFUSED, "the connection was refused", _CHECK_HOST),
    (av.error.TimeoutError, SourceCode.TIMEOUT, "no answer in time", _CHECK_HOST),
    (av.error.ExitError, SourceCode.TIMEOUT, "no answer in time", _CHECK_HOST),
    (av.error.FileNotFoundError, SourceCode.NOT_FOUND, "there is no such file or device", "check the path"),
    (av.error.PermissionError, SourceCode.AUTH_FAILED, "this user may not read it", "check the permissions"),
    (av.error.IsADirectoryError, SourceCode.INVALID, "it is a folder", "name a video file in it"),
    (
        av.error.DecoderNotFoundError,
        SourceCode.CODEC_UNSUPPORTED,
        "its video codec is not supported",
        "convert it to H.264",
    ),
    (
        av.error.PatchWelcomeError,
        SourceCode.CODEC_UNSUPPORTED,
        "its kind of video is not supported",
        "convert it to H.264",
    ),
    (av.error.ProtocolNotFoundError, SourceCode.INVALID, "the protocol is not supported", "check the url"),
    (
        av.error.InvalidDataError,
        SourceCode.INVALID,
        "it holds no video that can be read",
        "check that it plays elsewhere",
    ),
    (
        av.error.EOFError,
        SourceCode.INVALID,
        "it ends before the first picture",
        "check that it plays elsewhere",
    ),
    (av.error.ConnectionResetError, SourceCode.LOST, "the server closed the connection", _CHECK_HOST),
    (av.error.BrokenPipeError, SourceCode.LOST, "the server closed the connection", _CHECK_HOST),
)

# While reading, these mean the same as while opening; everything else is a lost stream.
_SAME_WHEN_READING = (
    av.error.TimeoutError,
    av.error.ExitError,
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
)

# Trying again at once cannot help with the first two, and many cameras lock an account after a few wrong passwords.
_LASTING = frozenset({SourceCode.CODEC_UNSUPPORTED, SourceCode.AUTH_FAILED})
# Nor with these, where the file is on this disk; a camera or server may well come to its senses.
_LASTING_ON_DISK = frozenset({SourceCode.INVALID, SourceCode.NOT_FOUND})


def source_error(address: Address, code: SourceCode, what: str, *, where: str, mend: str = "") -> SourceError:
    """A SourceError about `address`, with its url as it may be shown."""
    lasting = code in _LASTING or (address.kind is Kind.FILE and code in _LASTING_ON_DISK)
    return SourceError(f"{address.shown}: {what}", code=code, retryable=not lasting, where=where, mend=mend)


def failure(
    error: BaseException, address: Address, *, where: str, opening: bool, overdue: bool = False
) -> SourceError:
    """The SourceError for an error that PyAV raised while `opening` or reading `address`.

    `overdue`: the deadline ended the call. FFmpeg then reports whatever its innermost layer made of that.
    """
    if overdue:
        return source_error(address, SourceCode.TIMEOUT, "no answer in time", where=where, mend=_CHECK_HOST)
    if opening or isinstance(error, _SAME_WHEN_READING):
        for kind, code, what, mend in _OPENING:
            if isinstance(error, kind):
                return source_error(address, code, what, where=where, mend=mend)
        return source_error(
            address, SourceCode.LOST, f"cannot be opened ({_reason(error)})", where=where, mend=_CHECK_HOST
        )
    return source_error(address, SourceCode.LOST, f"the stream was lost ({_reason(error)})", where=where)


def _reason(error: BaseException) -> str:
    """FFmpeg's words for the error number alone, never its file name."""
    return str(getattr(error, "strerror", None) or type(error).__name__).lower()
