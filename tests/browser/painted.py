"""Reads back from the page which picture is shown and which result lies over it, by a number that is painted.

Scripts for `page.evaluate`; `tests.fakes.live_street` writes the number as 16 squares into the top left corner.
"""

from __future__ import annotations

# For `count` shown pictures of the player `name` (or the picked one): [number painted, number of the result drawn over
# it (-1: none), whether the player calls it exact]. Painting and drawing are one task, so a look between tasks sees a
# pair.
NUMBERS = """([count, name]) => new Promise((done) => {
  const { players, player: picked } = window.sightline;
  const player = name ? players.get(name) : picked, pairs = [];
  const ctx = new OffscreenCanvas(256, 16).getContext('2d', { willReadFrequently: true });
  let seen = player.stats.framesShown;
  const look = () => {
    const { picture, stats } = player;
    if (stats.framesShown !== seen && player.presenter.shown) {
      seen = stats.framesShown;
      const scale = (picture.videoWidth ?? picture.width) / 320;
      ctx.drawImage(picture, 0, 0, 256 * scale, 16 * scale, 0, 0, 256, 16);
      const { data } = ctx.getImageData(0, 8, 256, 1);
      let number = 0;
      for (let bit = 0; bit < 16; bit++) if (data[4 * (16 * bit + 8)] > 127) number |= 1 << bit;
      pairs.push([number, player.drawn?.seq ?? -1, player.presenter.shown.exact]);
    }
    if (pairs.length < count) requestAnimationFrame(look); else done(pairs);
  };
  look();
})"""
