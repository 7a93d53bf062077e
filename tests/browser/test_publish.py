"""A browser's camera (Chromium's fake one) published by publish.js through a real Redis, decoded, and let go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from streamer.client import AsyncClient, Client
from streamer.clock import SystemClock
from streamer.sinks.redis_server import resolve_redis
from streamer.sources import open_source
from tests.browser.conftest import FLAGS
from tests.fakes.sources import Spec
from web.app import WebSettings, create_app
from web.serving import WebServer, bind
from web.whip import WhipServer

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PUBLISH = """async () => {
  const { Publication, cameras } = await import("/ui/publish.js");
  window.said = [];
  window.publication = new Publication({ onState: (state, text) => window.said.push([state, text]) });
  window.shown = document.createElement("video");
  await window.publication.start("webcam", { video: window.shown });
  window.track = window.shown.srcObject.getVideoTracks()[0];
  window.found = await cameras();
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address of the server, address of Redis)"""
    address = resolve_redis(tmp_path_factory.mktemp("redis"), None)
    started = threading.Event()
    found: list[tuple[str, WebServer]] = []

    async def main() -> None:
        store = AsyncClient(address.url)
        app = create_app(WebSettings(), store, whip=WhipServer(store))
        with bind("127.0.0.1", 0) as listener:
            server = WebServer(app)
            found.append((f"http://127.0.0.1:{listener.getsockname()[1]}", server))
            started.set()
            await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(20)
    yield found[0][0], address.url
    found[0][1].should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    address.close()


def test_a_webcam_is_published_and_let_go(site: tuple[str, str], tool: Callable[[str], str]) -> None:
    url, redis_url = site
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=tool("chromium"), args=[*FLAGS, *CAMERA])
        # the probe page lets a script do nothing; the camera rule of its headers holds all the same
        page = browser.new_context(bypass_csp=True).new_page()
        page.goto(f"{url}/healthz")
        page.evaluate(PUBLISH)
        page.wait_for_function("window.publication.state === 'live'", timeout=20_000)
        pictures, codec, size = frames(redis_url, 20)
        assert codec in ("h264", "vp8")
        assert 0 < size[1] <= 1280 and 0 < size[0] <= 720
        changed = [np.abs(a.astype(int) - b).max() for a, b in pairwise(pictures)]
        assert sum(step > 20 for step in changed) > 10, "the fake camera's picture moves"
        refusal = page.evaluate(
            """async () => {
              const { Publication } = await import("/ui/publish.js");
              const second = new Publication();
              try { await second.start("webcam"); } catch (error) { return [second.state, error.message]; }
            }"""
        )
        assert refusal[0] == "refused" and "somebody publishes to this stream already" in refusal[1]
        page.evaluate("window.publication.stop()")
        assert page.evaluate(
            "[window.publication.state, window.track.readyState, window.shown.srcObject]"
        ) == [
            "ended",
            "ended",
            None,
        ]
        assert [state for state, _ in page.evaluate("window.said")] == [
            "asking",
            "connecting",
            "live",
            "ended",
        ]
        assert page.evaluate("window.found.length") >= 1
        browser.close()


def frames(redis_url: str, n: int) -> tuple[list[Any], str, tuple[int, int]]:
    """The first `n` pictures that a worker's source makes of it, its codec and its size."""
    source = open_source(
        Spec("whip://webcam", name="webcam"),
        epoch=1,
        input_hw=(72, 128),
        clock=SystemClock(),
        publications=lambda: Client(redis_url),
    )
    try:
        info = source.open()
        found = [frame.image.copy() for _, frame in zip(range(n), source.frames(), strict=False)]
        return found, info.codec, (info.height, info.width)
    finally:
        source.close()
