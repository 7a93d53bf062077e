"""A real browser on a real page; behind it a store in memory and a small live street, in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from streamer.config import StreamConfig
from streamer.network import WebRtcConfig
from tests.fakes.live_street import LiveStreet
from tests.fakes.page_answers import Answers
from tests.fakes.web_store import MemoryStore
from web.app import WebSettings, create_app
from web.burned_routes import BurnedServer
from web.serving import WebServer, bind
from web.whep import WhepServer

T = TypeVar("T")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STREAM = "street"
PATIENCE_MS = 45_000


def event_of(seq: int, kind: str = "appear", stream: str = STREAM, **more: Any) -> dict[str, Any]:
    """An event as the API gives it, of now."""
    base = {"id": f"{stream}:1:{seq}:{kind}:{seq}", "kind": kind, "stream": stream, "epoch": 1, "seq": seq}
    attrs = {"label": "person", "score": 0.9, "box_xyxy": [200, 120, 260, 300], "source_hw": [360, 640]}
    spans = {"decode": 3.0, "queue": 6.0, "batch": 2.0, "infer": 20.0, "postprocess": 2.0, "total": 33.0}
    made = {"model": "street-nano", "digest": "dc5f" * 16, "backend": "openvino bf16"}
    of_now = {"wall_ns": time.time_ns(), "track_id": seq, "latency_ms": spans, "provenance": made}
    return base | of_now | {"attrs": attrs | more.pop("attrs", {})} | more


@dataclass
class LiveSite:
    """A running server. Touch its store only through `do`, which runs on the server's own loop."""

    url: str
    store: MemoryStore
    street: LiveStreet
    loop: asyncio.AbstractEventLoop

    def do(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self.loop).result(5)

    def happen(self, *events: dict[str, Any]) -> None:
        self.do(lambda: [self.store.happen(event) for event in events])

    def set_state(self, **fields: str) -> None:
        self.do(lambda: self.store.states[STREAM].update(fields))


@contextmanager
def serving(token: str | None = None, network: WebRtcConfig | None = None) -> Iterator[LiveSite]:
    """A server on a free port, from the first byte to the last."""
    started = threading.Event()
    made: list[tuple[LiveSite, WebServer]] = []
    failures: list[BaseException] = []

    async def main() -> None:
        store = MemoryStore()
        store.configs[STREAM] = StreamConfig(name=STREAM, url="world://street?seed=7")
        street = LiveStreet(store, STREAM)
        whep = WhepServer(street, network=network)
        app = create_app(WebSettings(token=token), store, whep=whep, burned=BurnedServer(street))
        with bind("127.0.0.1", 0) as listener:
            server = WebServer(app)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            made.append((LiveSite(url, store, street, asyncio.get_running_loop()), server))
            async with street.running():
                started.set()
                await server.serve(sockets=[listener])

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="site")
    thread.start()
    started.wait(30)
    assert not failures, failures
    site, server = made[0]
    try:
        _wait_for_page(site.url)
        yield site
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


def _wait_for_page(url: str) -> None:
    with httpx.Client(timeout=10) as client:
        for _ in range(300):
            try:
                if client.get(f"{url}/healthz").json()["viewer"] == "ready":
                    return
            except httpx.TransportError:
                pass
            threading.Event().wait(0.1)
    raise AssertionError("the viewer page did not come up in 30 s")


@pytest.fixture(scope="module")
def site() -> Iterator[LiveSite]:
    with serving() as live:
        yield live


# Playwright leaves a running loop on this thread, so it ends with its file: other tests run loops of their own.
@pytest.fixture(scope="module")
def chromium(tool: Callable[[str], str]) -> Iterator[Browser]:
    path = tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, what it asked for and what it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def watching(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 800,
    answers: Answers | None = None,
    scheme: Literal["light", "dark"] = "dark",
) -> Iterator[Watched]:
    """An address in a browser profile of its own, at a size in pixels; `answers` speaks for parts of the server."""

    def heard(line: ConsoleMessage) -> None:
        # that a picture of an event is not kept is no complaint: its row shows none
        if line.type in ("error", "warning") and not line.location["url"].endswith(
            ("/picture.jpg", "/thumbnail.jpg")
        ):
            watched.complaints.append(line.text)

    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    watched = Watched(context.new_page())
    watched.page.on("request", lambda request: watched.requests.append(request.url))
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    watched.page.on("console", heard)
    if answers is not None:
        answers.install(watched.page)
    try:
        watched.page.goto(url)
        yield watched
    finally:
        context.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Watched]]:
    """`watching` for as long as the test runs."""
    with ExitStack() as stack:
        yield lambda url, **how: stack.enter_context(watching(chromium, url, **how))
