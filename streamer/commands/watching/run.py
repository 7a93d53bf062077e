"""All of `bench viewers`: the crowd in four ways, then one browser on a whole server with a painted camera."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamer.commands.watching.camera import FPS, HW, street
from streamer.commands.watching.crowd import Cost, ours, plain
from streamer.commands.watching.page import Looked, look

Progress = Callable[[float, float], None]


def bench_viewers(
    viewers: int, seconds: float, *, data_dir: Path, chromium: str | None, show: Progress
) -> dict[str, Any]:
    """The flat answer: `cpu_ratio` is ours, encoded once, over an encoder a viewer, per delivered frame."""
    pictures = street()
    show(1, 6)
    usual = plain(pictures, viewers, seconds)
    show(2, 6)
    once = ours(pictures, viewers, seconds, b_frames=2)
    show(3, 6)
    passed = ours(pictures, viewers, seconds)
    show(4, 6)
    shown = ours(pictures, viewers, seconds, results=True)
    show(5, 6)
    looked = look(pictures, seconds, data_dir=data_dir, chromium=chromium) if chromium else None
    show(6, 6)
    return {
        "bench": "viewers",
        "viewers": viewers,
        "picture": f"{HW[1]}x{HW[0]} at {FPS}",
        "cpu_ratio": round(once.cpu_ms_per_frame / usual.cpu_ms_per_frame, 4),
        "cpu_ratio_pass_through": round(passed.cpu_ms_per_frame / usual.cpu_ms_per_frame, 4),
        "cpu_ratio_with_results": round(shown.cpu_ms_per_frame / usual.cpu_ms_per_frame, 4),
        "encoders": once.encoders,
        "encoders_pass_through": passed.encoders,
        **_page(looked),
        "encoder_each": _shown(usual),
        "encoded_once": _shown(once),
        "pass_through": _shown(passed),
        "pass_through_with_results": _shown(shown) | {"results_share": round(shown.results_share, 3)},
        "seconds": seconds,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _page(looked: Looked | None) -> dict[str, Any]:
    """None where no browser was asked for: it says so, rather than looking measured."""
    return {
        "first_picture_s": looked and round(looked.first_picture_s, 3),
        "overlay_match": looked and round(looked.overlay_match, 4),
        "overlay_frames": looked and looked.overlay_frames,
        "glass_to_browser_p50_ms": looked and round(looked.p50_ms, 1),
        "glass_to_browser_p95_ms": looked and round(looked.p95_ms, 1),
        "glass_to_browser_exact_p95_ms": looked and round(looked.exact_p95_ms, 1),
        "page_ready_s": looked and round(looked.page_ready_s, 2),
    }


def _shown(cost: Cost) -> dict[str, float]:
    return {
        "cpu_ms_per_frame": round(cost.cpu_ms_per_frame, 4),
        "cpu_percent": round(100 * cost.cpu_share, 1),
        "fps": round(cost.fps, 2),
        "fps_worst": round(cost.fps_worst, 2),
        "first_frame_s": round(cost.first_s, 3),
    }
