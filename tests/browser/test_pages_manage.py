"""Streams by hand: added with wishes, changed, paused, removed; zones and lines drawn over the picture; roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, FloatRect, Page

from streamer.config import StreamConfig
from streamer.regions import Line, Zone
from tests.browser.conftest import STREAM, LiveSite, Watched, watching
from tests.fakes.page_answers import Answers

Open = Callable[..., Watched]


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def page(site: LiveSite, chromium: Browser, answers: Answers) -> Iterator[Page]:
    with watching(chromium, f"{site.url}/#/camera/{STREAM}", answers=answers) as watched:
        watched.page.wait_for_selector("#sl[data-role=manage] .sl-tile")
        yield watched.page


@pytest.fixture
def fresh(page: Page, answers: Answers) -> Iterator[Page]:
    answers.patched.clear()
    answers.refuse_patch = ""
    page.evaluate(f"location.hash = '#/camera/{STREAM}'")
    page.wait_for_selector(".sl-camera-tools")
    # what a test saved went no further than `answers`: the next poll brings the server's word back
    page.wait_for_function("!window.sightline.streams[0].zones?.length && !window.sightline.regions.open")
    yield page


def drawing(page: Page) -> FloatRect:
    page.locator("body").press("x")
    page.wait_for_selector(".sl-draw")
    box = page.locator(".sl-draw").bounding_box()
    assert box is not None
    return box


def click(page: Page, box: FloatRect, *points: tuple[float, float]) -> None:
    for x, y in points:
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def near(found: list[list[float]], wanted: list[tuple[float, float]]) -> bool:
    """Corners within two pixels or so of where they were clicked."""
    pairs = zip(found, wanted, strict=True)
    return all(abs(a - x) < 0.006 and abs(b - y) < 0.006 for (a, b), (x, y) in pairs)


def test_a_stream_is_added_with_all_its_wishes(site: LiveSite, fresh: Page) -> None:
    page = fresh
    page.locator("body").press("n")
    page.fill("[name=name]", "door")
    page.fill("[name=url]", "rtsp://192.0.2.1/none")
    page.fill("[data-dialog=add] [name=max_fps]", "5")
    page.fill("[data-dialog=add] [name=events]", "fall, wave")
    page.uncheck("[data-dialog=add] [name=all_heads]")
    page.uncheck("[data-dialog=add] [value=semantic]")
    page.uncheck("[data-dialog=add] [value=masks]")
    page.click("[data-dialog=add] [type=submit]")
    page.wait_for_selector(".sl-chip[data-stream=door][aria-selected=true]")
    config = site.do(lambda: site.store.configs["door"])
    assert config.max_fps == 5 and config.events.actions == ("fall", "wave")
    assert config.heads == ("keypoints", "actions")
    assert page.evaluate("location.hash") == "#/camera/door"


def test_a_refusal_stands_at_its_field(site: LiveSite, fresh: Page) -> None:
    page = fresh
    page.locator("body").press("n")
    page.fill("[name=name]", STREAM)
    page.fill("[name=url]", "gopher://camera/1")
    page.keyboard.press("Enter")
    said = page.locator("[data-dialog=add] label:has([name=url]) .sl-error")
    said.wait_for()
    assert "scheme" in said.inner_text() and page.get_attribute("[name=url]", "aria-invalid") == "true"
    page.fill("[name=url]", "rtsp://192.0.2.1/none")
    page.keyboard.press("Enter")
    taken = page.locator("[data-dialog=add] label:has([name=name]) .sl-error")
    taken.wait_for()
    assert "taken" in taken.inner_text() and not said.count()
    page.keyboard.press("Escape")


def test_a_stream_is_paused_changed_and_removed(site: LiveSite, fresh: Page, answers: Answers) -> None:
    page = fresh
    page.click(".sl-chip[data-stream=door]")
    page.wait_for_function("location.hash === '#/camera/door'")
    with page.expect_response("**/api/v1/streams/door"):
        page.click("[data-do=pause]")
    assert answers.patched == [("door", {"paused": True})]
    page.click("[data-do=edit]")
    page.fill("[data-dialog=edit] [name=max_fps]", "2.5")
    page.click("[data-dialog=edit] [type=submit]")
    page.wait_for_selector("[data-dialog=edit]", state="hidden")
    sent = answers.patched[1][1]
    assert sent["max_fps"] == 2.5 and "model" not in sent  # what was not touched is not sent
    answers.refuse_patch = "model: not a model — see sightline models ls"
    page.click("[data-do=edit]")
    page.fill("[data-dialog=edit] [name=model]", "../secret")
    page.click("[data-dialog=edit] [type=submit]")
    said = page.locator("[data-dialog=edit] label:has([name=model]) .sl-error")
    said.wait_for()
    assert "not a model" in said.inner_text()
    page.keyboard.press("Escape")
    page.click("[data-do=remove]")
    page.click("[data-dialog=remove] .sl-danger")
    page.wait_for_selector(".sl-chip[data-stream=door]", state="detached")
    assert site.do(lambda: list(site.store.configs)) == [STREAM]


def test_a_zone_and_a_line_are_drawn_and_stored(fresh: Page, answers: Answers) -> None:
    page = fresh
    box = drawing(page)
    corners = [(0.1, 0.5), (0.5, 0.45), (0.6, 0.9), (0.15, 0.95)]
    click(page, box, *corners)
    click(page, box, (0.8, 0.8))
    page.keyboard.press("Escape")  # the last corner was a mistake
    page.keyboard.press("Enter")
    page.fill(".sl-region.sl-picked [name=region]", "gate")
    page.fill(".sl-region.sl-picked [name=labels]", "person, dog")
    page.fill(".sl-region.sl-picked [name=dwell_s]", "12,5")
    page.check(".sl-region.sl-picked [name=forbidden]")
    grip = page.locator(".sl-grip").nth(2).bounding_box()
    assert grip is not None
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.click("[data-tool=line]")
    click(page, box, (0.7, 0.2), (0.75, 0.6))
    page.click(".sl-regions .sl-primary")
    page.wait_for_selector(".sl-regions", state="hidden")
    assert len(answers.patched) == 1
    name, body = answers.patched[0]
    assert name == STREAM and set(body) == {"zones", "lines"}
    (zone,), (line,) = body["zones"], body["lines"]
    assert zone["name"] == "gate" and zone["labels"] == ["person", "dog"] and zone["dwell_s"] == 12.5
    assert zone["forbidden"] is True and line["one_way"] is False
    assert near(zone["points"], [*corners[:2], (0.7, 0.8), corners[3]])
    assert near([line["start"], line["end"]], [(0.7, 0.2), (0.75, 0.6)]) and line["name"] == "line 1"
    Zone.model_validate(zone)
    Line.model_validate(line)
    assert page.evaluate("location.hash") == f"#/camera/{STREAM}"


def test_a_touch_closes_a_zone_and_delete_takes_it_away(fresh: Page) -> None:
    page = fresh
    box = drawing(page)
    click(page, box, (0.2, 0.2), (0.4, 0.2), (0.4, 0.4), (0.2, 0.2))  # the first corner again
    assert page.locator(".sl-region").count() == 1
    page.locator(".sl-draw").press("Delete")
    assert page.locator(".sl-region").count() == 0
    page.click("[data-tool=zone]")
    click(page, box, (0.2, 0.6), (0.4, 0.6))
    page.mouse.dblclick(box["x"] + 0.3 * box["width"], box["y"] + 0.9 * box["height"])
    assert page.locator(".sl-region").count() == 1 and page.locator(".sl-corner").count() == 3
    page.click(".sl-regions .sl-actions .sl-button >> nth=0")
    page.wait_for_selector(".sl-draw", state="detached")


def test_what_the_server_says_of_a_zone_stands_at_it(fresh: Page, answers: Answers) -> None:
    page = fresh
    box = drawing(page)
    click(page, box, (0.1, 0.1), (0.4, 0.1), (0.4, 0.4))
    page.keyboard.press("Enter")
    page.fill(".sl-region [name=region]", "bad/name")
    page.click(".sl-regions .sl-primary")
    assert "letters, digits" in page.inner_text(".sl-region .sl-error")  # said without asking
    assert not answers.patched
    page.fill(".sl-region [name=region]", "gate")
    answers.refuse_patch = "zones.0.labels: this model knows no unicorn — choose of person, car"
    page.fill(".sl-region [name=labels]", "unicorn")
    page.click(".sl-regions .sl-primary")
    page.wait_for_selector(".sl-region .sl-error:has-text('unicorn')")
    assert page.get_attribute(".sl-region [name=labels]", "aria-invalid") == "true"
    page.locator(".sl-draw").press("Escape")
    page.locator(".sl-draw").press("Escape")
    page.wait_for_selector(".sl-draw", state="detached")


def test_who_may_only_look_is_offered_nothing_else(site: LiveSite, open_page: Open) -> None:
    page = open_page(f"{site.url}/#/camera/{STREAM}", answers=Answers(role="view")).page
    page.wait_for_selector("#sl[data-role=view] .sl-tile")
    assert page.inner_text(".sl-who") == "ada"
    for action in ("add", "zones", "pause", "edit", "remove"):
        assert not page.locator(f"[data-do={action}]:visible").count(), action
    for key in ("n", "x", "p"):
        page.locator("body").press(key)
    assert not page.locator("dialog[open]").count() and not page.locator(".sl-draw").count()
    page.evaluate(f"location.hash = '#/camera/{STREAM}/zones'")  # nor by the address
    page.wait_for_function("window.sightline.place.part === 'zones'")
    assert not page.locator(".sl-draw").count()


def test_a_webcam_is_a_stream_where_the_server_takes_it(site: LiveSite, open_page: Open) -> None:
    module = """export class Publication {
      constructor({ onState }) { this.onState = onState; this.state = 'new'; }
      async start(stream) { window.published = stream; this.state = 'live'; this.onState(this.state); }
      async stop() { window.published = null; }
    }"""
    page = open_page("about:blank", answers=Answers()).page
    page.route("**/ui/publish.js", lambda route: route.fulfill(content_type="text/javascript", body=module))
    page.add_init_script("navigator.mediaDevices.getUserMedia ??= () => {}")
    page.goto(site.url)
    page.wait_for_selector("#sl[data-role=manage] .sl-tile")
    page.locator("body").press("n")
    page.click("[data-source=webcam]")
    assert not page.locator("[name=url]").is_visible()
    page.fill("[name=name]", "desk")
    site.do(lambda: site.store.configs.update(desk=StreamConfig(name="desk", url="rtsp://127.0.0.1:1/none")))
    try:
        page.click("[data-dialog=add] [type=submit]")
        page.wait_for_selector(".sl-onair:has-text('Your camera is desk (live)')")
        assert page.evaluate("window.published") == "desk"
        page.click(".sl-onair button")
        page.wait_for_selector(".sl-onair", state="hidden")
        assert page.evaluate("window.published") is None
    finally:
        site.do(lambda: site.store.configs.pop("desk"))
