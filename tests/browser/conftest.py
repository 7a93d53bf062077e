"""A real browser on a real page; behind it a store in memory and a small live street, in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from streamer.config import StreamConfig
from streamer.network import WebRtcConfig
from tests.fakes.live_street import LiveStreet
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
def watching(browser: Browser, url: str, *, width: int = 1280, height: int = 800) -> Iterator[Watched]:
    """An address in a browser profile of its own, at a given size in pixels."""

    def heard(line: ConsoleMessage) -> None:
        if line.type in ("error", "warning"):
            watched.complaints.append(line.text)

    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark")
    context.set_default_timeout(PATIENCE_MS)
    watched = Watched(context.new_page())
    watched.page.on("request", lambda request: watched.requests.append(request.url))
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    watched.page.on("console", heard)
    try:
        watched.page.goto(url)
        yield watched
    finally:
        context.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Watched]]:
    """`watching` for as long as the test runs."""
    with ExitStack() as stack:
        yield lambda url, **size: stack.enter_context(watching(chromium, url, **size))
