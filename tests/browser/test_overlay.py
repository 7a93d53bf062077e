"""Layers: each draws where it belongs and nowhere when it is off; colours that stay; what lies under the pointer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from streamer.masks import rle_from_mask
from tests.browser.conftest import LiveSite
from web.colours import colour_of

# One object with all there is, in a picture of 200 x 200, and a canvas of that size.
_SCENE = """async () => {
  Object.assign(window, await import('/ui/overlay.js'), await import('/ui/palette.js'), await import('/ui/grids.js'));
  const canvas = Object.assign(document.createElement('canvas'), { width: 200, height: 200 });
  const ctx = canvas.getContext('2d', { willReadFrequently: true });
  window.overlay = new Overlay(canvas);
  window.alpha = ([x, y]) => ctx.getImageData(x, y, 1, 1).data[3];
  window.inked = () => ctx.getImageData(0, 0, 200, 200).data.some((value) => value);
  window.scene = {
    source_hw: [200, 200], keypoint_names: ['left_hip', 'left_knee'],
    semantic: { size_hw: [2, 2], names: ['road'], values: [255, 0], counts: [3, 1] },
    actions: [{ track_id: 7, name: 'sit_down', score: 1 }, { track_id: null, name: 'walk', score: 0.5 }],
    objects: [{ id: 7, label: 'person', score: 1, box_xyxy: [60, 60, 120, 100], keypoints: [[75, 70, 1], [75, 95, 1]],
      mask: { size_hw: [10, 10], counts: [54, 2, 44] } }],
  };
  window.extra = {
    trails: new Map([[7, [[20, 40], [40, 40]]]]),
    regions: { zones: [{ name: 'door', points: [[0.7, 0.2], [0.9, 0.2], [0.9, 0.4], [0.7, 0.4]] }], lines: [] },
    attention: { size_hw: [4, 1], values: [0, 0, 0, 255] },
  };
}"""
# Where each layer draws, and no other of them.
PLACES = {
    "boxes": [60, 90],
    "labels": [64, 50],
    "ids": [64, 50],
    "masks": [110, 90],
    "trails": [30, 40],
    "skeletons": [75, 88],
    "ground": [180, 180],
    "actions": [64, 108],
    "zones": [170, 70],
    "attention": [150, 190],
}


@pytest.fixture(scope="module")
def page(site: LiveSite, chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page()
    page.goto(f"{site.url}/ui/viewer.html")  # a page that may run scripts, and runs none itself
    page.evaluate(_SCENE)
    yield page
    page.close()


def drawn(page: Page, layers: list[str], *, more: str = "{}") -> dict[str, bool]:
    """At which of the layers' places there is something."""
    found = page.evaluate(
        f"""([layers, places]) => {{
          overlay.draw(scene, {{ layers: new Set(layers), ...extra, ...{more} }});
          return Object.fromEntries(Object.entries(places).map(([name, at]) => [name, alpha(at) > 0]));
        }}""",
        [layers, PLACES],
    )
    return dict(found)


def test_every_layer_has_its_name(page: Page) -> None:
    assert page.evaluate("LAYERS") == [
        *(
            "boxes",
            "labels",
            "ids",
            "masks",
            "trails",
            "skeletons",
            "ground",
            "actions",
            "zones",
            "attention",
        ),
    ]


@pytest.mark.parametrize("layer", PLACES)
def test_a_layer_draws_where_it_belongs_and_nowhere_when_it_is_off(page: Page, layer: str) -> None:
    on = drawn(page, [layer])
    share = next((pair for pair in ({"labels", "ids"}, {"ground", "attention"}) if layer in pair), set())
    assert on[layer]
    assert not [name for name in set(PLACES) - {layer} - share if on[name]]
    assert not any(drawn(page, []).values())
    assert not page.evaluate("inked()")


def test_labels_and_ids_make_one_name(page: Page) -> None:
    found = page.evaluate(
        """async () => {
          const { nameOf } = await import('/ui/layers.js');
          const wide = (px) => ({ ...scene.objects[0], box_xyxy: [0, 0, px, 9] });
          const name = (layers, small, px) => nameOf(wide(px), new Set(layers), small, 1);
          return [name(['labels', 'ids'], false, 100), name(['labels', 'ids'], false, 50), name(['labels'], false, 100),
            name(['ids'], false, 100), name(['labels', 'ids'], true, 100), name([], false, 100)];
        }"""
    )
    assert found == ["person 7 · 100%", "person 7", "person · 100%", "#7", "7", ""]


