"""What is kept of a user's data to see how well the model does on pictures it was not tuned on, and how well it does.

Of still pictures a share is drawn at random; of footage the last share of each sequence is kept, since neighbouring
frames are nearly the same picture (the halves of MOT17 are the best known of such splits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from engines.evaluation.coco import PictureBoxes, average_precision
from engines.models.street import Street
from engines.training.annotated import IGNORED, DataSet, Footage, Picture
from engines.training.device import device_of, on_cpu, on_device
from engines.training.tracks import empty_slots
from engines.training.views import Shelf, View, shown
from streamer.geometry import iou_matrix, xyxy_from_cxcywh

MOST_PICTURES = 300  # measured at a time; of more, evenly spaced ones
WHOLE = View(0.0, 0.0, 1.0, 1.0, False)
LEAST_SCORE = 0.001
MATCH_IOU = 0.5
BATCH = 8


def split(data: DataSet, share: float, seed: int) -> tuple[DataSet, DataSet]:
    """What to train on and what to keep; at least one picture each where `share` is above 0 and there are two."""
    if share <= 0 or data.pictures < 2:
        return data, data.with_footage(())
    if data.still:
        count = min(max(1, round(share * len(data.footage))), len(data.footage) - 1)
        order = np.random.default_rng((seed, len(data.footage))).permutation(len(data.footage))
        kept = set(order[:count].tolist())
        pieces = list(enumerate(data.footage))
        return (
            data.with_footage(tuple(f for i, f in pieces if i not in kept)),
            data.with_footage(tuple(f for i, f in pieces if i in kept)),
        )
    train: list[Footage] = []
    held: list[Footage] = []
    for footage in data.footage:
        length = len(footage.pictures)
        count = min(max(1, round(share * length)), length - 1)
        train.append(replace(footage, pictures=footage.pictures[: length - count]))
        if count:
            held.append(replace(footage, pictures=footage.pictures[length - count :]))
    return data.with_footage(tuple(train)), data.with_footage(tuple(held))


def measured(data: DataSet) -> list[Picture]:
    """The pictures that `precision_on` looks at."""
    pictures = list(data.all_pictures())
    if len(pictures) <= MOST_PICTURES:
        return pictures
    return [pictures[i] for i in np.linspace(0, len(pictures) - 1, MOST_PICTURES).astype(int)]


def precision_on(model: Street, pictures: Sequence[Picture], told: Sequence[bool]) -> dict[str, float]:
    """COCO's `ap` and `ap50`, 0..1, of the model's object rows on single pictures, without any track.

    Counted over the labels the data speaks of. Answers on ignored areas that fit no object are left out.
    """
    config, device = model.config, device_of(model)
    hw, slots = (config.height, config.width), config.track_slots
    spoken = np.flatnonzero(told)
    shelf = Shelf(*hw, most_bytes=0)
    truths, answers = [], []
    for start in range(0, len(pictures), BATCH):
        some = pictures[start : start + BATCH]
        images = np.stack([shown(shelf.picture(picture), WHOLE, hw) for picture in some])
        nobody = empty_slots(len(some), slots, config.hidden_dim, device)
        with torch.inference_mode():
            scene = model.look(on_device(images, device))
            last = model.decode(scene, nobody.hs, nobody.boxes, nobody.valid)[-1]
        logits, boxes = on_cpu(last.logits[:, slots:].float()), on_cpu(last.boxes[:, slots:].float())
        for i, picture in enumerate(some):
            truths.append(_truth(picture))
            answers.append(_answer(picture, logits[i][:, spoken], boxes[i], spoken))
    labels = [config.labels[c] for c in spoken]
    place = {int(c): i for i, c in enumerate(spoken)}
    truths, answers = ([_renamed(boxes, place) for boxes in side] for side in (truths, answers))
    found = average_precision(truths, answers, labels)
    return {"ap": found.ap, "ap50": found.ap50}


def _truth(picture: Picture) -> PictureBoxes:
    asked = [thing for thing in picture.things if thing.label != IGNORED]
    return PictureBoxes(
        np.array([thing.box_xyxy for thing in asked], np.float32).reshape(-1, 4),
        np.array([thing.label for thing in asked], np.int64),
        np.ones(len(asked), np.float32),
    )


def _answer(
    picture: Picture, logits: NDArray[np.float32], boxes: NDArray[np.float32], spoken: NDArray[np.intp]
) -> PictureBoxes:
    """Each row once for each label of `spoken`, in pixels of the picture."""
    size = np.array([picture.width, picture.height] * 2, np.float32)
    corners = (np.clip(xyxy_from_cxcywh(boxes), 0, 1) * size).astype(np.float32)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    unsure = np.array([t.box_xyxy for t in picture.things if t.label == IGNORED], np.float32).reshape(-1, 4)
    truth = _truth(picture).boxes_xyxy
    fits = iou_matrix(corners, truth).max(1, initial=0) >= MATCH_IOU
    keep = fits | (_covered(corners, unsure).max(1, initial=0) <= 0.5)
    rows, columns = np.nonzero((scores > LEAST_SCORE) & keep[:, None])
    return PictureBoxes(corners[rows], spoken[columns].astype(np.int64), scores[rows, columns])


def _covered(boxes: NDArray[np.float32], areas: NDArray[np.float32]) -> NDArray[np.float32]:
    """The share of each box that lies in each area: (N, 4), (M, 4) xyxy to (N, M)."""
    low = np.maximum(boxes[:, None, :2], areas[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], areas[None, :, 2:])
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(1).clip(1e-6)
    share: NDArray[np.float32] = (high - low).clip(0).prod(2) / whole[:, None]
    return share


def _renamed(boxes: PictureBoxes, place: dict[int, int]) -> PictureBoxes:
    return replace(boxes, labels=np.array([place[int(c)] for c in boxes.labels], np.int64))
