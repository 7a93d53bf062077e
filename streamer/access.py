"""Who may do what: tokens with a role, kept as hashes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from streamer.strict import Strict


class Role(StrEnum):
    """What a token allows: to watch and read; to change streams as well (and all the rest); to publish video only."""

    VIEW = "view"
    MANAGE = "manage"
    PUBLISH = "publish"


class TokenConfig(Strict):
    """One token, as its hash: whoever reads the file cannot use it. `sightline token new` makes both."""

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$", description="Whose it is; shown in logs")
    ]
    role: Role
    hash: Annotated[str, Field(repr=False, min_length=8, description="What `sightline token new` prints")]
