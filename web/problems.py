"""Refusals as RFC 9457 problem documents whose `detail` is one line: what is wrong, where, and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from streamer.errors import SightlineError

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """Why a request was refused."""

    type: str = "about:blank"
    title: str = Field(description="The HTTP status in words")
    status: int
    detail: str = Field(description="One line: what is wrong, where, and the mend")


def problem(
    status: int, what: str, *, where: str = "", mend: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem response; its `detail` has the same form as every error of the product."""
    detail = str(SightlineError(what, where=where, mend=mend))
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers, media_type=MEDIA_TYPE)


class Refused(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        where: str = "",
        mend: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what)
        self.status = status
        self.headers = headers
        self.error = SightlineError(what, where=where, mend=mend)

    def response(self) -> JSONResponse:
        error = self.error
        return problem(self.status, error.what, where=error.where, mend=error.mend, headers=self.headers)
