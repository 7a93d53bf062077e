"""The panel of a stream whose truth is known: its numbers, whose they are, and its absence where nothing is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from streamer.accuracy import EventScore
from tests.browser.conftest import LiveSite, Watched
from tests.unit.test_scoreboard import NUMBERS

Open = Callable[..., Watched]
PANEL = ".sl-accuracy"
SHOWN = "document.querySelector('.sl-accuracy')?.hidden === false"


def show(site: LiveSite, text: str) -> None:
    site.set_state(accuracy=text)


@pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, {"width": 390, "height": 844}])
def test_the_panel_shows_what_is_known_and_of_which_world(
    site: LiveSite, open_page: Open, size: dict[str, int]
) -> None:
    show(site, orjson.dumps(NUMBERS.to_dict()).decode())
    page = open_page(site.url, **size).page
    page.wait_for_function(SHOWN)
    panel = page.locator(PANEL)
    assert panel.locator("strong").inner_text() == "on the synthetic world: not your camera"
    names, values = panel.locator("dt").all_inner_texts(), panel.locator("dd").all_inner_texts()
    assert dict(zip(names, values, strict=True)) == {
        "AP50": "0.90",
        "AP": "0.71",
        "HOTA": "0.60",
        "DetA": "0.64",
        "AssA": "0.56",
        "Id switches": "3",
        "Appear P / R": "0.80 / 0.67",
        "Leave P / R": "— / 0.00",
        "Fall P / R": "—",
    }
    assert panel.locator("small").all_inner_texts() == ["12 in all", "4.5 frames late", "—", "no action head"]
    box, window = panel.bounding_box(), page.viewport_size
    assert box is not None and window is not None
    assert box["x"] >= 0 and box["x"] + box["width"] <= window["width"]
    if window["width"] > 860:
        assert box["y"] + box["height"] <= window["height"]


def test_a_curve_grows_with_new_numbers_and_the_panel_goes_with_its_truth(
    site: LiveSite, open_page: Open
) -> None:
    show(site, orjson.dumps(NUMBERS.to_dict()).decode())
    watched = open_page(site.url)
    page = watched.page
    page.wait_for_function(SHOWN)
    points = "document.querySelector('.sl-accuracy polyline').getAttribute('points').split(' ').length"
    assert page.evaluate(points) == 1
    show(site, orjson.dumps(replace(NUMBERS, ap50=0.5, scored_total=5025).to_dict()).decode())
    page.wait_for_function(f"{points} === 2")
    assert page.locator(f"{PANEL} dd").first.inner_text() == "0.50"
    show(site, "")  # the stream is down, or a camera
    page.wait_for_function("document.querySelector('.sl-accuracy').hidden")
    assert not watched.complaints


def test_alarms_have_a_box_while_a_zone_or_line_tells_them(site: LiveSite, open_page: Open) -> None:
    score = EventScore(told=4, right=3, there=4, noticed=2, delay_frames=2.5)
    events = {**NUMBERS.events, "intrusion": score, "wrong_way": None}
    show(site, orjson.dumps(replace(NUMBERS, events=events).to_dict()).decode())
    watched = open_page(site.url)
    page = watched.page
    page.wait_for_function(SHOWN)
    names = page.locator(f"{PANEL} dt")
    assert names.last.inner_text() == "Intrusion P / R"
    assert page.locator(f"{PANEL} dd").last.inner_text() == "0.75 / 0.50"
    assert page.locator(f"{PANEL} small").last.inner_text() == "2.5 frames late"
    show(site, orjson.dumps(NUMBERS.to_dict()).decode())
    page.wait_for_function(
        f"[...document.querySelectorAll('{PANEL} dt')].at(-1).textContent === 'Fall P / R'"
    )
    assert not watched.complaints
