"""The wall in a browser: its tiles counted from inside the page, its processes and its heap from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from streamer.commands.watching.memory import MIB
from streamer.commands.watching.page import FLAGS, age_ms
from streamer.commands.watching.painted import BITS, COLUMNS, SIDE_PX
from streamer.errors import SightlineError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

SIZE_PX = {"width": 1280, "height": 800}
PATIENCE_MS = 120_000
# Pictures of events come all the time. A browser without a profile keeps what it has loaded in memory, up to a fiftieth
# of the machine's, whatever size of cache it is told; a person has a profile, so the wall is given one.
CACHE_BYTES = 4 << 20
LIVE_JS = "localStorage.setItem('sl-mode', 'live')"  # exact mode shows only what was analysed
PLAYING = """(count) => {
  const players = [...(window.sightline?.players.values() ?? [])];
  return players.length === count && players.every((player) => player.live);
}"""

# From now on each tile counts the pictures that it rendered (`shown`: all that came less those the browser dropped),
# and those of which the page was told singly and so drew over (`heard`: on a busy machine its thread is late, while the
# browser's own go on showing). A look reads all counts and one picture a tile, from the video's frame itself: of each
# picture that is drawn into a canvas Chromium keeps a decoded copy for some five minutes, and what a look left behind
# would be measured as the page's.
COUNT_JS = """([side, columns, bits]) => {
  const rect = { x: 0, y: 0, width: side * columns, height: side * Math.ceil(bits / columns) };
  const pixels = new Uint8Array(4 * rect.width * rect.height);
  const paintedIn = async (video) => {
    const frame = new VideoFrame(video);
    const layout = [{ offset: 0, stride: 4 * rect.width }];
    await frame.copyTo(pixels, { rect, layout, format: "RGBA" }).finally(() => frame.close());
    let value = 0;
    for (let bit = 0; bit < bits; bit++) {
      const x = (bit % columns) * side + side / 2, y = Math.floor(bit / columns) * side + side / 2;
      value = value * 2 + (pixels[(y * rect.width + x) * 4 + 1] > 127 ? 1 : 0);
    }
    return value;
  };
  const fresh = { heard: 0, shown: 0, dropped: 0, painted: 0, last: { total: 0, dropped: 0 } };
  const tiles = [...window.sightline.players.values()].map((player) => ({ player, ...fresh }));
  for (const tile of tiles) {
    const hear = () => {
      tile.heard++;
      tile.player.video.requestVideoFrameCallback(hear);
    };
    tile.player.video.requestVideoFrameCallback(hear);
  }
  window.lookAtWall = async () => {
    const told = [];
    for (const tile of tiles) {
      const { player } = tile;
      const { totalVideoFrames: total, droppedVideoFrames: dropped } = player.video.getVideoPlaybackQuality();
      const last = total < tile.last.total ? fresh.last : tile.last; // a new session counts from nothing
      tile.shown += total - dropped - (last.total - last.dropped);
      tile.dropped += dropped - last.dropped;
      tile.last = { total, dropped };
      // a video that is connecting anew has no frame: the one before is still the newest that was shown
      if (player.video.readyState >= 2) tile.painted = await paintedIn(player.video);
      told.push({
        stream: player.stream,
        shown: tile.shown,
        heard: tile.heard,
        dropped: tile.dropped,
        results: player.stats.results,
        connects: player.stats.connects,
        live: player.live && window.sightline.players.get(player.stream) === player,
        painted: tile.painted,
        now_ms: Date.now(),
      });
    }
    return { at_s: performance.now() / 1000, tiles: told };
  };
}"""


@dataclass(frozen=True, slots=True)
class Tile:
    """What one tile showed in the measured time. `fps_*` are of the stretches between two looks.

    `heard` of the `shown` pictures came to the page's ears singly, so that it drew over each of them.
    """

    fps_min: float
    fps_median: float
    shown: int
    heard: int
    dropped: int
    results: int
    connects: int  # sessions that it needed in the measured time, beyond the one it began with
    dead_looks: int  # looks at which it was not live
    age_p50_ms: float
    age_max_ms: float


class WallPage:
    """The wall with all its tiles playing; for one thread, that which made it."""

    def __init__(self, browser: Browser, page: Page, base: str, cameras: int) -> None:
        self._page = page
        self._page.set_default_timeout(PATIENCE_MS)
        self._page.add_init_script(LIVE_JS)
        self._page.goto(f"{base}/#/wall")
        self._page.wait_for_function(PLAYING, arg=cameras)
        self._page.evaluate(COUNT_JS, [SIDE_PX, COLUMNS, BITS])
        self._inside: CDPSession = self._page.context.new_cdp_session(self._page)
        self._inside.send("Performance.enable")
        self._outside: CDPSession = browser.new_browser_cdp_session()

    @property
    def page(self) -> Page:
        return self._page

    def pause(self, seconds: float) -> None:
        """Wait, hearing what the browser has to say meanwhile."""
        self._page.wait_for_timeout(1000 * seconds)

    def look(self) -> dict[str, Any]:
        """The counts of all tiles since the page was opened: {at_s, tiles}."""
        found: dict[str, Any] = self._page.evaluate("window.lookAtWall()")
        return found

    def heap_mib(self) -> float:
        """The JavaScript heap that is still held after everything else was thrown away."""
        self._inside.send("HeapProfiler.collectGarbage")
        metrics = self._inside.send("Performance.getMetrics")["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == "JSHeapUsedSize") / MIB

    def parts(self) -> dict[str, frozenset[int]]:
        """The browser's processes by what they do: `chromium renderer`, `chromium GPU`, …"""
        parts: dict[str, set[int]] = {}
        for told in self._outside.send("SystemInfo.getProcessInfo")["processInfo"]:
            parts.setdefault(f"chromium {told['type'].split('.')[0]}", set()).add(int(told["id"]))
        return {name: frozenset(pids) for name, pids in parts.items()}


