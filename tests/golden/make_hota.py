"""What TrackEval answers: `python tests/golden/make_hota.py --trackeval FOLDER` writes hota.npz.

FOLDER holds `trackeval` 1.3.0 (`pip install --no-deps --target FOLDER trackeval==1.3.0`). The sequences are drawn here:
objects that come and go, tracks that lose them, swap them and see some that are not there.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEQUENCES, FRAMES, OBJECTS, MOST = 3, 40, 7, 12
PARTS = ("HOTA", "DetA", "AssA", "LocA")


def sequence(seed: int) -> list[tuple[Any, Any, Any]]:
    """Of each frame: identities of the objects, of the tracks, and how alike they are (objects, tracks) in 0..1."""
    rng = np.random.default_rng(seed)
    follows = np.arange(OBJECTS)  # the track that follows each object
    frames = []
    for t in range(FRAMES):
        if t % 9 == 8:
            a, b = rng.choice(OBJECTS, 2, replace=False)
            follows[[a, b]] = follows[[b, a]]
        if t % 13 == 12:
            follows[rng.integers(OBJECTS)] = follows.max() + 1
        there = np.flatnonzero(rng.uniform(size=OBJECTS) > 0.15)
        if t == 5:
            there = there[:0]
        seen = there[rng.uniform(size=len(there)) > 0.2]
        false = 1000 + rng.integers(0, 3, rng.integers(0, 2))
        tracks = np.concatenate([follows[seen], false])
        if t == 7:
            tracks = tracks[:0]
        alike = rng.uniform(0, 0.3, (len(there), len(tracks)))
        for row, who in enumerate(there):
            alike[row, tracks == follows[who]] = rng.uniform(0.4, 1.0)
        frames.append((there, tracks, np.round(alike, 3)))
    return frames


def packed(frames: list[tuple[Any, Any, Any]]) -> dict[str, Any]:
    """The sequence as arrays: ids (FRAMES, OBJECTS) and tracks (FRAMES, MOST), -1 for none, and alike."""
    ids, tracks = np.full((FRAMES, OBJECTS), -1), np.full((FRAMES, MOST), -1)
    alike = np.zeros((FRAMES, OBJECTS, MOST))
    for t, (there, told, like) in enumerate(frames):
        ids[t, : len(there)], tracks[t, : len(told)] = there, told
        alike[t, : len(there), : len(told)] = like
    return {"ids": ids, "tracks": tracks, "alike": alike}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trackeval", type=Path, required=True)
    sys.path.insert(0, str(parser.parse_args().trackeval))
    metric = importlib.import_module("trackeval").metrics.HOTA()
    written: dict[str, Any] = {}
    answers = {}
    for seed in range(SEQUENCES):
        frames = sequence(seed)
        known = np.unique(np.concatenate([f[1] for f in frames]))
        answers[str(seed)] = metric.eval_sequence(
            {
                "num_gt_ids": OBJECTS,
                "num_tracker_ids": len(known),
                "num_gt_dets": sum(len(f[0]) for f in frames),
                "num_tracker_dets": sum(len(f[1]) for f in frames),
                "gt_ids": [f[0] for f in frames],
                "tracker_ids": [np.searchsorted(known, f[1]) for f in frames],
                "similarity_scores": [f[2] for f in frames],
            }
        )
        written |= {f"{part}{seed}": answers[str(seed)][part] for part in PARTS}
        written |= {f"{name}{seed}": array for name, array in packed(frames).items()}
    both = metric.combine_sequences(answers)
    written |= {f"{part}_all": both[part] for part in PARTS}
    np.savez_compressed(Path(__file__).with_name("hota.npz"), **written)


if __name__ == "__main__":
    main()
