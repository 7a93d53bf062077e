"""The page's own files in `static/`: the player, the style, the markup. Served as they are; there is no build step."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static"


@cache
def read_static(name: str) -> str:
    """The text of one of these files."""
    return (FOLDER / name).read_text("utf-8")