@contextmanager
def open_wall(base: str, cameras: int, chromium: str) -> Iterator[WallPage]:
    """The page's wall in a browser of its own. Raises SightlineError for want of playwright or of a tile."""
    try:
        from playwright.sync_api import TimeoutError as TookTooLong
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SightlineError(
            "the browser is driven by playwright, which is not installed",
            where="bench wall",
            mend="pip install playwright",
        ) from None
    with sync_playwright() as playwright, TemporaryDirectory(prefix="sightline-wall-") as profile:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium,
            args=[*FLAGS, f"--disk-cache-size={CACHE_BYTES}"],
            viewport=SIZE_PX,  # type: ignore[arg-type]
        )
        assert context.browser is not None
        try:
            try:
                wall = WallPage(context.browser, context.pages[0], base, cameras)
            except TookTooLong:
                raise SightlineError(
                    f"not all of {cameras} tiles played within {PATIENCE_MS // 1000} s",
                    where="bench wall",
                    mend="leave it more CPU, or ask for fewer cameras",
                ) from None
            yield wall
        finally:
            context.close()


def tiles_of(looks: Sequence[Mapping[str, Any]]) -> dict[str, Tile]:
    """What each tile showed between the first of these looks and the last; stream -> Tile."""
    tiles: dict[str, Tile] = {}
    for place, first in enumerate(looks[0]["tiles"]):
        told = [look["tiles"][place] for look in looks]
        counts = [(look["at_s"], each["shown"]) for look, each in zip(looks, told, strict=True)]
        steps = [(n1 - n0) / (t1 - t0) for (t0, n0), (t1, n1) in pairwise(counts)]
        ages = [age_ms(each["now_ms"], each["painted"]) for each in told]
        gained = {
            name: told[-1][name] - first[name]
            for name in ("shown", "heard", "dropped", "results", "connects")
        }
        tiles[first["stream"]] = Tile(
            fps_min=min(steps),
            fps_median=median(steps),
            dead_looks=sum(not each["live"] for each in told),
            age_p50_ms=median(ages),
            age_max_ms=max(ages),
            **gained,
        )
    return tiles
