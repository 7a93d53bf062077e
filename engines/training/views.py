"""One picture of a user's data as a training frame: a part of it, perhaps mirrored, and the truth about that part.

Pictures are stretched to the model's size, as the street model is served. A view is a rectangle of the picture in 0..1;
it wanders a little from frame to frame, so that a still picture becomes a clip. What lies outside the view is not
there; of what is hardly inside, nothing is asked.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.training.annotated import Picture, Thing
from engines.training.clips import EMPTY, MIRRORED_POINTS, NOBODY, UNKNOWN_MASK, ClipBatch
from engines.training.outlines import decoded, drawn
from engines.training.picture_size import read_rgb

SHELF_BYTES = 256 << 20  # pictures kept in memory, shrunk
LEAST_SHARE = 0.25  # of an object that must be in view for it to be asked for
LEAST_SIDE_PX = 2.0  # in the model's picture
MOST_ZOOM, MOST_DRIFT = 0.4, 0.06  # of the picture's sides; the drift is a clip's, there and back


class View(NamedTuple):
    """The part of a picture that is shown, in 0..1 of its sides, and whether left and right change places."""

    left: float
    top: float
    width: float
    height: float
    flip: bool

    def seen(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (..., 2) x, y in 0..1 of the picture to 0..1 of the view."""
        out = (points - (self.left, self.top)) / (self.width, self.height)
        if self.flip:
            out[..., 0] = 1 - out[..., 0]
        return out


def wandering(rng: np.random.Generator, frames: int) -> list[View]:
    """`frames` views that go evenly from one to another nearby: a slow pan and zoom. Half of them are mirrored."""
    flip = bool(rng.random() < 0.5)
    sides = 1 - MOST_ZOOM * rng.random(2) * rng.random()  # most views are wide, a third of them nearly all
    share = rng.random(2)
    zoom, drift = rng.uniform(-MOST_DRIFT, MOST_DRIFT), rng.uniform(-MOST_DRIFT, MOST_DRIFT, 2)
    views = []
    for at in np.linspace(0, 1, frames) if frames > 1 else (0.0,):
        size = np.clip(sides * (1 + zoom * at), 0.3, 1.0)
        corner = np.clip(share * (1 - sides) + drift * at, 0, 1 - size)
        views.append(View(float(corner[0]), float(corner[1]), float(size[0]), float(size[1]), flip))
    return views


