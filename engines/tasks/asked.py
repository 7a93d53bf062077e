"""Which row of an answer gave this track, and where did that row look? Pure numpy, beside the hot path.

A track that was there before the frame is the row of its slot: nothing is to be guessed. A newborn was some object
row, and a detector's track some row of its list: it is the one whose box is the track's. Either way the row's box is
compared with the track's, so an answer about another row is refused and never told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.tasks.detect import DetectTask
from engines.tasks.query_tracks import QueryTrackState
from engines.tasks.track import TrackState, TrackTask
from streamer.errors import EngineError
from streamer.geometry import placed
from streamer.ports import Looks
from streamer.types import F32, Fit, Frame, Hw

MOST_CELLS = 170  # of the picture's attention: its square in base64 stays below 40 kB
# How far the row's box may be from the track's, in sizes of it: what the same graph's rounding does to one.
NEAR: Mapping[str, float] = {"f32": 0.05, "f16": 0.15, "bf16": 0.3}


def slot_of(state: object, track_id: int) -> int | None:
    """The slot in which this track lives as a query; None if it does not, or this state knows no queries."""
    if not isinstance(state, TrackState | QueryTrackState):
        return None
    found = np.flatnonzero(state.valid & (state.ids == track_id))
    return int(found[0]) if len(found) else None


def query_of(state: object, track_id: int) -> F32 | None:
    """The track's query f32 (D,) in a state; None where it has none."""
    slot = slot_of(state, track_id)
    return state.hs[slot] if slot is not None and isinstance(state, TrackState | QueryTrackState) else None


def row_of(
    task: TrackTask | DetectTask,
    boxes_cxcywh: F32,
    frame: Frame,
    before: object,
    track_id: int,
    box_xyxy: F32,
    near: float,
) -> tuple[int, F32]:
    """The row (N, 4) that gave the track told at `box_xyxy` (4,) source px, and that row's own box in the same.

    `before` is the stream's state that the frame was answered with; `near` how far the boxes may be apart, in sizes.
    Raises EngineError if no row's box is the track's.
    """
    if isinstance(task, TrackTask):
        corners = task.corners_px(boxes_cxcywh, frame)
        slot = slot_of(before, track_id)
        rows = np.arange(task.slots, len(corners)) if slot is None else np.array([slot])
    else:
        corners, _ = task.corners_px(boxes_cxcywh, frame)
        rows = np.arange(len(corners))
    size = np.maximum(box_xyxy[2:] - box_xyxy[:2], 1.0)
    apart = np.abs((corners[rows] - box_xyxy) / np.concatenate([size, size])).max(axis=1)
    best = int(np.nanargmin(apart)) if np.isfinite(apart).any() else 0
    if not apart[best] <= near:
        raise EngineError(
            f"the engine that tells its attention does not see track {track_id} where it was told",
            mend="ask about a later frame",
        )
    return int(rows[best]), corners[rows[best]]


def looks_of(
    answer: Mapping[str, NDArray[Any]], row: int, grids: tuple[Hw, Hw], input_hw: Hw, source_hw: Hw, fit: Fit
) -> Looks:
    """Row `row`'s look at the picture, and the cells' at each other, of one picture's answer (no batch dimension).

    `grids` are rows and columns of the decoder's and of the encoder's tokens. Padding is cut off both.
    """
    of_query, of_cells = grids
    query: F32 = answer["decoder_attention"][row].reshape(of_query)
    _, _, height, width = placed(source_hw, input_hw, fit)
    share = (height / input_hw[0], width / input_hw[1])
    if fit is Fit.PAD:
        query = query[tuple(slice(0, n) for n in _content(of_query, share))]
    cells: F32 = answer["encoder_attention"].reshape(*of_cells, *of_cells)
    if fit is Fit.PAD:
        rows, columns = _content(of_cells, share)
        cells = cells[:rows, :columns, :rows, :columns]
    grid_hw = cells.shape[0], cells.shape[1]
    n = grid_hw[0] * grid_hw[1]
    pooled, pooled_hw = pooled_cells(cells.reshape(n, n), grid_hw)
    return Looks(query, pooled, pooled_hw)


def pooled_cells(attention: F32, grid_hw: Hw, most: int = MOST_CELLS) -> tuple[F32, Hw]:
    """(n, n) attention of a grid's cells among themselves, on a grid of at most `most` cells, and that grid.

    Neighbours look as one, by their mean; they are looked at as one, by their sum: so rows that sum to 1 still do.
    """
    rows, columns = grid_hw
    step = 1
    while -(-rows // step) * -(-columns // step) > most:
        step += 1
    if step == 1:
        return attention, grid_hw
    small = -(-rows // step), -(-columns // step)
    at = (np.arange(rows)[:, None] // step * small[1] + np.arange(columns) // step).ravel()
    into = np.zeros((small[0] * small[1], rows * columns), np.float32)
    into[at, np.arange(rows * columns)] = 1
    mean = into / into.sum(axis=1, keepdims=True)
    return mean @ attention @ into.T, small


def _content(grid_hw: Hw, share: tuple[float, float]) -> Hw:
    """Rows and columns of the grid that hold content, at least one of each."""
    rows, columns = (max(1, int(np.ceil(n * part - 1e-6))) for n, part in zip(grid_hw, share, strict=True))
    return rows, columns
