"""The base of everything that a user writes: no unknown field, no change afterwards, no value in an error's text."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable, and refuses fields it does not know; what was given stays out of error messages (it may be secret)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
