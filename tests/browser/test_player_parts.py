"""The player's pure parts in a real JavaScript engine: stamps that wrap, results that are late, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from streamer.masks import rle_from_mask
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
