"""The key points of all persons of a frame: where in each one's box its kernels answer most to the picture's features.

Every key point of a row has a kernel of its own. In the row's box, a little widened, the features are sampled on a
small grid; kernel times sample is a heat, which counts the less the further it is from the row's first guess. Its
softmax is a distribution, and the mean of that is the place (integral regression, Sun et al. 2018): finer than a cell,
and there is no peak to look for.

Bilinear sampling on a grid falls into two steps: spans of the two rows around each row of cells, mixed, then one small
matrix product for the columns. That takes a third of the time of gathering four neighbours for each sample. Products
of this size stay on one thread, which matters to other lanes.
"""

from __future__ import annotations

import numpy as np

from streamer.types import F32, Hw

REACH = 1.2  # the grid covers the box widened by this around its centre: a raised hand may leave the box
SIGMA = (
    0.2  # of the Gaussian window around a first guess, in boxes; both as in engines/models/street_heads.py
)


def keypoints_in_boxes(
    features: F32, kernels: F32, logits: F32, guesses: F32, boxes_cxcywh: F32, grid_hw: Hw
) -> F32:
    """The K key points of n rows, f32 (n, K, 3): x, y in 0..1 of the picture, score 0..1.

    `features` (C, h, w), `kernels` (n, K * C), `logits` (n, K) of being seen, `guesses` (n, K, 2) in units of the
    box's width and height from its centre, `boxes_cxcywh` (n, 4) in 0..1 of the picture; `grid_hw` rows and columns.
    """
    n, points = logits.shape
    if not n:
        return np.zeros((0, points, 3), np.float32)
    channels, (rows, columns) = len(features), grid_hw
    xs, ys = _cells(columns), _cells(rows)
    x, y = (axis.ravel() for axis in np.broadcast_arrays(xs, ys[:, None]))  # (rows * columns,) each
    # The window around a guess g is -|cell - g|^2 / 2 sigma^2; what it has of the cell are three more channels, and
    # |g|^2, the same for all cells, falls out of the softmax.
    samples = np.empty((n, channels + 3, rows * columns), np.float32)
    samples[:, :channels] = _sampled(features, boxes_cxcywh, grid_hw)
    samples[:, channels:] = x, y, np.square(x) + np.square(y)
    looked_for = np.empty((n, points, channels + 3), np.float32)
    np.multiply(kernels.reshape(n, points, channels), channels**-0.5, out=looked_for[..., :channels])
    np.multiply(guesses, SIGMA**-2, out=looked_for[..., channels:-1])
    looked_for[..., -1] = -0.5 * SIGMA**-2
    heat = np.matmul(looked_for, samples).reshape(n * points, rows * columns)
    heat -= heat.max(axis=1, keepdims=True)
    np.exp(heat, out=heat)
    cells = np.stack([x, y, np.ones_like(x)], axis=1)
    found: F32 = (heat @ cells).reshape(n, points, 3)  # sums of x, of y, of all
    found[..., :2] /= found[..., 2:]
    found[..., :2] *= boxes_cxcywh[:, None, 2:]
    found[..., :2] += boxes_cxcywh[:, None, :2]
    found[..., 2] = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return found


def _cells(count: int) -> F32:
    """The centres of a row of cells, in box sizes from the box's centre."""
    return (((np.arange(count) + 0.5) / count - 0.5) * REACH).astype(np.float32)


def _sampled(features: F32, boxes_cxcywh: F32, grid_hw: Hw) -> F32:
    """Bilinear samples at the cells' centres, (n, C, rows * columns); beyond the border its nearest feature counts."""
    (channels, h, w), (rows, columns), n = features.shape, grid_hw, len(boxes_cxcywh)
    cx, cy, bw, bh = boxes_cxcywh.T[..., None]  # (n, 1) each
    xs = np.clip((cx + _cells(columns) * bw) * w - 0.5, 0, w - 1)  # (n, columns), in features
    ys = np.clip((cy + _cells(rows) * bh) * h - 0.5, 0, h - 1)  # (n, rows)
    left = xs[:, 0].astype(np.int64)
    wide = (
        int((np.ceil(xs[:, -1]).astype(np.int64) - left).max()) + 1
    )  # one width for all: no loop over boxes
    left = np.minimum(left, w - wide)[:, None]
    top = np.minimum(ys.astype(np.int64), h - 2)  # (n, rows)
    high, across, down = features.strides
    spans = np.lib.stride_tricks.as_strided(  # [y, x] is features[:, y, x : x + wide]
        features, (h, w - wide + 1, channels, wide), (across, down, high, down), writeable=False
    )
    above, below = spans[top, left], spans[top + 1, left]  # (n, rows, C, wide)
    below -= above
    below *= (ys - top).astype(np.float32)[..., None, None]
    above += below
    places = (left + np.arange(wide)).astype(np.float32)
    weights = np.maximum(1 - np.abs(places[:, :, None] - xs[:, None, :]), 0)  # (n, wide, columns)
    samples: F32 = np.matmul(above.reshape(n, rows * channels, wide), weights)  # (n, rows * C, columns)
    samples = samples.reshape(n, rows, channels, columns).transpose(0, 2, 1, 3)
    return samples.reshape(n, channels, rows * columns)
