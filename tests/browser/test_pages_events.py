"""Events on the page: filters, live within them, one event whole, and why it fired."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import STREAM, LiveSite, Watched, event_of, watching
from tests.fakes.page_answers import GRID_HW, Answers, why_view

ROWS = ".sl-rows li"
HOUR_NS = 3600 * 10**9
WARMEST = """() => {
  const canvas = document.querySelector('.sl-heat');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let best = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > data[4 * best + 3]) best = i / 4;
  return [Math.floor(best / canvas.width), best % canvas.width, canvas.height, canvas.width];
}"""
IN_ROWS = """(wanted) => {
  const shown = [...document.querySelectorAll('.sl-rows li')].map((row) => row.dataset.id.split(':')[4]);
  return shown.join() === wanted.join();
}"""

Open = Callable[..., Watched]


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(why=why_view(track_id=3))


@pytest.fixture(scope="module")
def page(site: LiveSite, chromium: Browser, answers: Answers) -> Iterator[Page]:
    old = time.time_ns() - 3 * HOUR_NS
    site.happen(
        event_of(1, wall_ns=old),
        event_of(2, attrs={"label": "car"}),
        event_of(3, "enter", attrs={"zone": "gate"}),
        event_of(
            4, "down", stream="yard", track_id=None, attrs={"code": "STREAM_LOST", "message": "it went away"}
        ),
    )
    for event in site.store.events:
        way = [{"wall_ns": 0, "box_xyxy": [10 * i, 100, 10 * i + 40, 200], "score": 0.8} for i in range(5)]
        has = event["seq"] == 3
        answers.events[event["id"]] = {
            "event": event,
            "picture": has,
            "clip": False,
            "why": has,
            "path": way if has else [],
        }
    with watching(chromium, f"{site.url}/#/events", answers=answers) as watched:
        watched.page.wait_for_selector(ROWS)
        yield watched.page


def shows(page: Page, *tracks: str) -> None:
    """Wait until exactly these tracks are listed, newest first."""
    page.wait_for_function(IN_ROWS, arg=list(tracks))


def test_filters_narrow_the_list_and_new_events_keep_to_them(site: LiveSite, page: Page) -> None:
    shows(page, "4", "3", "2", "1")
    page.select_option(".sl-kind", "appear")
    shows(page, "2", "1")
    page.select_option(".sl-class", "car")
    shows(page, "2")
    page.wait_for_selector(".sl-events-head .sl-dot[data-link=up]")
    site.happen(
        event_of(5, "leave", attrs={"label": "car"}), event_of(6), event_of(7, attrs={"label": "car"})
    )
    shows(page, "7", "2")
    page.click(".sl-clear")
    shows(page, "7", "6", "5", "4", "3", "2", "1")
    page.select_option(".sl-camera", STREAM)
    page.select_option(".sl-time", "3600")
    shows(page, "7", "6", "5", "3", "2")
    page.click(".sl-clear")


def test_a_range_of_time_is_asked_of_the_server(site: LiveSite, page: Page) -> None:
    page.select_option(".sl-time", "range")
    with page.expect_request(lambda request: "until=" in request.url):
        page.fill(".sl-to", time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - 3600)))
        page.dispatch_event(".sl-to", "change")
    shows(page, "1")
    page.click(".sl-clear")
    shows(page, *"7654321")


def test_the_list_is_bounded(site: LiveSite, page: Page) -> None:
    site.happen(*(event_of(seq, stream="busy") for seq in range(1000, 1400)))
    page.wait_for_selector("[data-id='busy:1:1399:appear:1399']")
    assert page.locator(ROWS).count() <= 300
    page.select_option(".sl-camera", STREAM)
    shows(page, *"765321")


def test_pictures_are_asked_for_only_where_rows_are_seen(
    site: LiveSite, page: Page, answers: Answers
) -> None:
    page.wait_for_selector(f"[data-id='{STREAM}:1:3:enter:3'] .sl-thumb img")
    assert f"{STREAM}:1:3:enter:3" in answers.asked_thumbnails
    small = page.locator(
        ".sl-thumb img"
    ).first  # whole pictures in each row of a long list would fill the memory
    assert small.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [104, 78]
    # hundreds of events of the other camera went by; at most a windowful of them and no more after the first misses
    assert len([asked for asked in answers.asked_thumbnails if asked.startswith("busy:")]) <= 20


def test_an_event_shows_its_picture_path_time_and_makers(page: Page) -> None:
    page.click(f"[data-id='{STREAM}:1:3:enter:3'] a")
    page.wait_for_selector(".sl-detail .sl-over")
    assert page.evaluate("location.hash") == "#/events/" + quote(f"{STREAM}:1:3:enter:3", safe="")
    assert page.inner_text(".sl-detail h2") == "person 3 entered gate"
    box = page.locator(".sl-over rect.sl-way")
    assert [box.get_attribute(name) for name in ("x", "y", "width", "height")] == ["200", "120", "60", "180"]
    assert (
        page.get_attribute(".sl-over polyline.sl-way", "points")
        == "20.0,200.0 30.0,200.0 40.0,200.0 50.0,200.0 60.0,200.0"
    )
    steps = page.locator(".sl-waterfall li").all_inner_texts()
    assert [step.split("\n")[0] for step in steps] == [
        "decode",
        "queue",
        "batch",
        "infer",
        "postprocess",
        "in all",
    ]
    widths = page.evaluate(
        "[...document.querySelectorAll('.sl-step-bar')].map((bar) => parseFloat(bar.style.width))"
    )
    assert max(widths) == widths[3] == pytest.approx(100 * 20 / 33, abs=0.1)
    made = page.inner_text(".sl-made-by")
    assert "street-nano" in made and "openvino bf16" in made and "dc5fdc5f" in made
    assert page.locator(".sl-detail [role=tab]").all_inner_texts() == [
        "Picture",
        "Why did it fire?",
    ]  # no clip is kept
    assert page.get_attribute(".sl-detail-place a", "href") == f"#/camera/{STREAM}"


def test_why_shows_where_the_query_looked_and_where_a_point_looked(page: Page) -> None:
    page.click("[data-view=why]")
    page.wait_for_selector(".sl-heat")
    assert page.inner_text(".sl-why-note strong") == "attention, not cause"
    rows, columns = GRID_HW
    assert page.evaluate(WARMEST)[:2] == [rows // 2, columns // 2] or page.evaluate(WARMEST)[0] in (4, 5)
    box = page.locator(".sl-heat").bounding_box()
    assert box is not None
    page.locator(".sl-why-figure").click(
        position={"x": box["width"] * 2.5 / columns, "y": box["height"] * 1.5 / rows}
    )
    assert page.evaluate(WARMEST) == [1, 2, rows, columns]  # each cell of this answer looked at itself
    assert page.locator(".sl-point").is_visible()
    page.click(".sl-why-note .sl-link")
    assert page.evaluate(WARMEST)[:2] != [1, 2]
    assert page.locator(".sl-chart polyline").get_attribute("points").count(",") == 21  # type: ignore[union-attr]
    assert "least 0.75" in page.inner_text(".sl-similarity")


def test_a_refusal_to_say_why_is_said(site: LiveSite, page: Page, answers: Answers) -> None:
    kept, answers.why = answers.why, None
    try:
        page.click("[data-view=picture]")
        page.click("[data-view=why]")
        page.wait_for_selector(".sl-why-view [role=alert]")
        assert "there is no why of this event" in page.inner_text(".sl-why-view")
    finally:
        answers.why = kept
        page.click("[data-view=picture]")


def test_keys_go_from_event_to_event_and_an_event_without_evidence_says_so(page: Page) -> None:
    page.locator("body").press("j")
    page.wait_for_selector(".sl-detail h2:text-is('car 2 appeared')")
    page.wait_for_selector(".sl-detail :text('No picture of this event is kept')")
    assert page.locator(".sl-waterfall").is_visible()
    page.locator("body").press("k")
    page.wait_for_selector(".sl-detail h2:text-is('person 3 entered gate')")
    page.locator("body").press("Escape")
    page.wait_for_function("location.hash === '#/events'")


def test_an_address_of_an_event_that_is_gone_is_answered_in_words(
    site: LiveSite, open_page: Open, answers: Answers
) -> None:
    page = open_page(f"{site.url}/#/events/{quote('street:9:9:appear:9', safe='')}", answers=answers).page
    page.wait_for_selector(".sl-detail [role=alert]")
    assert "no evidence of this event is kept" in page.inner_text(".sl-detail")
    assert not page.locator(".sl-detail img").count()


def test_a_clicked_object_is_explained(site: LiveSite, open_page: Open, answers: Answers) -> None:
    page = open_page(f"{site.url}/#/camera/{STREAM}", answers=answers).page
    page.wait_for_selector(".sl-tile")
    page.wait_for_selector("#sl[data-role=manage]")
    detail: dict[str, Any] = {
        "stream": STREAM,
        "track_id": 3,
        "object": {"label": "person", "score": 0.9, "age": 12},
    }
    page.evaluate(
        "(detail) => document.querySelector('.sl-tile').dispatchEvent(new CustomEvent('sl-object', { detail }))",
        detail,
    )
    page.wait_for_selector("[data-dialog=why] .sl-heat")
    assert page.inner_text("[data-dialog=why] h2") == f"person 3 on {STREAM}"
    page.wait_for_function("document.querySelector('[data-dialog=why] img').naturalWidth === 640")
    page.click("[data-dialog=why] [data-do=close]")
