"""A real RTSP camera in a browser that knows nothing of us: packets as they came, or encoded once where need be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from streamer.client import Client
from streamer.commands.watching.camera import camera, street
from streamer.commands.watching.crowd import web
from streamer.commands.watching.feed import STREAM
from streamer.commands.watching.processes import asked
from streamer.config import StreamConfig
from streamer.sinks.redis_server import EmbeddedRedis
from tests.browser.test_whep_standard import PLAY


@pytest.mark.parametrize(("b_frames", "encoders"), [(0, 0), (2, 1)], ids=["passed", "encoded"])
def test_a_camera_plays(b_frames: int, encoders: int, chromium: Browser, tmp_path: Path) -> None:
    pictures = street()[:50]
    with (
        EmbeddedRedis(tmp_path) as redis,
        camera(pictures, b_frames=b_frames) as url,
        Client(redis.url) as client,
        asked("feed", redis.url, str(tmp_path), url) as feed,
        web(redis.url, 2) as (_, base),
    ):
        client.add_stream(StreamConfig(name=STREAM, url=url))
        feed.hear("READY")
        context = chromium.new_context(bypass_csp=True)  # the probe page lets a script do nothing
        page = context.new_page()
        page.goto(f"{base}/healthz")
        found: dict[str, Any] = page.evaluate(PLAY, {"path": f"/{STREAM}/whep", "ice": {}})
        context.close()
        feed.ask()
        told = feed.told()
    assert found["decoded"] >= 30 and found["codec"] == "video/H264" and found["size"] == [640, 360], found
    assert told["encoders"] == encoders
