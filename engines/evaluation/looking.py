"""Does a track's query look at its object, and what does asking cost? `python -m engines.evaluation.looking MODEL`.

Streets that nobody trained on are followed as they are served; every few frames each track's query is asked where it
looked. Counted is where the middle of its look lies, and how much of it falls into the box. It says nothing of why the
model answered, and the world is a drawn one.
"""

from __future__ import annotations

import argparse
import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from engines.attention import AttentionEngine, open_attention
from engines.tasks.track import TrackTask
from engines.zoo import open_engine, task_for
from streamer.config import default_data_dir
from streamer.types import F32, Frame, FrameRef
from streamer.world import World, WorldConfig

SEEDS = tuple(
    range(900200, 900204)
)  # as the track rules were chosen on: neither trained on nor reported elsewhere
EVERY = 8  # frames between questions


def centre_of(heat: F32, source_hw: tuple[int, int]) -> tuple[float, float]:
    """The middle x, y in source pixels of f32 (rows, columns) over the source picture."""
    rows, columns = heat.shape
    total = float(heat.sum())
    x = float(heat.sum(axis=0) @ (np.arange(columns) + 0.5)) / total / columns * source_hw[1]
    y = float(heat.sum(axis=1) @ (np.arange(rows) + 0.5)) / total / rows * source_hw[0]
    return x, y


def share_inside(heat: F32, box_xyxy: F32, source_hw: tuple[int, int]) -> float:
    """How much of the look falls on cells whose middle is in the box, grown by half a cell to all sides."""
    rows, columns = heat.shape
    high, wide = source_hw[0] / rows, source_hw[1] / columns
    ys, xs = (np.arange(rows) + 0.5) * high, (np.arange(columns) + 0.5) * wide
    x1, y1, x2, y2 = box_xyxy.tolist()
    inside_y = (ys >= y1 - high / 2) & (ys <= y2 + high / 2)
    inside_x = (xs >= x1 - wide / 2) & (xs <= x2 + wide / 2)
    return float(heat[np.ix_(inside_y, inside_x)].sum() / heat.sum())


def measured(model: str, precision: str, frames: int, cache_dir: Path) -> dict[str, Any]:
    """Followed and asked, on one thread: shares in 0..1, `ms` the median of a question, preprocess included."""
    served = open_engine(
        model, precision=precision, max_batch_size=1, threads=1, heads=(), cache_dir=cache_dir
    )
    asked = open_attention(model, backend="openvino", precision=served.spec.precision, cache_dir=cache_dir)
    task = task_for(served.spec)
    assert isinstance(task, TrackTask)
    found: list[tuple[float, ...]] = []
    for seed in SEEDS:
        world = World(WorldConfig(seed=seed, height=task.input_hw[0], width=task.input_hw[1]))
        state = task.initial_state()
        for n in range(frames):
            ref = FrameRef("street", 1, n, n, Fraction(2, 25), 0, 10**18 + n * 80_000_000)
            frame, before = Frame(ref, world.step()[0], task.input_hw, 0), state
            outputs = served.infer(task.preprocess([frame], [before]))
            [(seen, state)] = task.postprocess(outputs, [frame], [before])
            if n % EVERY == EVERY - 1:
                boxes = seen.tracks.detections.boxes_xyxy
                for track_id, box in zip(seen.tracks.track_ids.tolist(), boxes, strict=True):
                    found.append(_asked(asked, frame, before, track_id, box))
    served.close()
    asked.close()
    inside, near, share, apart, ms = np.array(found).T
    return {
        "model": model,
        "precision": asked.engine.spec.precision,
        "questions": len(found),
        "centre_inside_box": round(float(inside.mean()), 3),
        "centre_within_half_a_size": round(float(near.mean()), 3),
        "share_of_look_in_box": round(float(share.mean()), 3),
        "row_box_apart_px": round(float(apart.max()), 4),
        "ms": round(float(np.median(ms)), 1),
    }


def _asked(
    asked: AttentionEngine, frame: Frame, before: Any, track_id: int, box: F32
) -> tuple[float, float, float, float, float]:
    """Of one question: is the middle inside, is it near, the share inside, how far the row's box is, and the time."""
    began_s = time.perf_counter()
    looks = asked.looks(frame, before, track_id, box)
    ms = (time.perf_counter() - began_s) * 1e3
    x, y = centre_of(looks.query, frame.source_hw)
    x1, y1, x2, y2 = box.tolist()
    w, h = (x2 - x1) / 2, (y2 - y1) / 2
    apart = float(np.abs(asked.asked(frame, before, track_id, box)[2] - box).max())
    return (
        float(x1 <= x <= x2 and y1 <= y <= y2),
        float(x1 - w <= x <= x2 + w and y1 - h <= y <= y2 + h),
        share_inside(looks.query, box, frame.source_hw),
        apart,
        ms,
    )


def main() -> None:
    """Print the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or f32")
    parser.add_argument("--frames", type=int, default=80, help="of each street")
    parser.add_argument("--cache", type=Path, default=default_data_dir() / "engines")
    told = parser.parse_args()
    print(json.dumps(measured(told.model, told.precision, told.frames, told.cache)))


if __name__ == "__main__":
    main()
