"""The player's pure parts in a real JavaScript engine: stamps that wrap, results that are late, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from streamer.masks import rle_from_mask, runs_from_map
from tests.browser.conftest import LiveSite


@pytest.fixture(scope="module")
def page(site: LiveSite, chromium: Browser) -> Any:
    page = chromium.new_page()
    page.goto(f"{site.url}/ui/viewer.html")  # a page that may run scripts, and runs none itself
    page.evaluate(
        """async () => Object.assign(window, await import('/ui/timeline.js'), await import('/ui/overlay.js'), {
          result: (seq, more) => ({ epoch: 1, seq, pts90k: seq * 3600, source_hw: [4, 4],
            objects: [{ id: 7, box_xyxy: [seq, 0, seq + 2, 9] }], ...more }),
        })"""
    )
    yield page
    page.close()


def test_stamps_match_over_the_wrap_of_32_bits(page: Page) -> None:
    found = page.evaluate(
        """() => {
          const line = new Timeline(), origin = 2 ** 32 - 5000;
          line.setOrigin(1, origin);
          for (let seq = 0; seq < 5; seq++) line.add(result(seq));
          const stamps = [0, 1, 2, 3, 4].map((seq) => (origin + seq * 3600) % 2 ** 32);
          const near = [2, -2].map((off) => line.exact(stamps[2] + off)?.seq);
          return [stamps.map((at) => line.exact(at)?.seq), ...near, line.exact(stamps[2] + 3),
            line.nearest((stamps[4] + 4500) % 2 ** 32)];
        }"""
    )
    assert found[0] == [0, 1, 2, 3, 4]
    assert found[1:4] == [2, 2, None]
    assert (found[4]["result"]["seq"], found[4]["lagMs"]) == (4, 50)


def test_results_before_their_origin_wait_for_it(page: Page) -> None:
    found = page.evaluate(
        """() => {
          const line = new Timeline();
          line.add(result(3));
          const before = [line.ready, line.exact(3 * 3600 + 10), line.nearest(0).lagMs];
          line.setOrigin(1, 10);
          return [before, line.exact(3 * 3600 + 10)?.seq];
        }"""
    )
    assert found == [[False, None, None], 3]


def test_a_new_epoch_has_its_own_origin(page: Page) -> None:
    found = page.evaluate(
        """() => {
          const line = new Timeline();
          line.setOrigin(1, 0); line.add(result(10));
          line.setOrigin(2, 39600); line.add(result(0, { epoch: 2 }));
          return [line.exact(36000).epoch, line.exact(39600).epoch, [...line.trails(39600, 2).get(7)]];
        }"""
    )
    assert found == [1, 2, [[1, 9]]]


def test_old_results_are_let_go(page: Page) -> None:
    size = page.evaluate(
        """() => {
          const line = new Timeline();
          line.setOrigin(1, 2 ** 32 - 90000);
          for (let seq = 0; seq < 5000; seq++) line.add(result(seq));
          return line.size;
        }"""
    )
    assert 115 <= size <= 135  # five seconds at 25 a second


def test_trails_end_where_the_object_stands(page: Page) -> None:
    trail = page.evaluate(
        """() => {
          const line = new Timeline();
          line.setOrigin(1, 0);
          for (let seq = 0; seq < 80; seq++) line.add(result(seq));
          return line.trails(60 * 3600, 1, 0.2).get(7);
        }"""
    )
    assert trail == [[seq + 1, 9] for seq in range(55, 61)]


@pytest.mark.parametrize("shape", [(5, 7), (1, 9), (9, 1), (36, 64)])
def test_masks_are_painted_as_they_were_encoded(page: Page, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    for density in (0.0, 0.3, 0.8, 1.0):
        mask = rng.random(shape) < density
        rle = rle_from_mask(mask)
        painted = page.evaluate(
            """({ size_hw, counts }) => {
              const pixels = new Uint32Array(size_hw[0] * size_hw[1]);
              paintMask(pixels, { size_hw, counts }, 7);
              return [...pixels];
            }""",
            {"size_hw": list(rle.size_hw), "counts": list(rle.counts)},
        )
        assert np.array_equal(np.array(painted).reshape(shape) == 7, mask)


def test_a_map_of_classes_is_painted_as_it_was_encoded(page: Page) -> None:
    classes = np.random.default_rng(4).choice(np.array([0, 1, 2, 255], np.uint8), (9, 14))
    values, counts = runs_from_map(classes)
    painted = page.evaluate(
        """(map) => {
          const pixels = new Uint32Array(map.size_hw[0] * map.size_hw[1]);
          paintMap(pixels, map, (value) => value + 1);
          return [...pixels];
        }""",
        {"size_hw": [9, 14], "values": values.tolist(), "counts": counts.tolist()},
    )
    assert np.array_equal(np.array(painted).reshape(9, 14), np.where(classes == 255, 0, classes + 1))


def test_a_bone_needs_both_its_ends_to_be_seen(page: Page) -> None:
    names = ["left_hip", "left_knee", "left_ankle", "right_hip"]
    points = [[1, 2, 0.9], [3, 4, 0.5], [5, 6, 0.1], [7, 8, 0.9]]
    found = page.evaluate("([points, names]) => bones(points, names)", [points, names])
    assert found == [[[1, 2], [7, 8]], [[1, 2], [3, 4]]]


def test_results_that_went_past_a_picture_say_that_it_gets_none(page: Page) -> None:
    found = page.evaluate(
        """() => {
          const line = new Timeline();
          const before = line.passed(3600);
          line.setOrigin(1, 0);
          for (const seq of [0, 1, 3]) line.add(result(seq));
          return [before, ...[1, 2, 3, 4].map((seq) => line.passed(seq * 3600))];
        }"""
    )
    assert found == [False, False, True, False, False]


def test_a_held_picture_is_shown_with_its_result_passed_over_or_late(page: Page) -> None:
    found = page.evaluate(
        """async () => {
          const { HeldPictures } = await import('/ui/held.js');
          const line = new Timeline(), held = new HeldPictures();
          line.setOrigin(1, 0);
          const image = new OffscreenCanvas(8, 8);
          image.getContext('2d');
          for (let seq = 0; seq < 5; seq++) held.push(image, seq * 3600, seq * 40, [8, 8]);
          const told = [];
          const next = (now) => {
            const one = held.next(line, now, 1000, () => told.push('skip'));
            told.push(one ? `${one.stamp / 3600} ${one.verdict}` : 'wait');
            if (one) held.done(one);
          };
          next(500);                       // no result at all, and none is late yet
          line.add(result(0)); next(500);
          line.add(result(2)); next(500);  // 1 was never analysed
          next(900);                       // 3 waits
          next(1120); next(1120);          // 3 has waited for a second, 4 not yet
          return [told, held.size, held.canvases];
        }"""
    )
    assert found == [["wait", "0 match", "skip", "2 match", "wait", "3 late", "wait"], 1, 5]


def test_what_is_held_is_bounded_in_number_and_pixels(page: Page) -> None:
    found = page.evaluate(
        """async () => {
          const { HeldPictures } = await import('/ui/held.js');
          const most = ([w, h]) => {
            const held = new HeldPictures(), image = new OffscreenCanvas(w, h);
            image.getContext('2d');
            let n = 0;
            for (; n < 200; n++) if (held.push(image, n, 0, [w, h])) held.done(held.oldest());
            return held.canvases;
          };
          return [most([320, 180]), most([1920, 1080]), most([3840, 2160])];
        }"""
    )
    assert found == [32, 11, 4]


def test_a_tile_is_live_only_if_nothing_speaks_against_it(page: Page) -> None:
    found = page.evaluate(
        """async () => {
          const { whyDown, staleAfterMs } = await import('/ui/liveness.js');
          const runs = { state: 'RUNNING', live: true, fps: 25 };
          const usual = { state: runs, trouble: null, silentMs: 100, returning: false };
          const ask = (more) => whyDown({ ...usual, ...more })?.title;
          return [
            ask({}), ask({ silentMs: 2100 }), ask({ silentMs: 2100, returning: true }),
            ask({ state: { state: 'PAUSED' } }), ask({ state: { ...runs, live: false } }),
            ask({ trouble: { title: 'No place free', text: '' } }), ask({ state: null }),
            ask({ state: { ...runs, fps: 1 }, silentMs: 2900 }),
            ask({ state: { ...runs, fps: 0.01 }, silentMs: 15100 }),
          ].map((title) => title ?? 'live').concat(staleAfterMs(NaN));
        }"""
    )
    titles = ["live", "No new picture", "Coming back", "PAUSED", "Not live", "No place free", "live"]
    assert found == [*titles, "live", "No new picture", 2000]


def test_tries_grow_rarer_and_a_refusal_is_respected(page: Page) -> None:
    found = page.evaluate(
        """async () => {
          const { pauseMs, troubleOf } = await import('/ui/liveness.js');
          const middle = () => 0.5;
          return [[0, 1, 2, 3, 4, 50].map((n) => pauseMs(n, 0, middle)), pauseMs(0, 503, middle),
            troubleOf('full', 503, 5000), troubleOf('gone', 0, 300)];
        }"""
    )
    assert found[:2] == [[300, 1000, 2000, 4000, 8000, 8000], 5000]
    assert found[2] == {"title": "No place free", "text": "full; trying again in 5 s"}
    assert found[3] == {"title": "No connection", "text": "gone; trying again"}
