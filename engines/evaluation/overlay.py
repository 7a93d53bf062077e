"""One frame as a person would judge it: truth or answer drawn over the picture, enlarged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.evaluation.actions import told_of
from engines.evaluation.facts import Seen
from streamer.masks import mask_from_rle
from streamer.types import U8
from streamer.world import ACTIONS, LABELS, SEMANTIC, Truth

SIDE_PX = 720  # width to which a picture is enlarged, by a whole number
BONES = (
    *((0, 1), (0, 2), (1, 2), (1, 3), (3, 5), (2, 4), (4, 6)),
    *((1, 7), (2, 8), (7, 8), (7, 9), (9, 11), (8, 10), (10, 12)),
)  # of the world's KEYPOINTS
BAD, GREY = (255, 60, 60), (170, 170, 170)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def enlarged(picture: U8) -> tuple[U8, int]:
    """The picture u8 (H, W, 3) by the whole factor that brings it near SIDE_PX, and the factor."""
    factor = max(1, round(SIDE_PX / picture.shape[1]))
    big = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return np.asarray(big, np.uint8), factor


def colour_of(identity: int) -> tuple[int, int, int]:
    """A clear colour for an identity, the same each time; neighbours are far apart."""
    hue = (identity * 67) % 180
    one = cv2.cvtColor(np.array([[[hue, 190, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
    return int(one[0]), int(one[1]), int(one[2])


def draw_truth(picture: U8, truth: Truth, hard: NDArray[np.bool_]) -> U8:
    """Boxes, identities, masks, key points and actions as they are; difficult objects in grey."""
    canvas, factor = enlarged(picture)
    for row in range(len(truth.ids)):
        colour = GREY if hard[row] else colour_of(int(truth.ids[row]))
        _tint(canvas, truth.instances == row, colour)
        action = ACTIONS[truth.actions[row]] if truth.actions[row] >= 0 else ""
        words = f"{LABELS[truth.labels[row]]} {truth.ids[row]} {action}"
        _box(canvas, truth.boxes_xyxy[row] * factor, colour, words)
        points = truth.keypoints[row]
        _skeleton(canvas, points[:, :2] * factor, points[:, 2] > 1, colour)
    return canvas


def draw_answer(picture: U8, seen: Seen) -> U8:
    """The same as the model says; a track that stands for no object has a thick red box."""
    canvas, factor = enlarged(picture)
    tracks, payload = seen.tracks, seen.payload
    found = tracks.detections
    told = told_of(seen)
    stands = set(seen.partner[seen.partner >= 0].tolist())
    for column in range(len(tracks)):
        identity = int(tracks.track_ids[column])
        colour = colour_of(identity) if column in stands else BAD
        if found.masks is not None:
            _tint(canvas, mask_from_rle(found.masks[column]), colour)
        action = told.get(identity)
        label = payload.label_names[found.labels[column]]
        words = f"{label} {identity} {found.scores[column]:.2f} {action.name if action else ''}"
        _box(canvas, found.boxes_xyxy[column] * factor, colour, words, 1 if column in stands else 3)
        if payload.keypoints is not None:
            points = payload.keypoints[column]
            _skeleton(canvas, points[:, :2] * factor, points[:, 2] > 0.5, colour)
    for row in np.flatnonzero((seen.partner < 0) & ~seen.hard).tolist():
        _box(canvas, seen.boxes_xyxy[row] * factor, (255, 255, 255), "missed", 2)
    return canvas


def draw_classes(classes: U8, names: Sequence[str], size_wh: tuple[int, int]) -> U8:
    """A class map in colours, of the given width and height."""
    palette = np.array([CLASS_COLOURS.get(name, (0, 0, 0)) for name in names], np.uint8)
    painted = palette[np.minimum(classes, len(names) - 1)]
    return np.asarray(cv2.resize(painted, size_wh, interpolation=cv2.INTER_NEAREST), np.uint8)


def side_by_side(pictures: Sequence[U8]) -> U8:
    """Pictures of one height in a row, a white line between them; the sizes are even, as video wants."""
    line = np.full((pictures[0].shape[0], 4, 3), 255, np.uint8)
    parts: list[U8] = []
    for picture in pictures:
        parts += [picture, line]
    row = np.concatenate(parts[:-1], axis=1)
    return row[: row.shape[0] & ~1, : row.shape[1] & ~1]


CLASS_COLOURS: Mapping[str, tuple[int, int, int]] = dict(
    zip(
        SEMANTIC,
        (
            *(
                (135, 190, 235),
                (120, 100, 95),
                (80, 80, 90),
                (240, 240, 240),
                (190, 170, 150),
                (110, 170, 80),
            ),
            *((40, 120, 60), (230, 170, 40), (230, 60, 80), (60, 90, 230), (150, 60, 200), (0, 200, 200)),
            (250, 130, 30),
        ),
        strict=True,
    )
)


def _tint(canvas: U8, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    """Mix a colour into a mask on a grid of any resolution over the whole picture, in place."""
    height, width = canvas.shape[:2]
    big = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    canvas[big] = (canvas[big] * 0.6 + np.array(colour) * 0.4).astype(np.uint8)


def _box(
    canvas: U8, xyxy: NDArray[np.floating], colour: tuple[int, int, int], words: str, thick: int = 1
) -> None:
    x0, y0, x1, y1 = (round(float(v)) for v in xyxy)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, thick)
    at = (x0, max(10, y0 - 3))
    cv2.putText(canvas, words, at, _FONT, 0.4, (0, 0, 0), 2, cv2.LINE_AA)
    cv2.putText(canvas, words, at, _FONT, 0.4, colour, 1, cv2.LINE_AA)


def _skeleton(
    canvas: U8, points: NDArray[np.floating], sure: NDArray[np.bool_], colour: tuple[int, int, int]
) -> None:
    """Bones between points that are seen, and the points."""
    at = [(round(float(x)), round(float(y))) for x, y in points]
    for a, b in BONES:
        if a < len(at) and b < len(at) and sure[a] and sure[b]:
            cv2.line(canvas, at[a], at[b], colour, 1, cv2.LINE_AA)
    for place, known in zip(at, sure.tolist(), strict=True):
        if known:
            cv2.circle(canvas, place, 2, (255, 255, 255), -1)
