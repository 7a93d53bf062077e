"""What each person does, and what is done in the scene: from scores a frame to actions that last. Numpy only.

The likeliest action of a single frame flickers where two are alike (a fall begins as a walk). So an action is another
only once that one has won for `switch_s` without a break, and then it began when it first won. A clip that has just
begun says nothing of motion: nobody does anything before `min_frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.errors import EngineError
from streamer.types import F32, I64, Action, frozen_array

NOTHING = -1


@dataclass(frozen=True, slots=True)
class ActionRules:
    """How scores become actions; times in seconds of the stream, scores in 0..1.

    `min_frames` of a clip, the newest counted, must be there (0: half of them); `gap_s` is a pause that ends a clip (0:
    six strides); another action must win for `switch_s`, which two frames of a 12.5 Hz camera do; `scene` is the score
    from which an action is told of the scene.
    """

    min_frames: int = 0
    gap_s: float = 0.0
    switch_s: float = 0.07
    scene: float = 0.5


@dataclass(frozen=True, slots=True)
class Acting:
    """What is being done in a stream, arrays read-only. Times of walls are Unix, of the stream its own, both in ns.

    By slot, i64 (K,): `action` (NOTHING for none) and `since_wall_ns`; the `rival` that wins lately, its first win in
    `rival_ns` (stream) and `rival_wall_ns`. By action, i64 (C,): `scene_wall_ns` since when it is told (NOTHING: not).
    """

    action: I64
    since_wall_ns: I64
    rival: I64
    rival_ns: I64
    rival_wall_ns: I64
    scene_wall_ns: I64

    @classmethod
    def empty(cls, slots: int, actions: int) -> Acting:
        """Nobody does anything."""
        nothing, zero = np.full(slots, NOTHING, np.int64), np.zeros(slots, np.int64)
        nothing, zero = frozen_array(nothing), frozen_array(zero)
        scene = frozen_array(np.full(actions, NOTHING, np.int64))
        return cls(nothing, zero, nothing, zero, zero, scene)


NOBODY = Acting.empty(0, 0)


@dataclass(frozen=True, slots=True)
class ActionJudge:
    """Scores to actions. `labels` name the C actions; a clip has `frames` of them, the newest counted."""

    labels: tuple[str, ...]
    frames: int
    rules: ActionRules = ActionRules()

    def __post_init__(self) -> None:
        if not 1 <= self.min_frames <= self.frames:
            raise EngineError(
                f"a clip of {self.frames} frames never has {self.min_frames}", where="min_frames"
            )

    @property
    def min_frames(self) -> int:
        return self.rules.min_frames or (self.frames + 1) // 2

    def step(
        self,
        acting: Acting,
        logits: F32,
        scene_logits: F32,
        known: I64,
        seen: NDArray[np.bool_],
        now_ns: int,
        wall_ns: int,
    ) -> tuple[Acting, F32, F32]:
        """One frame: who does what now, every slot's score for it (K,), and the scene's scores (C,).

        `logits` (K, C), `scene_logits` (C,); `known` (1 + K,) earlier frames in the clips, the stream's own first;
        `seen` (K,) slots whose track is in this frame.
        """
        warm = known + 1 >= self.min_frames  # (1 + K,)
        judged = seen & warm[1:] & np.isfinite(logits).all(axis=1)
        best = logits.argmax(axis=1)
        challenged = judged & (best != acting.action)
        same = challenged & (best == acting.rival)
        rival_ns = np.where(same, acting.rival_ns, now_ns)
        rival_wall_ns = np.where(same, acting.rival_wall_ns, wall_ns)
        wins = challenged & (now_ns - rival_ns >= round(self.rules.switch_s * 1e9))
        action = np.where(wins, best, np.where(warm[1:], acting.action, NOTHING))
        scene = 1 / (1 + np.exp(-np.clip(scene_logits, -30, 30)))
        told = bool(warm[0]) & (scene >= self.rules.scene)
        since = np.where(acting.scene_wall_ns == NOTHING, wall_ns, acting.scene_wall_ns)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = np.take_along_axis(shifted, action[:, None], axis=1)[:, 0] / shifted.sum(axis=1)
        after = Acting(
            frozen_array(action),
            frozen_array(np.where(wins, rival_wall_ns, acting.since_wall_ns)),
            frozen_array(np.where(challenged & ~wins, best, NOTHING)),
            frozen_array(rival_ns),
            frozen_array(rival_wall_ns),
            frozen_array(np.where(told, since, NOTHING)),
        )
        return after, scores.astype(np.float32), scene.astype(np.float32)

    def told(
        self, acting: Acting, scores: F32, scene: F32, slots: I64, track_ids: Sequence[int], wall_ns: int
    ) -> tuple[Action, ...]:
        """What to say of the tracks in `slots` (n,), called `track_ids`, and of the scene; the likeliest first."""
        of_tracks = zip(
            acting.action[slots].tolist(),
            scores[slots].tolist(),
            track_ids,
            acting.since_wall_ns[slots].tolist(),
            strict=True,
        )
        said = [
            Action(self.labels[action], score, track_id, since, wall_ns)
            for action, score, track_id, since in of_tracks
            if action != NOTHING and np.isfinite(score)
        ]
        said += [
            Action(self.labels[i], float(scene[i]), None, int(acting.scene_wall_ns[i]), wall_ns)
            for i in np.flatnonzero(acting.scene_wall_ns != NOTHING).tolist()
        ]
        return tuple(sorted(said, key=lambda action: -action.score))


def forgotten(acting: Acting, slots: I64) -> Acting:
    """These slots are another track's from now on, which does nothing yet."""
    if not len(slots):
        return acting
    action, rival = acting.action.copy(), acting.rival.copy()
    action[slots] = rival[slots] = NOTHING
    return Acting(
        frozen_array(action),
        acting.since_wall_ns,
        frozen_array(rival),
        acting.rival_ns,
        acting.rival_wall_ns,
        acting.scene_wall_ns,
    )
