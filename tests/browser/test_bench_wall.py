"""What `bench wall` counts, on the real page: pictures and results of each tile, the heap, the browser's processes."""

from __future__ import annotations

from playwright.sync_api import Browser

from streamer.commands.watching.memory import held_mib, measure_of
from streamer.commands.watching.wall_page import WallPage, tiles_of
from tests.browser.conftest import STREAM, LiveSite


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
