"""What `bench wall` reads from a page: pictures that were rendered, those the page heard of, and the number painted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from streamer.commands.watching.wall_page import COUNT_JS
from tests.browser.conftest import LiveSite, watching
from tests.browser.painted import NUMBERS
from tests.fakes.page_answers import Answers

SHOWN = "window.sightline?.player?.stats.framesShown > 5 && window.sightline.player.live"
LOOK = "window.lookAtWall()"


@pytest.fixture
def page(site: LiveSite, chromium: Browser) -> Iterator[Page]:
    with watching(chromium, site.url, answers=Answers()) as watched:
        watched.page.wait_for_function(SHOWN)
        scale = watched.page.evaluate("window.sightline.player.video.videoWidth / 320")
        watched.page.evaluate(COUNT_JS, [16 * scale, 16, 16])  # the street's sixteen squares in one row
        yield watched.page


def look(page: Page) -> dict[str, Any]:
    (tile,) = page.evaluate(LOOK)["tiles"]
    return dict(tile)


def number(tile: dict[str, Any]) -> int:
    """The street writes its lowest bit first, the benches their highest."""
    return int(f"{tile['painted']:016b}"[::-1], 2)


def test_a_look_counts_pictures_and_reads_the_newest(page: Page) -> None:
    before = look(page)
    ((between, *_), *_) = page.evaluate(NUMBERS, [20, None])
    after = look(page)
    assert before["live"] and after["live"]
    assert number(before) <= between < number(after)
    assert after["heard"] - before["heard"] >= 19
    # no picture is counted that did not come, and none is lost that the page heard of
    came = number(after) - number(before)
    assert after["heard"] - before["heard"] <= after["shown"] - before["shown"] + 1
    assert after["shown"] - before["shown"] + after["dropped"] - before["dropped"] <= came + 1


def test_a_session_that_counts_from_nothing_takes_nothing_away(page: Page) -> None:
    before = look(page)
    page.evaluate(
        """() => {
          const { video } = window.sightline.player;
          video.getVideoPlaybackQuality = () => ({ totalVideoFrames: 5, droppedVideoFrames: 2 });
        }"""
    )
    after = look(page)
    assert (after["shown"] - before["shown"], after["dropped"] - before["dropped"]) == (3, 2)
    again = look(page)
    assert (again["shown"], again["dropped"]) == (after["shown"], after["dropped"])
