"""Data sets of a user's own as they lie on disk, made of frames of the world: COCO's layout and MOTChallenge's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_api

from streamer.world import KEYPOINTS, LABELS, Truth, World, WorldConfig

HEIGHT, WIDTH = 96, 144


def frames(seed: int, count: int, stride: int = 1) -> list[tuple[np.ndarray, Truth]]:
    """`count` pictures of a small street with their truth, `stride` frames apart."""
    world = World(WorldConfig(seed, HEIGHT, WIDTH, people=8, vehicles=3))
    found = []
    for _ in range(count):
        found.append(world.step())
        world.skip(stride - 1)
    return found


def coco_folder(folder: Path, count: int = 20, first_seed: int = 40) -> Path:
    """`count` pictures of a street or two: boxes, masks as polygons and run lengths of both kinds, key points."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    seen = [pair for s in range(2) for pair in frames(first_seed + s, (count + 1 - s) // 2, 8)]
    for i, (picture, truth) in enumerate(seen):
        name = f"{i:03d}.{'png' if i % 2 else 'jpg'}"
        assert cv2.imwrite(str(folder / "images" / name), picture[:, :, ::-1])
        images.append({"id": i + 1, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for row in range(len(truth.labels)):
            annotation = _annotation(truth, row, len(annotations))
            annotations.append(annotation | {"id": len(annotations) + 1, "image_id": i + 1})
    names = [{"head": "nose"}.get(name, name) for name in KEYPOINTS]
    categories: list[dict[str, Any]] = [{"id": c + 1, "name": name} for c, name in enumerate(LABELS)]
    categories[0] |= {"keypoints": ["left_eye", *names]}
    write_json(folder, {"images": images, "annotations": annotations, "categories": categories})
    return folder


def _annotation(truth: Truth, row: int, number: int) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(v) for v in truth.boxes_xyxy[row])
    out: dict[str, Any] = {
        "category_id": int(truth.labels[row]) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0,
    }  # fmt: skip
    mask = np.asfortranarray(truth.instances == row, np.uint8)
    if number % 3 == 0:
        out["segmentation"] = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    elif number % 3 == 1:
        rle = mask_api.encode(mask)
        out["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}
    else:
        flat = mask.T.ravel()
        changes = np.flatnonzero(np.diff(np.concatenate(([0], flat, [1 - flat[-1]]))))
        runs = np.diff(np.concatenate(([0], changes))).tolist()
        out["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": runs}
    if truth.labels[row] == 0:
        points = truth.keypoints[row].tolist()
        out["keypoints"] = [0, 0, 0, *(round(float(v), 2) for point in points for v in point)]
        out["num_keypoints"] = sum(v > 0 for _, _, v in points)
    return out


def read_json(folder: Path) -> dict[str, Any]:
    """The annotations of a `coco_folder`."""
    tree: dict[str, Any] = json.loads((folder / "annotations" / "instances.json").read_text())
    return tree


def write_json(folder: Path, tree: dict[str, Any]) -> None:
    """Replaces the annotations of a `coco_folder`."""
    (folder / "annotations" / "instances.json").write_text(json.dumps(tree))


def mot_folder(folder: Path, sequences: int = 2, count: int = 24) -> Path:
    """Sequences of the world's people and cars at 12.5 frames a second, one of the first layout's lines among them."""
    for s in range(sequences):
        sequence = folder / f"S{s:02d}"
        (sequence / "img1").mkdir(parents=True)
        (sequence / "gt").mkdir()
        lines = []
        for i, (picture, truth) in enumerate(frames(60 + s, count)):
            assert cv2.imwrite(str(sequence / "img1" / f"{i + 1:06d}.jpg"), picture[:, :, ::-1])
            for row in range(len(truth.labels)):
                kind = {0: 1, 1: 3, 3: 4}.get(int(truth.labels[row]))
                if kind is not None:
                    x0, y0, x1, y1 = (float(v) for v in truth.boxes_xyxy[row])
                    visible = float(truth.visibility[row])
                    lines.append(
                        f"{i + 1},{truth.ids[row]},{x0},{y0},{x1 - x0},{y1 - y0},1,{kind},{visible:.3f}"
                    )
            lines.append(f"{i + 1},900,2,2,20,12,0,8,1")  # a distractor: neither merit nor fault
        (sequence / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")
        (sequence / "seqinfo.ini").write_text(
            f"[Sequence]\nname=S{s:02d}\nimDir=img1\nframeRate=12.5\nseqLength={count}\n"
            f"imWidth={WIDTH}\nimHeight={HEIGHT}\nimExt=.jpg\n"
        )
    return folder
