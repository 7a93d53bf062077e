"""Signing in and out in a real browser, and what the page's policy keeps from running there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.browser.conftest import LiveSite, Watched, serving
from web.sessions import COOKIE

TOKEN = "correct horse battery staple"
INJECTED = """() => {
  window.ran = [];
  const box = document.createElement("div");
  document.body.append(box);
  box.innerHTML = '<img src="data:," onerror="ran.push(1)"><svg onload="ran.push(2)"></svg>';
  const inline = document.createElement("script");
  inline.textContent = "ran.push(3)";
  box.append(inline);
  const foreign = document.createElement("script");
  foreign.src = "data:text/javascript,ran.push(4)";
  box.append(foreign);
  const loaded = new Promise((resolve) => { foreign.onerror = foreign.onload = resolve; });
  return loaded.then(() => fetch("https://elsewhere.example/").then(() => ran.push(5), () => null)).then(() => ran);
}"""
Open = Callable[..., Watched]


@pytest.fixture(scope="module")
def locked() -> Iterator[LiveSite]:
    with serving(TOKEN) as live:
        yield live


def test_a_person_signs_in_and_out_and_scripts_never_see_the_cookie(
    locked: LiveSite, open_page: Open
) -> None:
    page = open_page(locked.url).page
    assert page.url == f"{locked.url}/login"
    page.fill("[name=token]", "a guess")
    page.click("button")
    page.wait_for_selector("[role=alert]:has-text('not a token')")
    page.fill("[name=token]", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)  # whose policy lets no condition be looked at
    page.wait_for_function("window.sightline?.framesDecoded > 3")
    assert page.url.partition("#")[0] == f"{locked.url}/"
    assert page.evaluate("document.cookie") == ""
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Strict")
    me = page.evaluate("fetch('/api/v1/me').then((r) => r.json())")
    assert me == {"name": "token", "role": "manage", "open": False}
    deleted = page.evaluate("fetch('/api/v1/streams/none', {method: 'DELETE'}).then((r) => r.status)")
    assert deleted == 404  # a change by cookie from our own page gets through the door
    assert page.evaluate("fetch('/logout', {method: 'POST'}).then((r) => r.status)") == 204
    assert page.evaluate("fetch('/api/v1/me').then((r) => r.status)") == 401


def test_what_somebody_got_into_the_page_does_not_run(locked: LiveSite, open_page: Open) -> None:
    page = open_page(locked.url).page
    page.fill("[name=token]", TOKEN)
    page.click("button")
    page.wait_for_function("window.sightline?.framesDecoded > 3")
    assert page.evaluate(INJECTED) == []