def test_plates_keep_out_of_each_others_way(page: Page) -> None:
    tops = page.evaluate(
        """async () => {
          const { Tags } = await import('/ui/layers.js');
          const plates = [], ctx = new OffscreenCanvas(600, 200).getContext('2d');
          const round = ctx.roundRect.bind(ctx);
          ctx.roundRect = (x, y, w, h, r) => { plates.push(y); round(x, y, w, h, r); };
          const tags = new Tags(ctx, 1, 600, 200);
          for (let i = 0; i < 3; i++) tags.put('person 1', 10, [50, 70, 90], '#fff', '#000');
          tags.put('person 1', 10, [-40], '#fff', '#000');
          return plates;
        }"""
    )
    assert tops == [50, 70, 90, 0]


def test_a_marked_object_is_drawn_even_where_boxes_are_off(page: Page) -> None:
    assert not drawn(page, [])["boxes"]
    page.evaluate("overlay.selected = 7")
    try:
        assert drawn(page, [])["boxes"]
    finally:
        page.evaluate("overlay.selected = null")


def test_regions_and_heat_need_no_result(page: Page) -> None:
    found = page.evaluate(
        """(places) => {
          overlay.draw(null, { layers: new Set(LAYERS), ...extra });
          return ['zones', 'attention', 'boxes'].map((name) => alpha(places[name]) > 0);
        }""",
        PLACES,
    )
    assert found == [True, True, False]


def test_a_zone_says_how_many_are_in_it(page: Page) -> None:
    said = page.evaluate(
        """() => {
          const words = [], fill = CanvasRenderingContext2D.prototype.fillText;
          CanvasRenderingContext2D.prototype.fillText = (text) => words.push(text);
          try {
            for (const inside of [undefined, { door: 2 }]) {
              overlay.draw(scene, { layers: new Set(['zones']), ...extra, inside });
            }
          } finally { CanvasRenderingContext2D.prototype.fillText = fill; }
          return words;
        }"""
    )
    assert said == ["door", "door: 2"]


def test_a_line_points_to_where_in_is(page: Page) -> None:
    said = page.evaluate(
        """() => {
          const words = [], fill = CanvasRenderingContext2D.prototype.fillText;
          CanvasRenderingContext2D.prototype.fillText = (text) => words.push(text);
          const line = (start, end) => ({ name: 'gate', start, end });
          const lines = [line([0.5, 0.9], [0.5, 0.1]), line([0.1, 0.5], [0.9, 0.5]), line([0.9, 0.5], [0.1, 0.5])];
          try {
            overlay.draw(scene, { layers: new Set(['zones']), regions: { zones: [], lines } });
          } finally { CanvasRenderingContext2D.prototype.fillText = fill; }
          return words;
        }"""
    )
    # going up the picture, right is to the right; going right it is down; going left it is up
    assert said == ["gate · in →", "gate · in ↓", "gate · in ↑"]


def test_a_track_keeps_its_colour_and_the_server_draws_in_the_same(page: Page) -> None:
    ids = [0, 1, 2, 3, 17, 718, 719, 720, 12_345]
    shown = page.evaluate("(ids) => ids.map((id) => colourOf(id).rgb)", ids)
    assert [tuple(reversed(rgb)) for rgb in shown] == [colour_of(track) for track in ids]
    luma = np.array(shown) @ [0.2126, 0.7152, 0.0722]
    assert luma.min() > 100 and luma.max() < 225  # dark ink is readable on each of them


