"""The life of a track as TrackFormer's authors have it, as a value: what to feed the network, what its answer means.

Source: Meinhardt et al. 2022 and its tracker (timmeinhardt/trackformer). A track is a decoder row that lives on:

    object row > birth ──► active ──► score > keep: stays; its hs and box go to the next frame
                             │ ▲
              score <= keep  ▼ │ score > revive
                            lost ──► it has been lost for more than `patience` frames in all: forgotten

While lost it stays a query, with the hs and box it was last seen with. Of two tracks on one object the surer lives and
the other is forgotten at once; an object row on a track, or on a surer object row, is never born. An object is a row
whose likeliest class has a label. Unlike the authors' tracker this one does not own the network: so streams share a
batch, and their states can wait, move and be replayed. Tracks that find no slot are counted, which theirs never need.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.tasks.detect import known_rules, sigmoid, softmax
from engines.tasks.pictures import content_hw, picture_inputs
from engines.tasks.seats import seat
from streamer.errors import EngineError
from streamer.geometry import cxcywh_from_xyxy, iou_matrix, source_px_from_unit, xyxy_from_cxcywh
from streamer.ports import EngineSpec, Tensors
from streamer.types import F32, I64, Detections, Fit, Frame, Hw, Perception, Tracks, frozen_array


@dataclass(frozen=True, slots=True)
class QueryTrackRules:
    """The life of a track as numbers: scores in 0..1, `patience` in frames, overlaps as IoU. Defaults: the authors'.

    `patience` is how many frames of its life a track may be lost, as the authors count it: being seen again does not
    give them back. Their re-id setting is 5.
    """

    birth: float = 0.4
    keep: float = 0.4
    revive: float = 0.4
    patience: int = 0
    track_overlap: float = 0.9
    birth_overlap: float = 0.9

    @classmethod
    def from_meta(cls, fields: Mapping[str, Any]) -> QueryTrackRules:
        """The rules of a model's card; an unknown name raises EngineError."""
        return cls(**known_rules(cls, fields))


@dataclass(frozen=True, slots=True)
class QueryTrackState:
    """One stream between two frames: K slots and what the network remembers of the last picture; arrays read-only.

    `hs` f32 (K, D) queries; `boxes_cxcywh` f32 (K, 4) in 0..1 of the source's picture; `valid` (K,) bool, of which
    `active` (K,) were seen in the last frame; `ids`, `lost` (frames lost so far in its life), `ages` i64 (K,).
    `memory` f32 (S, D), or (0, 0) for a network that remembers no picture; it means something if `memory_hw`, rows and
    columns of the engine's picture that were content, is not None. `next_id` is the next newborn's; `evicted` counts
    lost tracks that gave their slot to a newborn, `refused` newborns without a slot.
    """

    hs: F32
    boxes_cxcywh: F32
    valid: NDArray[np.bool_]
    active: NDArray[np.bool_]
    ids: I64
    lost: I64
    ages: I64
    memory: F32
    memory_hw: Hw | None = None
    next_id: int = 1
    evicted: int = 0
    refused: int = 0

    @classmethod
    def empty(cls, slots: int, dim: int, memory_shape: tuple[int, int] = (0, 0)) -> QueryTrackState:
        """No tracks and no picture: how every epoch starts."""
        no_numbers = frozen_array(np.zeros(slots, np.int64))
        none = frozen_array(np.zeros(slots, bool))
        return cls(
            hs=frozen_array(np.zeros((slots, dim), np.float32)),
            boxes_cxcywh=frozen_array(np.zeros((slots, 4), np.float32)),
            valid=none,
            active=none,
            ids=no_numbers,
            lost=no_numbers,
            ages=no_numbers,
            memory=frozen_array(np.zeros(memory_shape, np.float32)),
        )