def colour_table(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A look-up table u8 (1, 256, 3) for one clip: brightness, contrast, gamma and tint of another camera."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.93, 1.07, 3)
    offset, gamma = rng.uniform(-20, 20), np.exp(rng.uniform(-0.25, 0.25))
    levels = 255 * (np.arange(256)[:, None] / 255) ** gamma
    table: NDArray[np.uint8] = np.clip((levels - 128) * gain + 128 + offset, 0, 255).astype(np.uint8)[None]
    return table


class Shelf:
    """Pictures and run-length masks, shrunk to at most twice the model's size; the ones longest unused go first."""

    def __init__(self, height: int, width: int, most_bytes: int = SHELF_BYTES) -> None:
        self.height, self.width, self.most_bytes = height, width, most_bytes
        self._held: OrderedDict[object, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0

    def picture(self, picture: Picture) -> NDArray[np.uint8]:
        """u8 (h, w, 3) RGB. Raises SightlineError for a file that cannot be read, or is of another size."""
        held = self._get(picture.path)
        if held is None:
            image = read_rgb(picture.path, picture.height, picture.width)
            held = self._put(picture.path, self._shrunk(image))
        return held

    def mask(self, picture: Picture, thing: Thing) -> NDArray[np.uint8]:
        """u8 (h, w), 0..255: how much of each cell the thing's run lengths cover."""
        key = picture.path, thing.box_xyxy, thing.label
        held = self._get(key)
        if held is None:
            assert thing.outline is not None and not isinstance(thing.outline, tuple)
            held = self._put(key, self._shrunk(decoded(thing.outline) * np.uint8(255)))
        return held

    def _shrunk(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = min(2 * self.height, image.shape[0]), min(2 * self.width, image.shape[1])
        if (height, width) == image.shape[:2]:
            return image
        small: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return small

    def _get(self, key: object) -> NDArray[np.uint8] | None:
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
        return held

    def _put(self, key: object, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._held[key] = image
        self._bytes += image.nbytes
        while self._bytes > self.most_bytes and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return image


def shown(image: NDArray[np.uint8], view: View, hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The view of a picture, u8 `hw` (and its channels), bilinear; cell centres as in `cv2.resize`."""
    from_px = _to_grid(view, image.shape[:2], hw)
    out: NDArray[np.uint8] = cv2.warpAffine(
        image, _centres(from_px), (hw[1], hw[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return out


def _to_grid(view: View, source_hw: tuple[int, ...], grid_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(2, 3): places in a picture of `source_hw` to places in a grid of `grid_hw` laid over the view."""
    rows, columns = grid_hw
    x = columns / (view.width * source_hw[1])
    y = rows / (view.height * source_hw[0])
    across = [-x, 0.0, columns + view.left / view.width * columns] if view.flip else [x, 0.0, 0.0]
    if not view.flip:
        across[2] = -view.left / view.width * columns
    return np.array([across, [0.0, y, -view.top / view.height * rows]])


def _centres(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same for OpenCV, which counts from the middle of the first cell instead of its edge."""
    out = matrix.copy()
    out[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return out


def write_view(
    batch: ClipBatch, where: tuple[int, int], picture: Picture, view: View, shelf: Shelf, tracks: bool
) -> None:
    """Writes a picture's view and its truth at (t, lane). `tracks`: identities are the things' own, not their order.

    If there are more objects than places, the largest stay; of the others, as of crowds, nothing is asked.
    """
    hw = batch.images.shape[2], batch.images.shape[3]
    batch.images[where] = shown(shelf.picture(picture), view, hw)
    if not picture.things:
        return
    size = np.array([picture.width, picture.height], np.float64)
    corners = view.seen(np.array([t.box_xyxy for t in picture.things]).reshape(-1, 2, 2) / size)  # (N, 2, 2)
    low, high = corners.min(1), corners.max(1)
    inner_low, inner_high = low.clip(0, 1), high.clip(0, 1)
    inner = inner_high - inner_low
    share = inner.prod(1) / (high - low).prod(1).clip(1e-12)
    labels = np.array([thing.label for thing in picture.things])
    fair = (share >= LEAST_SHARE) & (inner * hw[::-1] >= LEAST_SIDE_PX).all(1)
    order = np.argsort(-inner.prod(1), kind="stable")
    asked = order[(labels >= 0)[order] & fair[order]]
    rows, rest = asked[: batch.labels.shape[2]], asked[batch.labels.shape[2] :]
    unsure = np.concatenate((rest, np.flatnonzero((inner > 0).all(1) & ~((labels >= 0) & fair))))
    n = len(rows)
    batch.boxes[where][:n] = np.concatenate((inner_low + inner_high, 2 * inner), axis=1)[rows] / 2
    batch.labels[where][:n] = labels[rows]
    batch.ids[where][:n] = [picture.things[row].track if tracks else row for row in rows]
    boxes = np.concatenate((inner_low, inner_high), axis=1)
    _write_masks(batch, where, picture, view, shelf, rows, unsure, boxes)
    for place, row in enumerate(rows):
        batch.keypoints[where][place] = _points(picture.things[row], view, size)


def _write_masks(
    batch: ClipBatch, where: tuple[int, int], picture: Picture, view: View, shelf: Shelf,
    rows: NDArray[np.intp], unsure: NDArray[np.intp], boxes: NDArray[np.float64],
) -> None:  # fmt: skip
    """Large outlines first, so that small ones lie in front; a box without outline says nothing of its pixels."""
    masks = batch.masks[where]
    for row in rows:
        if picture.things[row].outline is None:
            masks[_cells(boxes[row], masks.shape)] = UNKNOWN_MASK
    for place, row in enumerate(rows):
        thing = picture.things[row]
        if thing.outline is not None:
            masks[_outline(picture, thing, view, shelf, masks.shape)] = place
    assert batch.ignored is not None
    ignored = batch.ignored[where]
    for row in unsure:
        thing = picture.things[row]
        if thing.outline is None:
            ignored[_cells(boxes[row], masks.shape)] = True
        else:
            ignored |= _outline(picture, thing, view, shelf, masks.shape)
    masks[ignored & (masks == NOBODY)] = UNKNOWN_MASK


def _cells(box: NDArray[np.float64], hw: tuple[int, ...]) -> tuple[slice, slice]:
    """The cells of a grid that a box xyxy in 0..1 touches."""
    rows, columns = hw
    top, bottom = int(box[1] * rows), int(np.ceil(box[3] * rows))
    left, right = int(box[0] * columns), int(np.ceil(box[2] * columns))
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _outline(
    picture: Picture, thing: Thing, view: View, shelf: Shelf, hw: tuple[int, ...]
) -> NDArray[np.bool_]:
    grid_hw = hw[0], hw[1]
    if isinstance(thing.outline, tuple):
        return drawn(thing.outline, _to_grid(view, (picture.height, picture.width), grid_hw), grid_hw)
    return shown(shelf.mask(picture, thing), view, grid_hw) > 127


def _points(thing: Thing, view: View, size: NDArray[np.float64]) -> NDArray[np.float32]:
    """Key points (P, 3) as a ClipBatch has them: x, y in 0..1 and v, below 0 where nothing is known."""
    points = np.full((len(MIRRORED_POINTS), 3), float(EMPTY), np.float32)
    if thing.keypoints is None:
        return points
    given = np.array(thing.keypoints)
    places = view.seen(given[:, :2] / size)
    outside = ((places < 0) | (places > 1)).any(1)
    v = np.where(given[:, 2] == 0, -1.0, np.where(outside, 0.0, given[:, 2]))
    points[:] = np.concatenate((places, v[:, None]), axis=1)
    return points[MIRRORED_POINTS] if view.flip else points