def test_the_smallest_object_whose_mask_holds_the_point_is_under_the_pointer(page: Page) -> None:
    mask = np.zeros((10, 10), bool)
    mask[2:8, 2:4] = True
    rle = rle_from_mask(mask)
    objects: list[dict[str, Any]] = [
        {"id": 1, "box_xyxy": [0, 0, 100, 100]},
        {"id": 2, "box_xyxy": [20, 20, 80, 80]},
        {"id": 3, "box_xyxy": [10, 10, 90, 90], "mask": {"size_hw": rle.size_hw, "counts": rle.counts}},
    ]
    found = page.evaluate(
        "([objects, points]) => points.map(([x, y]) => objectAt({ source_hw: [100, 100], objects }, x, y)?.id ?? null)",
        [objects, [[0.05, 0.05], [0.5, 0.5], [0.3, 0.5], [0.15, 0.5], [1.5, 0.5]]],
    )
    assert found == [1, 2, 3, 3, None]


def test_a_point_is_found_in_a_picture_that_does_not_fill_its_element(page: Page) -> None:
    found = page.evaluate(
        """() => {
          const element = { getBoundingClientRect: () => ({ left: 100, top: 0, width: 400, height: 100 }) };
          const at = (clientX, clientY) => pictureXy({ clientX, clientY }, element, 2);  // 200 x 100 in the middle
          return [at(200, 0), at(300, 50), at(400, 100), at(150, 50)];
        }"""
    )
    assert found == [[0, 0], [0.5, 0.5], [1, 1], None]


def test_a_mask_has_an_outline(page: Page) -> None:
    mask = np.zeros((7, 9), bool)
    mask[1:6, 2:8] = True
    rle = rle_from_mask(mask)
    painted = page.evaluate(
        """(mask) => {
          const pixels = new Uint32Array(63);
          paintMask(pixels, mask, 5);
          paintEdge(pixels, mask, 5, 9);
          return [...pixels];
        }""",
        {"size_hw": rle.size_hw, "counts": rle.counts},
    )
    inner = np.zeros_like(mask)
    inner[2:5, 3:7] = True
    assert np.array_equal(np.array(painted).reshape(7, 9), np.where(inner, 5, np.where(mask, 9, 0)))


def test_drawing_again_paints_no_grid_again(page: Page) -> None:
    painted = page.evaluate(
        """() => {
          let n = 0;
          const put = CanvasRenderingContext2D.prototype.putImageData;
          CanvasRenderingContext2D.prototype.putImageData = function (...all) { n++; put.apply(this, all); };
          const layers = new Set(LAYERS), next = structuredClone(scene);
          try {
            for (let i = 0; i < 5; i++) overlay.draw(next, { layers, ...extra });
            const once = n;
            overlay.draw({ ...next, objects: [...next.objects] }, { layers, ...extra });
            return [once, n];
          } finally { CanvasRenderingContext2D.prototype.putImageData = put; }
        }"""
    )
    assert painted[1] - painted[0] == 1  # the new result's masks
    assert painted[0] <= 3


def test_nothing_is_drawn_again_until_something_is_another(page: Page) -> None:
    """Each change alone draws; a second time with the same does not."""
    counts = page.evaluate(
        """() => {
          let n = 0;
          const clear = CanvasRenderingContext2D.prototype.clearRect;
          CanvasRenderingContext2D.prototype.clearRect = function (...all) { n++; clear.apply(this, all); };
          const result = structuredClone(scene), trail = new Map([[7, [[20, 40], [40, 40], [50, 40]]]]);
          const now = { layers: new Set(LAYERS), ...extra };
          const draws = (change) => {
            change();
            return [0, 1].map(() => { n = 0; overlay.draw(now.result ?? result, now); return n; });
          };
          try {
            return Object.fromEntries(Object.entries({
              begin: () => {},
              sure: () => { now.sure = false; },
              trails: () => { now.trails = trail; },
              regions: () => { now.regions = { ...extra.regions }; },
              inside: () => { now.inside = { door: 1 }; },
              attention: () => { now.attention = null; },
              layers: () => now.layers.delete('boxes'), // the same set, as when a person switches one off
              hovered: () => { overlay.hovered = 7; },
              selected: () => { overlay.selected = 7; },
              result: () => { now.result = structuredClone(scene); },
              cleared: () => overlay.clear(),
              resized: () => overlay.resize(200, 200),
            }).map(([name, change]) => [name, draws(change)]));
          } finally {
            CanvasRenderingContext2D.prototype.clearRect = clear;
            overlay.hovered = overlay.selected = null;
          }
        }"""
    )
    assert counts == {change: [1, 0] for change in counts}
