"""What the kept library answers: `python tests/golden/make_bytetrack.py --trackers FOLDER` writes bytetrack.npz.

FOLDER holds `trackers` 2.6.1 (`pip install --no-deps --target FOLDER trackers==2.6.1`) and what it imports, such as
supervision. The scene is drawn here: objects that move, cross, hide, score low for a while, and false alarms.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

FRAMES, OBJECTS, MOST = 90, 9, 16
RULES = {
    "high_conf_det_threshold": 0.5,
    "track_activation_threshold": 0.6,
    "minimum_iou_threshold": 0.1,
    "lost_track_buffer": 8,
    "minimum_consecutive_frames": 2,
}


def scene(seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Boxes f32 (FRAMES, MOST, 4) px and scores f32 (FRAMES, MOST); a row that scores 0 is none."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform([50, 50], [590, 310], (OBJECTS, 2))
    speed = rng.uniform(-7, 7, (OBJECTS, 2))
    size = rng.uniform(20, 90, (OBJECTS, 2))
    boxes = np.zeros((FRAMES, MOST, 4), np.float32)
    scores = np.zeros((FRAMES, MOST), np.float32)
    for t in range(FRAMES):
        centre += speed + rng.normal(0, 1.0, centre.shape)
        speed = np.where((centre < 30) | (centre > [610, 330]), -speed, speed)
        seen = rng.uniform(size=OBJECTS) > 0.12
        hidden = (np.arange(OBJECTS) + t // 7) % 6 == 0
        score = np.where(hidden, rng.uniform(0.1, 0.5, OBJECTS), rng.uniform(0.5, 1.0, OBJECTS))
        half = size / 2 + rng.normal(0, 1.0, size.shape)
        rows = np.concatenate([centre - half, centre + half], axis=1)[seen]
        false = rng.uniform([0, 0], [600, 320], (rng.integers(0, 3), 2))
        rows = np.concatenate([rows, np.concatenate([false, false + 40], axis=1)])
        score = np.concatenate([score[seen], rng.uniform(0.1, 0.8, len(false))])
        order = rng.permutation(len(rows))
        boxes[t, : len(rows)], scores[t, : len(rows)] = rows[order], score[order]
    return boxes, scores


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trackers", type=Path, required=True)
    sys.path.insert(0, str(parser.parse_args().trackers))
    library, supervision = importlib.import_module("trackers"), importlib.import_module("supervision")
    written: dict[str, np.ndarray[Any, Any]] = {}
    for seed in range(3):
        boxes, scores = scene(seed)
        tracker = library.ByteTrackTracker(frame_rate=30.0, **RULES)
        ids = np.full((FRAMES, MOST), -1, np.int64)
        for t in range(FRAMES):
            given = np.flatnonzero(scores[t] > 0)
            answer = tracker.update(
                supervision.Detections(
                    xyxy=boxes[t, given],
                    confidence=scores[t, given],
                    class_id=given,
                )
            )
            ids[t, answer.class_id] = answer.tracker_id
        written |= {f"boxes{seed}": boxes, f"scores{seed}": scores, f"ids{seed}": ids}
    np.savez_compressed(Path(__file__).with_name("bytetrack.npz"), **written)


if __name__ == "__main__":
    main()
