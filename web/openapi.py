"""The API's description as a file: `python -m web.openapi docs/openapi.json`. A test holds the file to the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import orjson

from web.app import WebSettings, create_app
from web.burned import PictureStore
from web.burned_routes import BurnedServer
from web.feed import VideoStore
from web.store import Store
from web.whep import WhepServer
from web.whip import PublishStore, WhipServer


def document() -> dict[str, Any]:
    """The OpenAPI document of all routes. Nothing is opened: no route is called."""
    nothing = object()
    video = cast(VideoStore, nothing)
    pictures = BurnedServer(cast(PictureStore, nothing))
    whip = WhipServer(cast(PublishStore, nothing))
    app = create_app(WebSettings(), cast(Store, nothing), whep=WhepServer(video), whip=whip, burned=pictures)
    return app.openapi()


def text() -> str:
    """The document as it is kept: sorted keys, two spaces, a newline at the end."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(document(), option=options).decode()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), "utf-8")
