"""Takes the picture of the viewer for the documents: `python -m tests.browser.picture URL docs/images/viewer.png`.

Run it against `sightline demo`. It waits for a moment when the boxes on the screen are those of the picture under them.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.conftest import FLAGS, watching

MOST_BYTES = 400_000
GOOD = """() => {
  const player = window.sightline?.player;
  const { matched = 0, unmatched = 1 } = player?.stats ?? {};
  const inStep = player?.live && player.drawn === player.timeline.exact(player.stamp);
  return inStep && matched > 100 && matched > 0.95 * (matched + unmatched) && player.drawn.objects.length >= 4;
}"""


def main(url: str, out: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with watching(browser, url) as watched:
            watched.page.wait_for_function(GOOD, timeout=120_000)
            shot = Image.open(io.BytesIO(watched.page.screenshot()))
        browser.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    shot.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)
    size = out.stat().st_size
    assert size <= MOST_BYTES, f"{out} has {size} bytes"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
