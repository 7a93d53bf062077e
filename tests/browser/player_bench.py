"""A page with nothing but players, in tiles from the viewer's own template: a test says which and how many."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser.conftest import PATIENCE_MS, LiveSite, Watched

# `play(key, {mode, layers, stream})` puts a tile with its player there; `window.sightline` is as the viewer has it.
_SET_UP = """async () => {
  const { Player } = await import('/ui/player.js');
  const { SHOWN } = await import('/ui/layers.js');
  const template = document.querySelector('.sl-tile-template');
  for (const name of ['viewer', 'player']) {
    document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: `/ui/${name}.css` }));
  }
  const root = document.querySelector('#sl');
  root.replaceChildren();
  root.style.cssText = 'display: grid; grid-template-columns: repeat(auto-fill, 400px); height: auto';
  const players = new Map();
  window.sightline = { players, get player() { return players.values().next().value; } };
  window.objects = [];
  window.play = (key, { mode = 'exact', layers = SHOWN, stream = 'street' } = {}) => {
    const tile = template.content.cloneNode(true).firstElementChild;
    tile.style.width = '400px';
    tile.addEventListener('sl-object', ({ detail }) => window.objects.push(detail));
    root.append(tile);
    players.set(key, new Player(tile, stream, new Set(layers), { mode }));
  };
  window.stop = (key) => { players.get(key).close(); players.get(key).tile.remove(); players.delete(key); };
}"""


def open_bench(browser: Browser, site: LiveSite, **options: Any) -> Watched:
    """A page on which `play` works. Close its context when done: `watched.page.context.close()`."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(PATIENCE_MS)
    watched = Watched(context.new_page())
    watched.page.on("request", lambda request: watched.requests.append(f"{request.method} {request.url}"))
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    open_again(watched, site)
    return watched


def open_again(watched: Watched, site: LiveSite) -> Page:
    """The page anew, without a player, after scripts were given to its context."""
    watched.page.goto(f"{site.url}/ui/viewer.html")
    watched.page.evaluate(_SET_UP)
    return watched.page
