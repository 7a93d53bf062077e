"""The page as a person sees it: a moving picture with boxes in step, events, health, and the truth when it is down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from streamer.config import StreamConfig
from tests.browser.conftest import STREAM, LiveSite, Watched, event_of, serving, watching
from tests.browser.painted import NUMBERS
from tests.fakes.page_answers import Answers

Open = Callable[..., Watched]

SHOWN = "window.sightline?.player?.stats.framesShown > 5 && window.sightline.player.live"

# How many colours the shown picture has, coarsely.
COLOURS = """() => {
  const video = document.querySelector('video');
  const ctx = new OffscreenCanvas(64, 36).getContext('2d', { willReadFrequently: true });
  ctx.drawImage(video, 0, 0, 64, 36);
  const data = ctx.getImageData(0, 0, 64, 36).data, seen = new Set();
  for (let i = 0; i < data.length; i += 4) seen.add([0, 1, 2].map((c) => data[i + c] >> 4).join());
  return seen.size;
}"""

# Opacity of the overlay at the middle of the left edge of each drawn box, and far from any box.
EDGES = """() => {
  const canvas = document.querySelector('.sl-tile canvas:not(.sl-held)');
  const ctx = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
  ctx.drawImage(canvas, 0, 0);
  const { objects, source_hw: [h, w] } = window.sightline.player.drawn;
  const alpha = (x, y) => ctx.getImageData(x * canvas.width / w, y * canvas.height / h, 1, 1).data[3];
  const inside = objects.filter(({ box_xyxy: [x1, y1] }) => x1 > 2 && y1 > 2);
  return { edges: inside.map(({ box_xyxy: [x1, y1, , y2] }) => alpha(x1, (y1 + y2) / 2)), corner: alpha(2, h - 2) };
}"""


@pytest.fixture(scope="module")
def shared(site: LiveSite, chromium: Any) -> Iterator[Watched]:
    """One page that several tests look at while it plays."""
    with watching(chromium, site.url, answers=Answers()) as watched:
        watched.page.wait_for_function(SHOWN)
        yield watched


def stats(page: Page) -> dict[str, Any]:
    return dict(page.evaluate("window.sightline.player.stats"))


def test_the_picture_moves_and_is_a_picture(shared: Watched) -> None:
    page = shared.page
    before = page.evaluate("window.sightline.framesDecoded")
    page.wait_for_function(f"window.sightline.framesDecoded > {before} + 10")
    assert page.evaluate(COLOURS) > 20


def test_each_picture_carries_the_result_made_from_it(shared: Watched) -> None:
    seen: list[tuple[float, float, Any]] = []
    for _ in range(5):  # a busy machine may stumble for seconds; the first try does on a quiet one
        before = stats(shared.page)
        pairs = shared.page.evaluate(NUMBERS, [60, None])
        after = stats(shared.page)
        assert pairs[-1][0] > pairs[0][0]
        matched, unmatched = (after[key] - before[key] for key in ("matched", "unmatched"))
        in_step = sum(number == seq % 65536 for number, seq, _ in pairs) / len(pairs)
        seen.append((in_step, matched / (matched + unmatched), pairs))
        if in_step >= 0.95 and matched >= 0.95 * (matched + unmatched):
            return
    raise AssertionError(f"pictures and boxes out of step: {seen}")


def test_boxes_are_drawn_on_objects_and_layers_can_be_put_away(shared: Watched) -> None:
    page = shared.page
    for layer in ("labels", "ids", "masks", "trails"):
        page.uncheck(f".sl-layers [name={layer}]")
    found = page.evaluate(EDGES)
    assert found["edges"] and min(found["edges"]) > 60
    assert found["corner"] == 0
    page.locator("body").press("b")
    assert not page.is_checked(".sl-layers [name=boxes]")
    assert max(page.evaluate(EDGES)["edges"]) == 0
    for layer in ("boxes", "labels", "ids", "masks", "trails"):
        page.check(f".sl-layers [name={layer}]")


def test_events_come_in_live_newest_on_top(site: LiveSite, shared: Watched) -> None:
    page = shared.page
    page.wait_for_selector(".sl-events .sl-dot[data-link=up]")
    site.happen(event_of(1001), event_of(1002, "leave"))
    page.wait_for_selector(f"[data-id='{STREAM}:1:1002:leave:1002']")
    rows = page.locator(".sl-rows li")
    assert "person 1002" in rows.nth(0).inner_text() and "33 ms" in rows.nth(0).inner_text()
    assert "person 1001" in rows.nth(1).inner_text()


def test_an_event_is_text_and_never_markup(site: LiveSite, shared: Watched) -> None:
    words = "<img src=x onerror=window.broken=1>"
    site.happen(event_of(1100, "down", track_id=None, attrs={"code": "STREAM_LOST", "message": words}))
    row = shared.page.locator(f"[data-id='{STREAM}:1:1100:down:1100']")
    row.wait_for()
    assert words in row.inner_text()
    assert shared.page.evaluate("window.broken") is None


def test_health_says_what_worker_and_browser_say(shared: Watched) -> None:
    text = shared.page.locator(".sl-health").inner_text()
    for word in ("RUNNING", "12.5 fps", "h264 320×180", "60, 400 ms"):
        assert word in text
    assert shared.page.locator(".sl-tile .sl-world").is_visible()


def test_nothing_foreign_is_asked_for_and_nothing_complains(site: LiveSite, shared: Watched) -> None:
    foreign = [url for url in shared.requests if not url.startswith((site.url, "data:", "blob:"))]
    assert not foreign
    assert not shared.complaints


def test_a_stream_is_added_and_removed_by_hand(site: LiveSite, open_page: Open) -> None:
    page = open_page(site.url).page
    page.wait_for_function("window.sightline?.streams.length === 1")
    page.click(".sl-tools [data-do=add]")
    page.fill("[name=name]", "door")
    page.fill("[name=url]", "gopher://camera/1")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-dialog=add] .sl-error:visible")
    assert "scheme" in page.inner_text("[data-dialog=add] .sl-error")
    page.fill("[name=url]", "rtsp://user:hunter2@192.0.2.1:1/none")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sl-chip[data-stream=door][aria-selected=true]")
    assert site.do(lambda: site.store.configs["door"].url).endswith("@192.0.2.1:1/none")
    page.wait_for_function("document.querySelector('.sl-tile').classList.contains('sl-down')")
    assert "hunter2" not in page.content()
    page.click(".sl-bar [data-do=remove]")
    page.click("[data-dialog=remove] .sl-danger")
    page.wait_for_selector(".sl-chip[data-stream=door]", state="detached")
    assert site.do(lambda: list(site.store.configs)) == [STREAM]


def test_a_stream_that_is_down_never_looks_live(site: LiveSite, open_page: Open) -> None:
    page = open_page(site.url).page
    page.wait_for_function(SHOWN)
    site.set_state(state="RESTARTING", error_code="STREAM_LOST", error="the camera closed the connection")
    try:
        page.wait_for_selector(".sl-tile.sl-down .sl-why-title:text('RESTARTING')")
        assert "STREAM_LOST: the camera closed the connection" in page.inner_text(".sl-why-text")
        assert page.evaluate("window.sightline.player.live") is False
    finally:
        site.set_state(state="RUNNING", error_code="", error="")
    page.wait_for_function("window.sightline.player.live")


def test_a_picture_that_stops_is_told_as_old(site: LiveSite, open_page: Open) -> None:
    page = open_page(site.url).page
    page.wait_for_function(SHOWN)
    site.do(lambda: setattr(site.street, "frozen", True))
    try:
        page.wait_for_selector(".sl-tile.sl-down .sl-why-title:text('No new picture')")
    finally:
        site.do(lambda: setattr(site.street, "frozen", False))
    page.wait_for_function("window.sightline.player.live")


def test_a_dead_redis_is_said_and_survived(site: LiveSite, open_page: Open) -> None:
    page = open_page(site.url).page
    page.wait_for_function(SHOWN)
    site.do(lambda: setattr(site.store, "broken", True))
    try:
        page.wait_for_selector(".sl-notice:visible")
        assert "Redis" in page.inner_text(".sl-notice")
        page.wait_for_selector(".sl-tile.sl-down")
    finally:
        site.do(lambda: setattr(site.store, "broken", False))
    page.wait_for_selector(".sl-notice", state="hidden")
    page.wait_for_function("window.sightline.player.live")


def test_several_streams_make_a_wall(site: LiveSite, open_page: Open) -> None:
    site.do(lambda: site.store.configs.update(yard=StreamConfig(name="yard", url="rtsp://127.0.0.1:1/none")))
    try:
        page = open_page(site.url).page
        page.wait_for_selector(".sl-chip[data-stream=yard]")
        page.locator("body").press("w")
        page.wait_for_function("document.querySelectorAll('.sl-tile').length === 2")
        page.wait_for_function(f"window.sightline.players.get('{STREAM}').live")
        assert page.evaluate("location.hash") == "#/wall"
        page.locator("body").press("1")
        page.wait_for_function("document.querySelectorAll('.sl-tile').length === 1")
    finally:
        site.do(lambda: site.store.configs.pop("yard"))


def test_it_fits_a_phone(site: LiveSite, open_page: Open) -> None:
    page = open_page(site.url, width=390, height=844).page
    page.wait_for_function(SHOWN)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_with_a_token_the_page_asks_for_it_first(open_page: Open) -> None:
    with serving(token="open sesame") as guarded:
        watched = open_page(guarded.url)
        page = watched.page
        assert page.url == f"{guarded.url}/login"
        page.fill("[name=token]", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        page.fill("[name=token]", "open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#sl[data-ready]")  # the sign-in page allows no expression to be waited for
        page.wait_for_function(SHOWN)
        assert not any("sesame" in url for url in watched.requests)
        assert page.evaluate("document.cookie") == ""
