"""Takes the pictures of the viewer's pages for the documents: `python -m tests.browser.picture URL docs/images`.

Run it against `sightline demo`. It draws a zone and a line on the first camera, saves them, and waits for moments when
the boxes on the screen are those of the picture under them, and for an answer to why an event fired.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import FLAGS, watching

MOST_BYTES = 150_000
PATIENCE_MS = 120_000
GOOD = """(count) => {
  const players = [...window.sightline.players.values()];
  const good = (player) => player.live && player.presenter.shown?.exact && player.drawn?.objects.length >= 3;
  return players.length >= count && players.every(good);
}"""
PICTURED = """() => document.querySelectorAll('.sl-rows li img').length >= 8"""
OF_SOMEBODY = """() => {
  const rows = [...document.querySelectorAll('.sl-rows li')];
  const row = rows.find((each) => each.querySelector('img') && each.innerText.includes('person'));
  row?.querySelector('a').click();
  return Boolean(row);
}"""


def draw_regions(page: Page) -> None:
    """A zone and a line on the camera that is shown, unless it has some; they are left unsaved."""
    page.locator("body").press("x")
    page.wait_for_selector(".sl-draw")
    box = page.locator(".sl-draw").bounding_box()
    assert box is not None

    def click(*points: tuple[float, float]) -> None:
        for x, y in points:
            page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])

    if page.locator(".sl-region").count():
        page.click(".sl-region >> nth=0")
        return
    click((0.06, 0.62), (0.5, 0.58), (0.62, 0.95), (0.05, 0.97))
    page.keyboard.press("Enter")
    for name, value in (("region", "pavement"), ("labels", "person"), ("dwell_s", "5")):
        page.fill(f".sl-picked [name={name}]", value)
    page.click("[data-tool=line]")
    click((0.68, 0.38), (0.72, 0.82))
    page.click(".sl-region >> nth=0")


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for scheme, size, suffix in (("light", (1280, 800), ""), ("dark", (390, 844), "-phone")):
            with watching(browser, f"{url}/#/wall", scheme=scheme, width=size[0], height=size[1]) as watched:  # type: ignore[arg-type]
                watched.page.set_default_timeout(PATIENCE_MS)
                take(watched.page, folder, suffix)
        browser.close()


def take(page: Page, folder: Path, suffix: str) -> None:
    """One picture of every page."""

    def keep(name: str) -> None:
        save(page.screenshot(), folder / f"viewer-{name}{suffix}.jpg")

    page.wait_for_selector("#sl[data-ready][data-role=manage]")
    page.wait_for_function(GOOD, arg=2)
    keep("wall")
    page.locator("body").press("1")
    page.wait_for_function("window.sightline.players.size === 1")
    draw_regions(page)
    page.wait_for_function(GOOD, arg=1)
    keep("zones")
    changed = page.is_enabled(".sl-regions .sl-primary")
    page.click(".sl-regions .sl-primary" if changed else ".sl-regions .sl-actions .sl-button >> nth=0")
    page.wait_for_selector(".sl-inside:visible")
    page.wait_for_function(GOOD, arg=1)
    keep("camera")
    page.evaluate("location.hash = '#/events'")
    page.select_option(".sl-kind", "appear")
    page.wait_for_function(PICTURED)
    keep("events")
    page.wait_for_function(OF_SOMEBODY)
    page.wait_for_selector(".sl-over")
    page.wait_for_function("document.querySelector('.sl-evidence-picture img').complete")
    keep("detail")
    page.click("[data-view=why]")
    page.wait_for_selector(".sl-heat, .sl-why-view [role=alert]")
    if page.locator(".sl-why-view [role=alert]").count():  # the first question builds an engine
        print("no picture of why: " + page.inner_text(".sl-why-view [role=alert]"))
    else:
        keep("why")
    for name in ("health", "models"):
        page.evaluate("(name) => { location.hash = `#/${name}` }", name)
        page.wait_for_selector(f".sl-{name}-page .sl-card")
        page.wait_for_timeout(300)
        keep(name)


def save(png: bytes, out: Path) -> None:
    """As the best JPEG that is small enough."""
    shot = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in (90, 85, 80, 75, 70, 60):
        shot.save(out, quality=quality, optimize=True, progressive=True)
        if out.stat().st_size <= MOST_BYTES:
            return
    raise AssertionError(f"{out} has {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
