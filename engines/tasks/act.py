"""The act task: what is being done in a stream, judged over a ring of past frames' features. Numpy only.

Clips are made of time stamps, not of frame counts: a frame becomes part of the clip when `stride_s` have passed since
the one before it in the ring: cameras of 10 and of 60 frames a second are judged alike, and as the model was trained.
Frames between are seen but not judged: for them the last answer stands, a little longer. (A stream's `max_fps` of
1 / stride_s spares their pictures the backbone.) All memory is in `ActState`:

    a frame ─► a gap, or time ran back? ─► forget all
            ─► due? ─► judge the ring and it ─► enough frames? ─► the likeliest actions; it joins the ring
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.tasks.pictures import picture_inputs
from engines.tasks.scene import NO_TRACKS, fit_of, likeliest, rules_of
from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors
from streamer.types import F32, I64, Action, Fit, Frame, FrameRef, Hw, Perception, frozen_array

WRAP = 1 << 24  # ticks are counted modulo this, so that they fit any integer a backend computes in
ROUNDING_S = 1e-3  # by which time stamps of a coarse time base may come early


@dataclass(frozen=True, slots=True)
class ActRules:
    """`top` actions of `min_score` (0..1) or more are named, once a clip has `min_frames` frames (0: half of it).

    A pause longer than `gap_s` seconds (0: six strides) ends the clip.
    """

    top: int = 3
    min_score: float = 0.1
    min_frames: int = 0
    gap_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One class that is named now: its number, its score, and the wall time since when it has been named."""

    label: int
    score: float
    start_wall_ns: int


@dataclass(frozen=True, slots=True)
class ActState:
    """One stream's clip: the last `known` of T - 1 places are filled, the oldest first; arrays read-only.

    `ring` f32 (T - 1, D) features, `ticks` i64 (T - 1,) their places in time modulo WRAP, `last_s` the newest one's
    time in seconds; `judged` what was said last, the likeliest first.
    """

    ring: F32
    ticks: I64
    known: int = 0
    last_s: float = 0.0
    judged: tuple[Judged, ...] = ()


