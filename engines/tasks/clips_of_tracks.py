"""The clip of every track and of the whole stream: rings of past frames' features, from which actions are judged.

As in `act`, clips are made of time stamps and not of frame counts: a frame's feature joins a ring when the model's
stride has passed since the last that joined it. The graph is told how long ago each was, so that a late frame, or the
gap of a track that was lost for a while, is seen for what it is. A longer gap, and time that runs back, end a clip.

Row 0 is the stream's own ring, row 1 + k that of track slot k; the oldest first, what is not filled yet in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.tasks.act import ROUNDING_S
from streamer.errors import EngineError
from streamer.types import F32, I64, FrameRef, frozen_array

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Clips:
    """One stream's rings between two frames, arrays read-only; R = 1 + K rings of T - 1 places.

    `ring` f32 (R, T - 1, F); `times_ns` i64 (R, T - 1) stream time of each; `valid` bool (R, T - 1).
    """

    ring: F32
    times_ns: I64
    valid: NDArray[np.bool_]

    @classmethod
    def empty(cls, rings: int, earlier: int, dim: int) -> Clips:
        """Nothing remembered; with `earlier` 0 there never will be."""
        return cls(
            frozen_array(np.zeros((rings, earlier, dim), np.float32)),
            frozen_array(np.zeros((rings, earlier), np.int64)),
            frozen_array(np.zeros((rings, earlier), bool)),
        )

    @property
    def known(self) -> I64:
        """How many places of each ring are filled, (R,)."""
        known: I64 = self.valid.sum(axis=1)
        return known


NO_CLIPS = Clips.empty(0, 0, 0)


@dataclass(frozen=True, slots=True)
class ClipTiming:
    """`stride_s` seconds lie between two frames of a clip; `hz` ticks a second count how long ago one was.

    A pause longer than `gap_s` seconds (0: six strides) ends a clip.
    """

    stride_s: float
    hz: float
    gap_s: float = 0.0

    def __post_init__(self) -> None:
        if self.gap_ns < self.stride_ns:
            raise EngineError(
                f"with a stride of {self.stride_s} s every frame comes after a gap", where="gap_s"
            )

    @property
    def stride_ns(self) -> int:
        return round((self.stride_s - ROUNDING_S) * NS)

    @property
    def gap_ns(self) -> int:
        return round((self.gap_s or 6 * self.stride_s) * NS)

    def living(self, clips: Clips, now_ns: int) -> Clips:
        """The clips that a frame of this time can go on with; those that ended are empty."""
        passed = now_ns - clips.times_ns[:, -1]
        over = clips.valid[:, -1] & ((passed > self.gap_ns) | (passed < 0))
        if not over.any():
            return clips
        return Clips(clips.ring, clips.times_ns, frozen_array(clips.valid & ~over[:, None]))

    def packed(self, clips: Sequence[Clips], now_ns: Sequence[int]) -> dict[str, NDArray[Any]]:
        """B streams' living clips as the graph's inputs, for frames of these times."""
        valid = np.stack([c.valid for c in clips])  # (B, R, T - 1)
        times = np.stack([c.times_ns for c in clips])
        passed_s = (np.asarray(now_ns, np.int64)[:, None, None] - times) * 1e-9
        ticks = np.rint(passed_s * self.hz).astype(np.int64)
        return {
            "ring": np.stack([c.ring for c in clips]),
            "ring_age": np.where(valid, np.maximum(ticks, 1), 1),
            "ring_valid": valid.astype(np.float32),
        }

    def joined(
        self, clips: Clips, rings: I64, features: F32, fresh: I64, held: NDArray[np.bool_], now_ns: int
    ) -> Clips:
        """The clips after a frame of this time, whose `features` (n, F) are to join `rings` (n,) where that is due.

        `fresh` rings are another track's from now on and forget what was; rings that nobody holds, bool (R,), too.
        """
        valid = clips.valid & held[:, None]
        valid[fresh] = False
        due = ~valid[rings, -1] | (now_ns - clips.times_ns[rings, -1] >= self.stride_ns)
        rings = rings[due]
        if not len(rings):
            return Clips(clips.ring, clips.times_ns, frozen_array(valid))
        ring, times_ns = clips.ring.copy(), clips.times_ns.copy()
        for array, newest in ((ring, features[due]), (times_ns, now_ns), (valid, True)):
            array[rings, :-1] = array[rings, 1:]
            array[rings, -1] = newest
        return Clips(frozen_array(ring), frozen_array(times_ns), frozen_array(valid))


def stream_ns(ref: FrameRef) -> int:
    """A frame's time in its stream, nanoseconds."""
    return ref.pts * ref.time_base.numerator * NS // ref.time_base.denominator
