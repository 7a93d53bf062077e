"""The page as a whole: addresses, the wall and its pages, health, models, a phone, and how soon it is there."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Route

from streamer.config import StreamConfig
from tests.browser.conftest import STREAM, LiveSite, Watched, event_of
from tests.fakes.page_answers import Answers

Open = Callable[..., Watched]

READY = "#sl[data-ready][data-role=manage]"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
HIDDEN_TEXT = """() => [...document.querySelectorAll('#sl button, #sl dd, #sl a')]
  .filter((each) => each.offsetParent && each.scrollWidth > each.clientWidth + 1
    && getComputedStyle(each).overflow === 'visible'
    
    && each.clientWidth > 0 && getComputedStyle(each).display !== 'inline')
  .map((each) => each.outerHTML.slice(0, 120))"""


def cameras(site: LiveSite, count: int) -> None:
    """So many further cameras that nobody answers for."""
    names = [f"cam-{i:02}" for i in range(count)]
    site.do(
        lambda: site.store.configs.update(
            {n: StreamConfig(name=n, url="rtsp://127.0.0.1:1/none") for n in names}
        )
    )


def only_street(site: LiveSite) -> None:
    for name in site.do(lambda: list(site.store.configs)):
        if name != STREAM:
            site.do(lambda name=name: site.store.configs.pop(name))


def test_places_have_addresses_and_back_leads_back(site: LiveSite, open_page: Open) -> None:
    page = open_page(f"{site.url}/#/models", answers=Answers()).page
    page.wait_for_selector("[data-model=street-nano]")
    for key, place in (("h", "#/health"), ("e", "#/events"), ("w", "#/wall"), ("1", f"#/camera/{STREAM}")):
        page.locator("body").press(key)
        page.wait_for_function("(place) => location.hash === place", arg=place)
    page.go_back()
    page.wait_for_selector("#sl[data-page=wall] .sl-tile")
    assert page.get_attribute(".sl-nav [aria-current]", "data-page") == "wall"
    page.evaluate("location.hash = '#/nowhere'")
    page.wait_for_selector(f".sl-chip[data-stream={STREAM}][aria-selected=true]")
    page.locator("body").press("?")
    page.wait_for_selector("[data-dialog=help] :text('live or exact')")


def test_a_camera_that_is_analysed_rarely_plays_on_in_exact_mode(site: LiveSite, open_page: Open) -> None:
    url = "rtsp://127.0.0.1:1/none"
    slow, quick = (StreamConfig(name=f"at-{fps}", url=url, max_fps=fps) for fps in (2, 12))
    site.do(lambda: site.store.configs.update({one.name: one for one in (slow, quick)}))
    try:
        page = open_page(f"{site.url}/#/wall", answers=Answers()).page
        page.wait_for_selector("[data-stream=at-12]")
        modes = (
            "Object.fromEntries([...window.sightline.players].map(([name, player]) => [name, player.mode]))"
        )
        assert page.evaluate(modes) == {STREAM: "exact", "at-2": "live", "at-12": "exact"}
        page.locator("body").press("v")  # all live, and back
        assert set(page.evaluate(modes).values()) == {"live"}
        page.locator("body").press("v")
        assert page.evaluate(modes) == {STREAM: "exact", "at-2": "live", "at-12": "exact"}
    finally:
        only_street(site)


def test_a_wall_of_many_has_pages_and_says_why_a_camera_is_down(site: LiveSite, open_page: Open) -> None:
    cameras(site, 11)
    down = {"state": "RESTARTING", "error_code": "STREAM_TIMEOUT", "error": "the camera does not answer"}
    site.do(lambda: site.store.states.update({"cam-00": down}))
    try:
        page = open_page(f"{site.url}/#/wall", answers=Answers()).page
        page.wait_for_function("document.querySelectorAll('.sl-tile').length === 9")
        page.wait_for_selector(
            "[data-stream=cam-00].sl-down :text('STREAM_TIMEOUT: the camera does not answer')"
        )
        assert page.inner_text("[data-stream=cam-00] .sl-told") == "restarting"
        assert page.inner_text(".sl-pager-text") == "1 of 2"
        page.click(".sl-pager [data-page=after]")
        page.wait_for_function("document.querySelectorAll('.sl-tile').length === 3")
        page.wait_for_selector(f"[data-stream={STREAM}] .sl-told:text-matches('12.5 fps')")
        page.click(f".sl-tile[data-stream={STREAM}] .sl-name")
        page.wait_for_function(f"location.hash === '#/camera/{STREAM}'")
    finally:
        only_street(site)


def test_layers_and_timing_are_switched_and_kept(site: LiveSite, open_page: Open) -> None:
    page = open_page(f"{site.url}/#/camera/{STREAM}", answers=Answers()).page
    page.wait_for_selector(READY)
    names = page.evaluate("[...document.querySelectorAll('.sl-layers input')].map((box) => box.name)")
    assert {
        "boxes",
        "labels",
        "ids",
        "masks",
        "trails",
        "skeletons",
        "ground",
        "actions",
        "zones",
        "attention",
    } == set(names)
    assert page.evaluate("window.sightline.player.mode") == "exact"
    page.locator("body").press("v")
    page.locator("body").press("z")
    assert page.evaluate("window.sightline.player.mode") == "live"
    page.reload()
    page.wait_for_selector(READY)
    assert page.evaluate("window.sightline.player.mode") == "live"
    assert page.get_attribute("[data-mode=live]", "aria-checked") == "true"
    assert not page.is_checked(".sl-layers [name=zones]") and page.is_checked(".sl-layers [name=boxes]")


def test_health_tells_each_stream_its_losses_and_the_worker(site: LiveSite, open_page: Open) -> None:
    cameras(site, 1)
    down = {
        "state": "ERROR",
        "error_code": "STREAM_AUTH_FAILED",
        "error": "the camera wants another password",
    }
    site.do(lambda: site.store.states.update({"cam-00": down}))
    ledger = '{"in": 2100, "in_flight": 2, "emitted": 2000, "dropped:queue_full": 90, "failed:engine": 8}'
    keep = site.do(lambda: dict(site.store.states[STREAM]))
    try:
        page = open_page(f"{site.url}/#/health", answers=Answers()).page
        page.route("**/api/v1/streams", lambda route: _with_ledger(route, ledger))
        card = page.locator(f"[data-card={STREAM}]")
        card.locator("li:has-text('given up: queue full')").wait_for()
        for word in (
            "12.5 fps",
            "400 ms",
            "p50 60 ms",
            "h264 320×180",
            "street-nano",
            "encoded: b-frames",
            "queue full 90",
        ):
            assert word in card.inner_text().replace("\n", " "), word
        assert "STREAM_AUTH_FAILED: the camera wants another password" in page.inner_text(
            "[data-card=cam-00]"
        )
        tiles = page.inner_text(".sl-tiles")
        assert "alive" in tiles and "1 of 2" in tiles and "98" in tiles
        page.click(f"[data-card={STREAM}] h3 a")
        page.wait_for_selector("#sl[data-page=camera]")
    finally:
        only_street(site)
        site.do(lambda: site.store.states.update({STREAM: keep}))


def _with_ledger(route: Route, ledger: str) -> None:
    """What the server says, with counts and how viewers get their video."""
    answer = route.fetch()
    body = answer.json()
    for stream in body["streams"]:
        if stream["name"] == STREAM:
            how = {"viewer_video": "encoded", "viewer_video_why": "b-frames"}
            stream["state"] |= {"ledger": json.loads(ledger), **how}
    route.fulfill(response=answer, json=body)


def test_models_show_cards_numbers_and_text_and_refusals_in_words(site: LiveSite, open_page: Open) -> None:
    answers = Answers()
    answers.models.append(
        {"name": "<b>own</b>", "task": "detect", "shown": {}, "text": "<img src=x onerror=window.broken=1>"}
    )
    page = open_page(f"{site.url}/#/models", answers=answers).page
    card = page.locator("[data-model=street-nano]")
    card.wait_for()
    card.locator(f":text('used by {STREAM}')").wait_for()
    assert "0.877" in card.inner_text() and "6.1 MB" in card.inner_text()
    card.locator("summary").click()
    assert (
        card.locator("td:text-is('0.877')").is_visible()
        and card.locator(".sl-markdown strong").inner_text() == "people"
    )
    assert page.evaluate("window.broken") is None and not page.locator(".sl-models-page img").count()
    page.route(
        "**/api/v1/models",
        lambda route: route.fulfill(status=503, json={"detail": "Redis cannot be reached"}),
    )
    page.reload()
    page.wait_for_selector(".sl-models-page [role=alert]:has-text('Redis cannot be reached')")


@pytest.mark.parametrize(
    "place", ["wall", f"camera/{STREAM}", "events", "health", "models", f"camera/{STREAM}/zones"]
)
def test_each_page_fits_the_smallest_phone(site: LiveSite, open_page: Open, place: str) -> None:
    site.happen(event_of(1, attrs={"label": "a_class_with_a_name_that_is_longer_than_any_phone_is_wide"}))
    page = open_page(f"{site.url}/#/{place}", width=360, height=740, answers=Answers()).page
    page.wait_for_selector(READY)
    page.wait_for_function("document.querySelector('#sl').innerText.length > 60")
    assert page.evaluate(WIDER) <= 0
    assert page.evaluate(HIDDEN_TEXT) == []
    box = page.locator(".sl-nav").bounding_box()
    assert box is not None and box["y"] + box["height"] == 740  # at the thumb


def test_the_page_is_soon_there(
    site: LiveSite, open_page: Open, record_property: Callable[[str, object], None]
) -> None:
    watched = open_page(site.url, answers=Answers())
    page = watched.page
    page.wait_for_selector(READY)
    ready_ms = page.evaluate("performance.now()")
    page.locator("body").press("?")
    page.wait_for_selector("[data-dialog=help][open]")  # it answers, too
    record_property("page_ready_ms", round(ready_ms))
    print(f"page ready after {ready_ms:.0f} ms")
    modules = {url for url in watched.requests if "/ui/" in url and url.endswith(".js")}
    preloaded = set(
        page.evaluate("[...document.querySelectorAll('link[rel=modulepreload]')].map((link) => link.href)")
    )
    assert modules <= preloaded  # else the browser learns of a module only when another asks for it