class ActTask:
    """Implements `streamer.ports.StagedTask` for graphs with VTN's tensors (see engines/models/vtn_stages.py)."""

    stateful = True

    def __init__(
        self,
        *,
        labels: Sequence[str],
        input_hw: Hw,
        frames: int,
        dim: int,
        stride_s: float,
        position_hz: float,
        fit: Fit = Fit.CROP,
        rules: ActRules | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.fit = fit
        self.rules = rules or ActRules()
        self.stride_s, self.position_hz = stride_s, position_hz
        self._input_hw = input_hw
        self.min_frames = self.rules.min_frames or (frames + 1) // 2
        self.gap_s = self.rules.gap_s or 6 * stride_s
        if not 1 <= self.min_frames <= frames:
            raise EngineError(f"a clip of {frames} frames never has {self.min_frames}", where="min_frames")
        if self.gap_s < stride_s:
            raise EngineError(f"with a stride of {stride_s} s every frame comes after a gap", where="gap_s")
        ring, ticks = np.zeros((frames - 1, dim), np.float32), np.zeros(frames - 1, np.int64)
        self._empty = ActState(frozen_array(ring), frozen_array(ticks))

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> ActTask:
        """The task of an engine: shapes from its tensors, timing from its config, rules (`meta["act"]`) from its card.

        Raises EngineError where one of these is missing.
        """
        shapes = {t.name: t.shape for t in spec.inputs}
        config = spec.meta.get("config", {})
        try:
            _, earlier, dim = shapes["ring"]
            return cls(
                labels=spec.meta["labels"],
                input_hw=spec.input_hw,
                frames=earlier + 1,
                dim=dim,
                stride_s=float(config["stride_s"]),
                position_hz=float(config["position_hz"]),
                fit=fit_of(spec),
                rules=rules_of(spec, "act", ActRules),
            )
        except KeyError as error:
            raise EngineError(f"{error} is missing: this engine judges no clips", where=spec.name) from None

    @property
    def input_hw(self) -> Hw:
        return self._input_hw

    def initial_state(self) -> ActState:
        """Nothing seen."""
        return self._empty

    def preprocess(self, frames: Sequence[Frame], states: Sequence[ActState]) -> dict[str, NDArray[Any]]:
        """Pictures, their ticks, and the streams' rings."""
        if len(frames) != len(states):
            raise ValueError(f"{len(frames)} frames with {len(states)} states")
        looked = self.look_inputs(frames)
        rings = self._rings(looked["tick"], states)
        return {**looked, "tick": rings.pop("position"), **rings}

    def look_inputs(self, frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
        """Pictures of whatever streams, and their ticks, which `look` hands on as `position`."""
        ticks = np.array([self._tick(frame.ref) for frame in frames], np.int64)
        return {**picture_inputs(frames, self._input_hw, self.fit, ()), "tick": ticks}

    def follow_inputs(
        self, looked: Sequence[Tensors], frames: Sequence[Frame], states: Sequence[ActState]
    ) -> dict[str, NDArray[Any]]:
        """What `look` said of B frames, and their streams' rings; positions count from each clip's oldest frame."""
        if len(looked) != len(states) or not looked:
            raise ValueError(f"{len(looked)} looks with {len(states)} states")
        ticks = np.array([int(look["position"]) for look in looked], np.int64)
        return {"feature": np.stack([look["feature"] for look in looked]), **self._rings(ticks, states)}

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[ActState]
    ) -> list[tuple[Perception, ActState]]:
        """What each stream does, and its clip for the next frame. Rows of the batch never meet."""
        if not len(frames) == len(states) == len(outputs["logits"]):
            raise ValueError(f"{len(frames)} frames, {len(states)} states, {len(outputs['logits'])} answers")
        rows = zip(outputs["logits"], outputs["next_feature"], frames, states, strict=True)
        return [self._judge(logits, feature, frame, state) for logits, feature, frame, state in rows]

    def _judge(self, logits: F32, feature: F32, frame: Frame, state: ActState) -> tuple[Perception, ActState]:
        tick, now_s, wall_ns = self._tick(frame.ref), _seconds(frame.ref), frame.ref.wall_ns
        if self._is_over(state, tick):
            state = self._empty
        if not state.known or now_s - state.last_s >= self.stride_s - ROUNDING_S:
            judged: tuple[Judged, ...] = ()
            if state.known + 1 >= self.min_frames:
                since = {one.label: one.start_wall_ns for one in state.judged}
                classes, scores = likeliest(logits, self.rules.top, self.rules.min_score)
                judged = tuple(
                    Judged(label, score, since.get(label, wall_ns))
                    for label, score in zip(classes.tolist(), scores.tolist(), strict=True)
                )
            state = ActState(
                ring=frozen_array(np.concatenate([state.ring[1:], feature[None]])),
                ticks=frozen_array(np.concatenate([state.ticks[1:], [tick]])),
                known=min(state.known + 1, len(state.ring)),
                last_s=now_s,
                judged=judged,
            )
        actions = tuple(
            Action(self.labels[one.label], one.score, None, one.start_wall_ns, wall_ns)
            for one in state.judged
        )
        return Perception(NO_TRACKS, (), actions=actions), state

    def _rings(self, ticks: I64, states: Sequence[ActState]) -> dict[str, NDArray[Any]]:
        """The clips of B streams as the graph's inputs, and the frames' positions in them."""
        live = [self._empty if self._is_over(s, int(t)) else s for t, s in zip(ticks, states, strict=True)]
        earlier = len(self._empty.ring)
        known = np.array([s.known for s in live])
        valid = np.arange(earlier) >= earlier - known[:, None]  # (B, T - 1)
        stamps = np.concatenate([np.stack([s.ticks for s in live]), ticks[:, None]], axis=1)  # (B, T)
        oldest = np.take_along_axis(stamps, (earlier - known)[:, None], axis=1)
        places = (stamps - oldest) % WRAP
        return {
            "position": np.ascontiguousarray(places[:, -1]),
            "ring": np.stack([s.ring for s in live]),
            "ring_positions": np.where(valid, places[:, :-1], 0),
            "ring_valid": valid.astype(np.float32),
        }

    def _is_over(self, state: ActState, tick: int) -> bool:
        """Whether the clip so far ended before this frame: it comes too late, or from before the clip's newest."""
        if not state.known:
            return False
        passed = (tick - int(state.ticks[-1])) % WRAP  # of time that runs back nearly WRAP
        return passed > self.gap_s * self.position_hz

    def _tick(self, ref: FrameRef) -> int:
        return round(_seconds(ref) * self.position_hz) % WRAP


def _seconds(ref: FrameRef) -> float:
    return float(ref.pts * ref.time_base)
