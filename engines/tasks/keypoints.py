"""The key points of all persons of a frame: where in each one's box its kernels answer most to the picture's features.

Every key point of a row has a kernel of its own. In the row's box, a little widened, the features are sampled on a
small grid; kernel times sample is a heat, its softmax a distribution, and the mean of that distribution the place
(integral regression, Sun et al. 2018). So a place is finer than a cell, and there is no peak to look for.

Bilinear sampling on a grid is two small matrix products, one for the columns and one for the rows: half the time of
gathering four neighbours for each sample. Products of this size stay on one thread, which matters to other lanes.
"""

from __future__ import annotations

import numpy as np

from streamer.types import F32, Hw

WIDENED = 1.2  # the grid covers the box widened by this around its centre: a raised hand may leave the box


def keypoints_in_boxes(
    features: F32, kernels: F32, logits: F32, offsets: F32, boxes_cxcywh: F32, grid_hw: Hw
) -> F32:
    """The K key points of n rows, f32 (n, K, 3): x, y in 0..1 of the picture, score 0..1.

    `features` (C, h, w), `kernels` (n, K * C), `logits` (n, K) of being seen, `offsets` (n, K, 2) in units of the box's
    width and height, `boxes_cxcywh` (n, 4) in 0..1 of the picture; `grid_hw` rows and columns of the grid.
    """
    n, points = logits.shape
    if not n:
        return np.zeros((0, points, 3), np.float32)
    channels, (rows, columns) = len(features), grid_hw
    samples = _sampled(features, boxes_cxcywh, grid_hw)  # (n, C, rows * columns)
    heat = np.matmul(kernels.reshape(n, points, channels), samples)  # (n, K, rows * columns)
    heat *= np.float32(channels**-0.5)
    heat -= heat.max(axis=2, keepdims=True)
    np.exp(heat, out=heat)
    heat = heat.reshape(n, points, rows, columns)
    down, across = heat.sum(axis=3), heat.sum(axis=2)  # (n, K, rows), (n, K, columns)
    whole = across.sum(axis=2)  # (n, K)
    size = boxes_cxcywh[:, None, 2:]  # (n, 1, 2)
    found = np.empty((n, points, 3), np.float32)
    found[..., 0] = across @ _cells(columns) / whole
    found[..., 1] = down @ _cells(rows) / whole
    found[..., :2] = boxes_cxcywh[:, None, :2] + size * (found[..., :2] + offsets)
    found[..., 2] = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return found


def _cells(count: int) -> F32:
    """The centres of a row of cells, in box sizes from the box's centre."""
    return (((np.arange(count) + 0.5) / count - 0.5) * WIDENED).astype(np.float32)


def _sampled(features: F32, boxes_cxcywh: F32, grid_hw: Hw) -> F32:
    """Bilinear samples at the cells' centres, (n, C, rows * columns); beyond the border its nearest feature counts."""
    (channels, h, w), (rows, columns) = features.shape, grid_hw
    cx, cy, bw, bh = boxes_cxcywh.T[..., None]  # (n, 1) each
    xs = np.clip((cx + _cells(columns) * bw) * w - 0.5, 0, w - 1)  # (n, columns), in features
    ys = np.clip((cy + _cells(rows) * bh) * h - 0.5, 0, h - 1)  # (n, rows)
    left, right = xs[:, 0].astype(int).tolist(), (np.ceil(xs[:, -1]).astype(int) + 1).tolist()
    top, foot = ys[:, 0].astype(int).tolist(), (np.ceil(ys[:, -1]).astype(int) + 1).tolist()
    places = np.arange(max(h, w), dtype=np.float32)
    samples = np.empty((len(boxes_cxcywh), channels, rows, columns), np.float32)
    for i, (x0, x1, y0, y1) in enumerate(zip(left, right, top, foot, strict=True)):
        by_column = 1 - np.abs(places[x0:x1, None] - xs[i])  # (x1 - x0, columns)
        by_row = 1 - np.abs(ys[i][:, None] - places[y0:y1])  # (rows, y1 - y0)
        np.maximum(by_column, 0, out=by_column)
        np.maximum(by_row, 0, out=by_row)
        np.matmul(by_row, features[:, y0:y1, x0:x1] @ by_column, out=samples[i])
    return samples.reshape(len(samples), channels, rows * columns)
