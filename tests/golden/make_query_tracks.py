"""Makes query_tracks.npz: what the authors' Tracker (timmeinhardt/trackformer) decides on a scripted network's outputs.

    PYTHONPATH=. python tests/golden/make_query_tracks.py --reference CLONE

The network is a script: an object row born in frame t from query q has the number t * Q + q, which its hs carries ever
after, and what it says in each later frame is drawn at random for that number. So the answers follow the tracks,
whatever order their queries come in. Three settings: the authors' defaults, re-id (patience 5), and boxes that are cut
at the picture's edge. Written are the script and, for each frame, the tracks told and those that were queries.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from tests.golden.make_trackformer import open_reference

HERE = Path(__file__).parent
FRAMES, QUERIES, CLASSES, SOURCE_HW = 30, 8, 3, (240, 320)
CASES = {"plain": (-1, True), "reid": (5, True), "cut": (5, False)}  # patience, overflow_boxes


def script() -> dict[str, np.ndarray]:
    """`boxes` f16 (T, T * Q, 4) cxcywh in 0..1 and `logits` f16 (T, T * Q, C): what each number says in each frame.

    Six things move about; every number is a sight of one of them, most often right, so that tracks fall on each other.
    """
    rng = np.random.default_rng(11)
    t = np.arange(FRAMES)[:, None]
    centre = 0.5 + 0.5 * np.sin(
        0.1 * t[..., None] * rng.uniform(-1, 1, (1, 6, 2)) + rng.uniform(0, 6, (1, 6, 2))
    )
    size = rng.uniform(0.2, 0.4, (6, 2))
    things = np.concatenate([centre, np.broadcast_to(size, centre.shape)], axis=-1)  # (T, 6, 4)
    number = np.arange(FRAMES * QUERIES)
    noise = rng.normal(0, 0.004, (FRAMES, len(number), 4)) * rng.choice([1, 6], (FRAMES, len(number), 1))
    boxes = np.clip(things[:, number % QUERIES % 6] + noise, 0.01, 0.99)
    logits = rng.normal([0.4, -1.0, -3.0], [1.0, 0.8, 0.5], (FRAMES, len(number), CLASSES))
    return {"boxes": boxes.astype(np.float16), "logits": logits.astype(np.float16)}


class Scripted:
    """Stands where the authors' tracker expects its network."""

    num_queries = QUERIES

    def __init__(self, said: dict[str, np.ndarray], overflow_boxes: bool) -> None:
        self.said = {name: torch.from_numpy(array.astype(np.float32)) for name, array in said.items()}
        self.overflow_boxes = overflow_boxes
        self.frame, self.asked = 0, []  # type: ignore[var-annotated]

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])

    def __call__(self, _img: Any, targets: Any, prev_features: Any) -> tuple[Any, ...]:
        assert (prev_features is None) == (self.frame == 0)
        old = [] if targets is None else targets[0]["track_query_hs_embeds"][:, 0].round().long().tolist()
        numbers = old + [self.frame * QUERIES + q for q in range(QUERIES)]
        self.asked.append(sorted(old))
        out = {
            "pred_boxes": self.said["boxes"][self.frame, numbers][None],
            "pred_logits": self.said["logits"][self.frame, numbers][None],
            "hs_embed": torch.tensor(numbers, dtype=torch.float32)[None, :, None].repeat(1, 1, 2),
        }
        self.frame += 1
        return out, None, "features", None, None


def decided(clone: Path, said: dict[str, np.ndarray], patience: int, overflow: bool) -> dict[str, np.ndarray]:
    read = importlib.import_module("trackformer.models.deformable_detr").DeformablePostProcess()
    kind = importlib.import_module("trackformer.models.tracker").Tracker
    settings = yaml.safe_load((clone / "cfgs" / "track.yaml").read_text())["tracker_cfg"]
    network = Scripted(said, overflow)
    tracker = kind(network, {"bbox": read}, {**settings, "inactive_patience": patience}, False)
    tracker.reset()
    size = torch.tensor([SOURCE_HW])
    for _ in range(FRAMES):
        tracker.step({"img": torch.zeros(1), "orig_size": size, "size": size, "dets": [torch.zeros(0, 4)]})
    told = [
        (t, track, float(one["score"]), *one["bbox"].tolist())
        for track, frames in tracker.get_results().items()
        for t, one in frames.items()
    ]
    asked = [(t, number) for t, numbers in enumerate(network.asked) for number in numbers]
    print(patience, overflow, len(told), "told", tracker.track_num, "born", tracker.num_reids, "revived")
    return {"told": np.array(sorted(told), np.float32), "asked": np.array(asked, np.int32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True)
    clone = parser.parse_args().reference
    open_reference(clone)
    said = script()
    arrays = dict(said)
    for case, (patience, overflow) in CASES.items():
        arrays |= {f"{case}_{k}": v for k, v in decided(clone, said, patience, overflow).items()}
    np.savez_compressed(HERE / "query_tracks.npz", **arrays)
    print((HERE / "query_tracks.npz").stat().st_size)


if __name__ == "__main__":
    main()