class QueryTrackTask:
    """Implements `streamer.ports.StagedTask` for both TrackFormers (engines/models/trackformer*.py)."""

    stateful = True

    def __init__(
        self,
        *,
        labels: Sequence[str],
        input_hw: Hw,
        slots: int,
        dim: int,
        memory_shape: tuple[int, int] = (0, 0),
        fit: Fit = Fit.PAD,
        scores: str = "sigmoid",
        overflow_boxes: bool = True,
        rules: QueryTrackRules | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.slots = slots
        self.fit = fit
        self.rules = rules or QueryTrackRules()
        self._input_hw = input_hw
        self._softmax, self._overflow = scores == "softmax", overflow_boxes
        self._empty = QueryTrackState.empty(slots, dim, memory_shape)

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> QueryTrackTask:
        """The task of an engine: shapes from its tensors, the reading from its config, rules from its card."""
        shapes = {t.name: t.shape for t in spec.inputs}
        config = spec.meta.get("config", {})
        try:
            _, slots, dim = shapes["track_hs"]
            labels, fit, scores = spec.meta["labels"], Fit(config["fit"]), config["scores"]
            overflow = config["overflow_boxes"]
        except KeyError as error:
            raise EngineError(f"{error} is missing: this engine cannot track", where=spec.name) from None
        _, cells, width = shapes.get("prev_memory", (-1, 0, 0))
        return cls(
            labels=labels,
            input_hw=spec.input_hw,
            slots=slots,
            dim=dim,
            memory_shape=(cells, width),
            fit=fit,
            scores=scores,
            overflow_boxes=overflow,
            rules=QueryTrackRules.from_meta(spec.meta.get("track", {})),
        )

    @property
    def input_hw(self) -> Hw:
        return self._input_hw

    def initial_state(self) -> QueryTrackState:
        """No tracks; the first id is 1."""
        return self._empty

    def preprocess(
        self, frames: Sequence[Frame], states: Sequence[QueryTrackState]
    ) -> dict[str, NDArray[Any]]:
        """Pack B frames and their streams' states into one batch."""
        if len(frames) != len(states):
            raise ValueError(f"{len(frames)} frames with {len(states)} states")
        contents = [content_hw(frame, self._input_hw, self.fit) for frame in frames]
        return {**self.look_inputs(frames), **self._packed(states, contents)}

    def look_inputs(self, frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
        """Pack B frames, of whatever streams: the stage that knows no tracks."""
        return picture_inputs(frames, self._input_hw, self.fit, ("content_hw",))

    def follow_inputs(
        self, looked: Sequence[Tensors], frames: Sequence[Frame], states: Sequence[QueryTrackState]
    ) -> dict[str, NDArray[Any]]:
        """Pack what `look` said of B frames, and their streams' states."""
        if len(looked) != len(states) or not looked:
            raise ValueError(f"{len(looked)} looks with {len(states)} states")
        contents = [(int(look["extent_hw"][0]), int(look["extent_hw"][1])) for look in looked]
        stacked = {name: np.stack([look[name] for look in looked]) for name in looked[0]}
        return {**stacked, **self._packed(states, contents)}

    def _packed(self, states: Sequence[QueryTrackState], contents: Sequence[Hw]) -> dict[str, NDArray[Any]]:
        """States as the graph's inputs. A remembered picture whose content lay otherwise is of no use now."""
        packed: dict[str, NDArray[Any]] = {
            "track_hs": np.stack([s.hs for s in states]),
            "track_boxes": np.stack([s.boxes_cxcywh for s in states]),
            "track_valid": np.stack([s.valid for s in states]).astype(np.float32),
        }
        if self._empty.memory.size:
            same = [s.memory_hw == now for s, now in zip(states, contents, strict=True)]
            packed["prev_memory"] = np.stack([s.memory for s in states])
            packed["prev_valid"] = np.array(same, np.float32)
        return packed

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[QueryTrackState]
    ) -> list[tuple[Perception, QueryTrackState]]:
        """Each frame's objects, and each stream's state for its next frame. Rows of the batch never meet."""
        if not len(frames) == len(states) == len(outputs["pred_logits"]):
            raise ValueError(
                f"{len(frames)} frames, {len(states)} states, {len(outputs['pred_logits'])} answers"
            )
        return [
            self._follow({name: rows[b] for name, rows in outputs.items()}, frame, state)
            for b, (frame, state) in enumerate(zip(frames, states, strict=True))
        ]

    def _follow(
        self, answer: Mapping[str, NDArray[Any]], frame: Frame, state: QueryTrackState
    ) -> tuple[Perception, QueryTrackState]:
        """One frame of one stream: decide who lives, then say it twice, for the reader and for the next frame."""
        rules, k = self.rules, self.slots
        scores, labels = self._best(answer["pred_logits"])  # (N,) each
        corners = xyxy_from_cxcywh(answer["pred_boxes"])  # (N, 4) in 0..1
        if not self._overflow:
            corners = np.clip(corners, 0.0, 1.0)
        solid = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])  # False for NaN too
        real = solid & (labels < len(self.labels))

        seen = state.valid & real[:k] & (scores[:k] > np.where(state.active, rules.keep, rules.revive))
        lost = state.lost + (state.valid & ~seen)
        waiting = state.valid & ~seen & (lost <= rules.patience)
        kept = survivors(np.flatnonzero(seen), corners, scores, rules.track_overlap)
        born = k + np.flatnonzero(real[k:] & (scores[k:] > rules.birth))
        born = survivors(born, corners, scores, rules.birth_overlap, standing=kept)
        held = waiting.copy()
        held[kept] = True
        slots, rows, evicted, refused = seat(np.concatenate([kept, born]), scores, held, k)

        new = rows >= k
        ids, ages = state.ids[slots], state.ages[slots] + 1
        ids[new] = state.next_id + rows[new].argsort().argsort()  # in the order of the object queries
        ages[new] = 0
        after = self._after(state, slots, rows, answer["next_hs"], corners, waiting, lost)
        after.update(ids=_renewed(state.ids, slots, ids))
        after.update(ages=_renewed(state.ages + state.valid, slots, ages))
        if "next_memory" in answer:
            after.update(memory=frozen_array(answer["next_memory"]))
            after.update(memory_hw=content_hw(frame, self._input_hw, self.fit))
        detections = Detections(
            boxes_xyxy=frozen_array(source_px_from_unit(corners[rows], frame.source_hw)),
            scores=frozen_array(scores[rows]),
            labels=frozen_array(labels[rows]),
        )
        tracks = Tracks(detections, frozen_array(ids), frozen_array(ages))
        return Perception(tracks, self.labels), dataclasses.replace(
            state,
            **after,
            next_id=state.next_id + int(new.sum()),
            evicted=state.evicted + evicted,
            refused=state.refused + refused,
        )

    def _best(self, logits: F32) -> tuple[F32, I64]:
        """Each row's likeliest class and its score: (N, C) to f32 (N,), i64 (N,). "Nothing" is no class."""
        shares = softmax(logits)[:, :-1] if self._softmax else sigmoid(logits)
        labels = shares.argmax(axis=1)
        return np.take_along_axis(shares, labels[:, None], axis=1)[:, 0], labels.astype(np.int64)

    def _after(
        self,
        state: QueryTrackState,
        slots: I64,
        rows: I64,
        next_hs: F32,
        corners: F32,
        waiting: NDArray[np.bool_],
        lost: I64,
    ) -> dict[str, Any]:
        """The slots of the next frame: the n seen ones renewed from their rows, the lost ones as they were."""
        active = np.zeros(self.slots, bool)
        active[slots] = True
        born = slots[rows >= self.slots]
        return {
            "hs": _renewed(state.hs, slots, next_hs[rows]),
            "boxes_cxcywh": _renewed(state.boxes_cxcywh, slots, cxcywh_from_xyxy(corners[rows])),
            "valid": frozen_array(waiting | active),
            "active": frozen_array(active),
            "lost": _renewed(lost, born, np.zeros(len(born), np.int64)),
        }


def survivors(rows: I64, corners: F32, scores: F32, overlap: float, standing: I64 | None = None) -> I64:
    """Those of `rows` that overlap no surer one of them, and none of `standing`, by more than `overlap`; in order.

    `corners` (N, 4) xyxy and `scores` (N,) are all rows'. Non-maximum suppression, in which the standing never die.
    """
    if not len(rows):
        return rows
    order = rows[np.argsort(-scores[rows], kind="stable")]
    clash = iou_matrix(corners[order], corners[order]) > overlap  # (n, n)
    alive = np.ones(len(order), bool)
    if standing is not None and len(standing):
        alive &= ~(iou_matrix(corners[order], corners[standing]) > overlap).any(axis=1)
    for i in np.flatnonzero(np.tril(clash, -1).any(axis=1)):
        alive[i] &= not (clash[i, :i] & alive[:i]).any()
    return np.sort(order[alive])


def _renewed(old: NDArray[Any], at: I64, new: NDArray[Any]) -> NDArray[Any]:
    """A read-only copy of `old` with `new` at the slots `at`."""
    made = old.copy()
    made[at] = new
    return frozen_array(made)
