"""`sightline demo` as a person meets it: one command, and the page shows a street with the right boxes on it.

Real in every joint: world, engine with the shipped weights, Redis, web, browser. What the page draws is compared with
what the world knows to be true of the same frame.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from streamer.commands.demo import demo_streams
from streamer.geometry import iou_matrix
from streamer.sources.world import parse_world_url
from streamer.types import TICKS_90K
from streamer.world import World
from tests.browser.conftest import Watched, watching
from tests.browser.test_viewer import COLOURS, SHOWN

ROOT = Path(__file__).parents[2]
NOON = demo_streams(1)[0]
# The first start on a machine compiles the engine; later ones find it in pytest's cache folder.
COLD_START_S = 400
STOP_S = 20
RESULTS = """(after) => {
  const result = window.sightline.lastResult;
  return result && result.seq > after && result.objects.length ? result : null;
}"""

pytestmark = pytest.mark.timeout(COLD_START_S + 200)


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo and where its page is."""

    process: subprocess.Popen[str]
    url: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Demo]:
    data = tmp_path_factory.mktemp("demo")
    assert pytestconfig.cache is not None
    (data / "engines").symlink_to(pytestconfig.cache.mkdir("sightline-engines"), target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-P", "-m", "streamer.cli", "demo", "--streams", "1", "--no-browser"]
    env = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "SIGHTLINE_DATA")}
    with (data / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--data-dir", str(data)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line, (line, (data / "stderr").read_text())
        yield Demo(process, f"http://127.0.0.1:{port}")
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) == 0, (data / "stderr").read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def watched(demo: Demo, chromium: Browser) -> Iterator[Watched]:
    with watching(chromium, demo.url) as found:
        found.page.set_default_timeout(90_000)
        yield found


@pytest.fixture(scope="module")
def page(watched: Watched) -> Page:
    return watched.page


def test_the_picture_moves(page: Page) -> None:
    page.wait_for_function(SHOWN)
    before = page.evaluate("window.sightline.framesDecoded")
    page.wait_for_function(f"window.sightline.framesDecoded > {before} + 10")
    assert page.evaluate(COLOURS) > 20
    assert page.locator(".sl-world").is_visible()


def test_what_is_drawn_is_what_is_there(page: Page) -> None:
    results: list[dict[str, Any]] = []
    deadline = time.monotonic() + 90
    while len(results) < 12 and time.monotonic() < deadline:
        after = results[-1]["seq"] if results else -1
        results.append(page.wait_for_function(RESULTS, arg=after).json_value())
    truths = truth_of([frame_of(result) for result in results])
    right = total = 0
    for result in results:
        boxes = np.array([each["box_xyxy"] for each in result["objects"]], np.float32)
        total += len(boxes)
        right += int((iou_matrix(boxes, truths[frame_of(result)]).max(axis=1, initial=0.0) >= 0.5).sum())
    assert total >= 12
    assert right / total >= 0.6, f"{right} of {total} boxes lie on an object"
    page.wait_for_function("window.sightline.matched > 0")


def frame_of(result: dict[str, Any]) -> int:
    """Which of the world's frames a result is of."""
    return round(result["pts90k"] * parse_world_url(NOON.url).fps / TICKS_90K)


def truth_of(frames: list[int]) -> dict[int, Any]:
    """True full and visible boxes, f32 (2N, 4), of these frames (ascending)."""
    world = World(parse_world_url(NOON.url))
    at = 0
    boxes = {}
    for frame in sorted(set(frames)):
        world.skip(frame - at)
        _, truth = world.step()
        at = frame + 1
        boxes[frame] = np.concatenate([truth.boxes_xyxy, truth.full_boxes_xyxy])
    return boxes


def test_events_fill_the_table(page: Page) -> None:
    page.wait_for_selector(f"li[data-id^='{NOON.name}:'][data-kind=appear]")
    page.wait_for_selector(f"li[data-id^='{NOON.name}:'][data-kind=up]")


def test_streams_come_and_go_while_it_runs(page: Page) -> None:
    for name, url in (
        ("extra", "world://street?seed=5&size=256x144&fps=5"),
        ("gone", "rtsp://camera.invalid/none"),
    ):
        page.click(".sl-tools [data-do=add]")
        page.fill("[name=name]", name)
        page.fill("[name=url]", url)
        page.keyboard.press("Enter")
        page.wait_for_selector(f".sl-chip[data-stream={name}][aria-selected=true]")
        if name == "extra":
            page.wait_for_function(
                "window.sightline.player.stream === 'extra' && window.sightline.player.live"
            )
        else:
            page.wait_for_selector(".sl-down .sl-why-text:has-text('STREAM_NOT_FOUND')")
    for name in ("gone", "extra"):
        page.click(f".sl-chip[data-stream={name}]")
        page.click(".sl-bar [data-do=remove]")
        page.click("[data-dialog=remove] .sl-danger")
        page.wait_for_selector(f".sl-chip[data-stream={name}]", state="detached")
    page.wait_for_function(
        f"window.sightline.player.stream === '{NOON.name}' && window.sightline.player.live"
    )


def test_nothing_foreign_was_asked_for(demo: Demo, watched: Watched) -> None:
    assert not [url for url in watched.requests if not url.startswith((demo.url, "data:", "blob:"))]
