"""Where a token lies, as sines, and which tokens are padding.

Sources: Vaswani et al. 2017 (sines of rising wavelength), Parmar et al. 2018 (half of the channels for each axis),
Carion et al. 2020 (counted over what is not padding, then scaled to one turn).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

TEMPERATURE = 10_000.0
EPS = 1e-6


def padding_mask(content_hw: Tensor, picture_hw: tuple[int, int], grid_hw: tuple[int, int]) -> Tensor:
    """Which cells of a grid over the picture are padding: bool (B, rows, columns), True = padding.

    `content_hw` i32 (B, 2): rows and columns of the picture that hold the source, from the top left. A cell is judged
    by one pixel of it, as nearest-neighbour reduction of a mask of the whole picture does. It is an integer, as an
    input and in the graph: what computes in bfloat16 rounds a float input first, and 361 columns become 360.
    """
    content = content_hw.to(torch.int32)
    outside = [
        _sampled(int(picture), int(cells), content.device) >= content[:, axis : axis + 1]  # (B, cells)
        for axis, (picture, cells) in enumerate(zip(picture_hw, grid_hw, strict=True))
    ]
    return outside[0].unsqueeze(2) | outside[1].unsqueeze(1)  # (B, rows, 1), (B, 1, columns)


def _sampled(picture: int, cells: int, device: torch.device) -> Tensor:
    """The pixel that speaks for each cell of one axis, i32 (cells,)."""
    step = np.float32(picture / cells)  # rounded to float32, as the reduction does
    pixels = np.minimum(np.floor(np.arange(cells, dtype=np.float32) * step), picture - 1)
    return torch.from_numpy(pixels.astype(np.int32)).to(device)


def sine_2d(padding: Tensor, dim: int, temperature: float = TEMPERATURE, *, first: float = 1.0) -> Tensor:
    """Positions of the cells of a grid: padding bool (B, h, w), True = padding, to f32 (B, h, w, dim).

    The first half of the channels tells the row, the second the column. Rows and columns are counted over the cells
    that are not padding, and scaled so that as many steps as there are cells make a whole turn. The count begins at
    `first`: 1 in DETR, so that the last cell is a whole turn; 0.5, the cells' middles, in TrackFormer.
    """
    row, column = _turns(padding, first)
    return torch.cat((sines(row, dim // 2, temperature), sines(column, dim // 2, temperature)), dim=-1)


def sine_3d(padding: Tensor, dim: int, frame: int, frames: int, temperature: float = TEMPERATURE) -> Tensor:
    """Positions of the cells of frame `frame` (from 0) of `frames`: padding bool (B, h, w) to f32 (B, h, w, dim).

    A third of the channels each for the frame, the row and the column, all counted from 1 (TrackFormer, Meinhardt et
    al. 2022). Padding is at frame 0 of the count, so at angle 0.
    """
    row, column = _turns(padding, 1.0)
    turn = (~padding).float() * ((frame + 1) / (frames + EPS) * (2 * math.pi))
    return torch.cat([sines(angle, dim // 3, temperature) for angle in (turn, row, column)], dim=-1)


def _turns(padding: Tensor, first: float) -> tuple[Tensor, Tensor]:
    """Row and column of each cell as an angle, both f32 (B, h, w)."""
    valid = (~padding).float()
    row, column = valid.cumsum(1), valid.cumsum(2)
    last_row, last_column = row[:, -1:, :], column[:, :, -1:]
    if first != 1.0:
        row, column = row - (1.0 - first), column - (1.0 - first)
    return row / (last_row + EPS) * (2 * math.pi), column / (last_column + EPS) * (2 * math.pi)


def sines(angle: Tensor, dim: int, temperature: float = TEMPERATURE) -> Tensor:
    """(…,) angles to (…, dim): sine and cosine of each by turns, at `dim` / 2 wavelengths up to `temperature`."""
    pair = torch.arange(dim // 2, dtype=torch.float32, device=angle.device)
    turned = angle.unsqueeze(-1) / temperature ** (2 * pair / dim)  # (…, dim / 2)
    return torch.stack((turned.sin(), turned.cos()), dim=-1).flatten(-2)  # (…, dim / 2, 2) -> (…, dim)
