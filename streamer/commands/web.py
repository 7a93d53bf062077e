"""`sightline web`: the process that browsers and programs talk to. Started by the supervisor, so help hides it.

It knows only Redis. The token comes through the environment, as a command line can be read by everybody.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command(hidden=True)(web)


def web(
    redis_url: Annotated[str, typer.Option(envvar="REDIS_URL", help="Where Redis is.", show_default=False)],
    host: Annotated[str, typer.Option(help="Any but a loopback address needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    media_root: Annotated[
        Path | None, typer.Option(help="Files added at run time must lie under it.", show_default=False)
    ] = None,
) -> None:
    """Serve the page, the API and live video until SIGTERM."""
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO").upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    # its every session and candidate pair at INFO would drown the rest
    for noisy in ("aioice", "aiortc", "httpx", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    from streamer.commands.web_wishes import WEB_WISHES, WebWishes
    from web.security import check_bind
    from web.serving import bind

    token = os.environ.pop("SIGHTLINE_TOKEN", None) or None
    told = WebWishes.model_validate_json(os.environ.pop(WEB_WISHES, "{}"))
    check_bind(host, token, told.tokens)
    with bind(host, port) as listener:  # a port in use is told before anything slow is loaded
        import asyncio

        from streamer.client import AsyncClient
        from web.app import WebSettings, create_app
        from web.audience import Audience
        from web.burned_routes import BurnedServer
        from web.ports import MediaLoop
        from web.serving import WebServer
        from web.whep import WhepServer
        from web.whip import WhipServer

        async def serve() -> None:
            store = AsyncClient(redis_url)
            settings = WebSettings(
                host=host,
                port=port,
                token=token,
                media_root=media_root,
                tokens=told.tokens,
                webrtc=told.webrtc,
                secret=told.secret.get_secret_value() if told.secret is not None else None,
                stream_hosts=told.stream_hosts,
                evidence=told.evidence,
            )
            audience = Audience(told.max_viewers, told.max_viewers_per_stream)
            whep = WhepServer(store, network=told.webrtc, audience=audience)
            whip = WhipServer(store, network=told.webrtc)
            burned = BurnedServer(store, audience=audience)
            app = create_app(settings, store, whep=whep, whip=whip, burned=burned, audience=audience)
            await WebServer(app, proxies=told.trusted_proxies).serve(sockets=[listener])

        with asyncio.Runner(loop_factory=lambda: MediaLoop(told.webrtc.ports)) as runner:
            runner.run(serve())
