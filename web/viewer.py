"""The page at `/`: a Gradio Blocks that holds our own player, mounted late so that nobody waits for Gradio's import.

Gradio takes seconds to import; the API must answer at once. So `Viewer` builds the page on a thread after the start and
until then answers with a page that asks again. Of Gradio's routes only those that the page needs are let through: there
are no Python callbacks behind it, hence no queue, no uploads, no file serving, no proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from web.assets import read_static
from web.problems import problem

log = logging.getLogger(__name__)

TITLE = "Sightline"
PREFIXES = ("/assets/", "/static/")
PATHS = frozenset({"/", "/theme.css", "/favicon.ico"})
ON_LOAD = "import(new URL('/ui/viewer.js', document.baseURI)).then(({ start }) => start(element.querySelector('#sl')))"
STYLES = ("viewer", "stage", "player", "feed", "pages")
PLAYER = (
    *(
        "grids",
        "held",
        "inflater",
        "layers",
        "liveness",
        "overlay",
        "palette",
        "player",
        "presenter",
        "timeline",
        "whep",
    ),
    "zones",
)
MODULES = (
    *("viewer", "accuracy", "api", "detail", "dom", "drawing", "events", "evidence", "filters", "health"),
    *("keys", "ledger", "manage", "markdown", "models", "objectwhy", "picker", "regions", "router", "shapes"),
    *("switches", "taskform", "thumbnails", "vitals", "wall", "waterfall", "why", "words"),
    *PLAYER,
)
HEAD = "\n".join(
    [
        '<meta name="color-scheme" content="light dark">',
        *(f'<link rel="stylesheet" href="/ui/{name}.css">' for name in STYLES),
        # fetched beside Gradio's own scripts, so that the player starts as soon as its element is there
        *(f'<link rel="modulepreload" href="/ui/{name}.js">' for name in MODULES),
    ]
)
STARTING = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>
<meta http-equiv="refresh" content="1"><style>body{{font:16px system-ui,sans-serif;display:grid;place-items:center;
min-height:90vh;color-scheme:light dark}}</style></head><body><p>The viewer is starting…</p></body></html>"""


def build_page() -> FastAPI:
    """The Gradio application (imports Gradio: seconds of work)."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio as gr

    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Base(font=system, font_mono=["ui-monospace", "monospace"])
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False) as page:
        gr.HTML(html_template=read_static("viewer.html"), js_on_load=ON_LOAD, apply_default_css=False)
    app = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=theme,
        head=HEAD,
    )
    return app


class Viewer:
    """An ASGI application for everything that is not ours: Gradio's page once it is there."""

    def __init__(self) -> None:
        self._page: ASGIApp | None = None

    @property
    def ready(self) -> bool:
        return self._page is not None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Build the page beside the running server; leaving ends it."""
        task = asyncio.create_task(self._run(), name="viewer")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        try:
            page = await asyncio.to_thread(build_page)
            async with page.router.lifespan_context(page):
                self._page = page
                await asyncio.Event().wait()
        except Exception:  # the API lives on without its page, and says so
            log.exception("the viewer page cannot be built")
        finally:
            self._page = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD") or not (path in PATHS or path.startswith(PREFIXES)):
            await problem(404, "there is nothing here", where=path)(scope, receive, send)
        elif self._page is None:
            starting = HTMLResponse(STARTING, 503, headers={"Retry-After": "1"})
            await starting(scope, receive, send)
        else:
            await self._page(scope, receive, send)
