"""Who gets a slot: tracks keep theirs, newborns take what is free, then what the weakest lost tracks hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.types import F32, I64


def seat(rows: I64, scores: F32, held: NDArray[np.bool_], slots: int) -> tuple[I64, I64, int, int]:
    """A slot for each of `rows`: those below `slots` are tracks seen, and are their slots; the others are newborn.

    `scores` (N,) are all rows'; `held` bool (slots,) are the slots of tracks seen or lost. To (slots, rows) of equal
    length, the number of lost tracks put out, and of newborns left without a slot.
    """
    kept, born = rows[rows < slots], rows[rows >= slots]
    if not len(born):
        return kept, kept, 0, 0
    born = born[np.argsort(-scores[born], kind="stable")]
    lost = held.copy()
    lost[kept] = False
    free = np.flatnonzero(~held)
    lost_slots = np.flatnonzero(lost)
    lost_slots = lost_slots[np.argsort(scores[lost_slots], kind="stable")]
    seats = np.concatenate([free, lost_slots])[: len(born)]
    seated = born[: len(seats)]
    evicted = max(0, len(seated) - len(free))
    return np.concatenate([kept, seats]), np.concatenate([kept, seated]), evicted, len(born) - len(seated)
