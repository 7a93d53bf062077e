"""Who am I here? The page asks, and hides what this person may not do; the refusals are the door's."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from streamer.access import Role
from web.security import GRANT
from web.sessions import EVERYBODY, Grant


class MeView(BaseModel):
    """The token that asks, never the token itself."""

    name: str = Field(description="Of the token; empty where none is needed")
    role: Role
    open: bool = Field(description="No token is set: whoever reaches this address may do all")


def router() -> APIRouter:
    """GET /api/v1/me."""
    api = APIRouter(prefix="/api/v1")

    @api.get("/me", tags=["access"], summary="Whose token this is, and what it may do")
    async def me(request: Request) -> MeView:
        grant: Grant = request.scope[GRANT]
        return MeView(name=grant.name, role=grant.role, open=grant is EVERYBODY)

    return api
