"""What `bench wall` counts, on the real page: pictures and results of each tile, the heap, the browser's processes.

And what it found: decoded pictures of events that the browser kept.
"""

from __future__ import annotations

import io
from functools import partial

import pytest
from PIL import Image
from playwright.sync_api import Browser

from streamer.commands.watching.memory import held_mib, measure_of
from streamer.commands.watching.wall_page import WallPage, tiles_of
from tests.browser.conftest import STREAM, LiveSite, event_of

pytestmark = pytest.mark.timeout(300)  # the page has its own patience, and says more when it ends


def test_the_wall_is_counted(chromium: Browser, site: LiveSite) -> None:
    wall = WallPage(chromium, site.url, 1)
    try:
        looks = [wall.look()]
        while looks[-1]["tiles"][0]["shown"] < 10:  # the browser has its own patience with each pause
            wall.pause(0.3)
            looks.append(wall.look())
        tile = tiles_of(looks)[STREAM]
        assert tile.shown >= 10
        assert tile.fps_median > 0
        assert tile.results > 0
        assert (tile.connects, tile.dead_looks) == (0, 0)

        wall.page.evaluate("window.kept = Array.from({ length: 1 << 20 }, (_, i) => ({ i }))")
        full_mib = wall.heap_mib()
        wall.page.evaluate("window.kept = null")
        assert full_mib - wall.heap_mib() > 10  # what is let go is gone from the heap at once

        parts = wall.parts()
        assert {"chromium browser", "chromium renderer"} <= set(parts)
        assert held_mib(parts["chromium renderer"], measure_of()) > 10
    finally:
        wall.page.close()


def test_small_pictures_of_events_do_not_keep_the_large_ones(chromium: Browser, site: LiveSite) -> None:
    """A hundred pictures of 3.5 MiB each have been shown in the event list: the browser keeps the small ones only."""
    out = io.BytesIO()
    Image.new("RGB", (1280, 720), (90, 120, 60)).save(out, "JPEG")
    wall = WallPage(chromium, site.url, 1)

    def held() -> float:
        wall.heap_mib()  # what is garbage is collected first
        return held_mib(wall.parts()["chromium renderer"], measure_of())

    def show(seqs: range) -> None:
        for seq in seqs:
            event = event_of(seq)
            site.do(partial(site.store.pictures.__setitem__, event["id"], out.getvalue()))
            site.happen(event)
        for seq in seqs:
            wall.page.wait_for_selector(f"[data-id='{event_of(seq)['id']}'] .sl-thumb > *")

    try:
        show(range(5000, 5008))
        before = held()
        for first in range(5008, 5108, 10):
            show(range(first, first + 10))
        assert held() - before < 100
        assert wall.page.evaluate("document.querySelectorAll('.sl-rows li').length") >= 108
    finally:
        wall.page.close()
