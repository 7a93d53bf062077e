"""A browser looks at a painted camera through a whole server: how old is the picture, and are its boxes its own?

The browser and the camera share this machine's clock, so the age of a shown picture is now minus what is painted in it.
A result knows its frame by its time stamp, which grows as the painted number does: their distance is the same for all
frames, so a result drawn over another frame is found out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.commands.watching.camera import FPS, camera
from streamer.commands.watching.painted import BITS, COLUMNS, MODULUS, SIDE_PX, between
from streamer.commands.watching.whole_server import serving
from streamer.errors import SightlineError

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
VISITS = 5
PATIENCE_MS = 60_000

# Every picture that comes to the screen: [painted number, now, time stamp of the result drawn from it, or null].
WATCH_JS = """async ([seconds, mode, side, columns, bits]) => {
  const player = window.sightline.player;
  window.sightline.switches.mode = mode; // as a person chooses it; a mode given to the player alone is taken back
  const [width, height] = [side * columns, side * Math.ceil(bits / columns)];
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const read = () => {
    const pixels = context.getImageData(0, 0, width, height).data;
    let value = 0;
    for (let bit = 0; bit < bits; bit++) {
      const x = (bit % columns) * side + side / 2, y = Math.floor(bit / columns) * side + side / 2;
      value = value * 2 + (pixels[(y * width + x) * 4 + 1] > 127 ? 1 : 0);
    }
    return value;
  };
  const seen = [];
  const settled = performance.now() + 2000, until = settled + seconds * 1000;
  let last = null;
  while (performance.now() < until) {
    await new Promise(requestAnimationFrame);
    const shown = player.presenter.shown;
    if (!shown || shown.at === last || !player.live) continue;
    last = shown.at;
    if (performance.now() < settled) continue;
    if (player.mode !== mode) throw new Error(`the page is in ${player.mode} mode, not in ${mode}`);
    context.drawImage(player.picture, 0, 0, width, height, 0, 0, width, height);
    seen.push([read(), Date.now(), player.drawn && shown.exact ? player.drawn.pts90k : null]);
  }
  return seen;
}"""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the browser saw. `overlay_match`: the share of frames shown in exact mode whose boxes are their own."""

    first_picture_s: float
    page_ready_s: float
    p50_ms: float
    p95_ms: float
    exact_p95_ms: float
    overlay_match: float
    overlay_frames: int


def look(pictures: list[NDArray[np.uint8]], seconds: float, *, data_dir: Path, chromium: str) -> Looked:
    """Serve the camera with the default model and look at it. Raises SightlineError for want of playwright.

    Without the attention engine: it is built once a machine, behind the work, and would be all that this measures.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SightlineError(
            "the browser is driven by playwright, which is not installed",
            where="bench viewers",
            mend="pip install playwright, or leave the browser out with --no-browser",
        ) from None
    with (
        camera(pictures) as url,
        serving({"cam": url}, data_dir, evidence={"why": False}) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        first, ready = [], []
        for _ in range(VISITS):
            page.goto(server.base)
            page.wait_for_function("window.sightline?.player")
            ready.append(page.evaluate("performance.now()") / 1000)  # since the navigation began
            page.wait_for_function("window.sightline.player.stats.firstPictureMs > 0")
            first.append(page.evaluate("window.sightline.player.stats.firstPictureMs") / 1000)
        squares = [SIDE_PX, COLUMNS, BITS]
        live = page.evaluate(WATCH_JS, [seconds, "live", *squares])
        exact = page.evaluate(WATCH_JS, [seconds, "exact", *squares])
        browser.close()
    ages = [age_ms(now, painted) for painted, now, _ in live]
    if len(ages) < FPS * seconds / 4:
        raise SightlineError(
            f"the browser showed {len(ages)} pictures", where="bench viewers", mend="leave it more CPU"
        )
    return Looked(
        first_picture_s=median(first),
        page_ready_s=median(ready),
        p50_ms=float(np.percentile(ages, 50)),
        p95_ms=float(np.percentile(ages, 95)),
        exact_p95_ms=float(np.percentile([age_ms(now, painted) for painted, now, _ in exact], 95)),
        overlay_match=own_share(exact),
        overlay_frames=len(exact),
    )


def age_ms(now_ms: float, painted: int) -> int:
    """How long ago the picture was taken."""
    return between(int(now_ms) % MODULUS, painted)


def own_share(seen: list[list[Any]]) -> float:
    """The share of frames over which the result made from them is drawn; a frame without one counts against it."""
    offsets = [
        None if pts90k is None else between(round(pts90k / 90) % MODULUS, painted)
        for painted, _, pts90k in seen
    ]
    known = [offset for offset in offsets if offset is not None]
    if not known:
        return 0.0
    usual, half_ms = median(known), 500 / FPS
    return sum(offset is not None and abs(offset - usual) < half_ms for offset in offsets) / len(seen)
