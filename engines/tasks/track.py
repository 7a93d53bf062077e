"""The track task: what to feed a query tracker, and what its answer means. Pure numpy; all memory is in `TrackState`.

A track is a decoder row that lives on. Its life, frame by frame:

    object row > birth ──► active ──► score > keep: stays; its new query and box go to the next frame
                             │ ▲
              score <= keep  ▼ │ score > keep again: revives with the same id
                            lost ──► more than `patience` frames: forgotten

While lost it stays a query, with the query and the box it was last seen with. An object row that overlaps a kept track
is that track seen twice, so it is never born; two tracks that fell onto one object are settled for the one that was
there the frame before. This is the hot path: one set of numpy calls a frame, few of them per track.

A model may have more heads than boxes and masks; the task says what there is: a map of classes, the key points of
persons, and what each person does, judged over a clip of the track's past (`clips_of_tracks`, `track_actions`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.tasks.clips_of_tracks import NO_CLIPS, Clips
from engines.tasks.instance_masks import masks_in_boxes
from engines.tasks.seats import seat
from engines.tasks.track_actions import NOBODY, Acting
from engines.tasks.track_heads import Heads
from streamer.errors import EngineError
from streamer.geometry import iou_matrix, source_px_from_unit, xyxy_from_cxcywh
from streamer.ports import EngineSpec, Tensors
from streamer.types import F32, I64, Detections, Fit, Frame, Hw, Perception, Tracks, frozen_array

PERSON = "person"  # the label whose objects have key points and do things


@dataclass(frozen=True, slots=True)
class TrackRules:
    """The life of a track as numbers: scores in 0..1, `patience` in frames, overlaps as IoU.

    Chosen on streets of seeds neither trained nor reported on (900200 to 900207, 100 frames each, the shipped weights):
    MOTA .865 and IDF1 .835 with these; patience 10 gives .867, .844 and 20 gives .863, .831, which is no clear gain;
    keep .4 .844, .835; birth .5 .854, .825 and .7 .847, .833; duplicate_iou .5 .862, .830.
    """

    birth: float = 0.6
    keep: float = 0.5
    patience: int = 5
    duplicate_iou: float = 0.4  # an object row that overlaps a kept track this much is that track again
    collapse_iou: float = 0.7  # two kept tracks that overlap this much are on one object
    vote: float = 0.3  # share of the newest frame in a track's class scores: steadies its label

    @classmethod
    def from_meta(cls, fields: Mapping[str, Any]) -> TrackRules:
        """The rules of a model's card; an unknown name raises EngineError."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise EngineError(
                f"unknown track rule {unknown[0]!r}", mend=f"the rules are {', '.join(sorted(known))}"
            )
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class TrackState:
    """One stream's tracks between two frames: K slots, all arrays read-only.

    `hs` f32 (K, D) queries; `boxes_cxcywh` f32 (K, 4) in 0..1; `valid` bool (K,); `ids`, `miss`, `age` i64 (K,):
    identity, frames since last seen, frames since birth; `votes` f32 (K, C) smoothed class scores. `next_id` is the
    next newborn's. `evicted` counts lost tracks that gave their slot to a newborn, `refused` newborns without a slot.
    `clips` are the rings of a model that judges actions, `acting` what is being done; both empty without one.
    """

    hs: F32
    boxes_cxcywh: F32
    valid: NDArray[np.bool_]
    ids: I64
    miss: I64
    age: I64
    votes: F32
    next_id: int = 1
    evicted: int = 0
    refused: int = 0
    clips: Clips = NO_CLIPS
    acting: Acting = NOBODY

    @classmethod
    def empty(
        cls, slots: int, dim: int, classes: int, clips: Clips = NO_CLIPS, acting: Acting = NOBODY
    ) -> TrackState:
        """No tracks: how every epoch starts."""
        return cls(
            hs=frozen_array(np.zeros((slots, dim), np.float32)),
            boxes_cxcywh=frozen_array(np.zeros((slots, 4), np.float32)),
            valid=frozen_array(np.zeros(slots, bool)),
            ids=frozen_array(np.zeros(slots, np.int64)),
            miss=frozen_array(np.zeros(slots, np.int64)),
            age=frozen_array(np.zeros(slots, np.int64)),
            votes=frozen_array(np.zeros((slots, classes), np.float32)),
            clips=clips,
            acting=acting,
        )


class TrackTask:
    """Implements `streamer.ports.Task` for graphs with the street model's tensors (see engines/models/street.py)."""

    stateful = True
    fit = Fit.STRETCH

    def __init__(
        self,
        *,
        labels: Sequence[str],
        input_hw: Hw,
        slots: int,
        dim: int,
        rules: TrackRules | None = None,
        heads: Heads | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.slots = slots
        self.dim = dim
        self.rules = rules or TrackRules()
        self.heads = heads = heads or Heads()
        self._input_hw = input_hw
        self._person = self.labels.index(PERSON) if PERSON in self.labels else -1
        self._empty = TrackState.empty(slots, dim, len(self.labels), *heads.initial(slots))

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> TrackTask:
        """The task of an engine: shapes from its tensors, labels and rules (`meta["track"]`) from its card."""
        shapes = {t.name: t.shape for t in spec.inputs}
        try:
            _, slots, dim = shapes["track_hs"]
            labels = spec.meta["labels"]
        except KeyError as error:
            raise EngineError(f"{error} is missing: this engine cannot track", where=spec.name) from None
        rules = TrackRules.from_meta(spec.meta.get("track", {}))
        heads = Heads.from_spec(spec)
        return cls(labels=labels, input_hw=spec.input_hw, slots=slots, dim=dim, rules=rules, heads=heads)

    @property
    def input_hw(self) -> Hw:
        return self._input_hw

    def initial_state(self) -> TrackState:
        """No tracks; the first id is 1."""
        return self._empty

    def preprocess(self, frames: Sequence[Frame], states: Sequence[TrackState]) -> dict[str, NDArray[Any]]:
        """Pack B frames and their streams' tracks into one batch."""
        if len(frames) != len(states):
            raise ValueError(f"{len(frames)} frames with {len(states)} states")
        return {**self.look_inputs(frames), **self._packed(frames, states)}

    def look_inputs(self, frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
        """Pack B frames, of whatever streams: the stage that knows no tracks."""
        if not frames:
            raise ValueError("no frames")
        for frame in frames:
            if frame.image.shape != (*self._input_hw, 3):
                raise EngineError(
                    f"a picture of {frame.image.shape} is not {(*self._input_hw, 3)}", where=frame.ref.stream
                )
        return {"images": np.stack([f.image for f in frames])}

    def follow_inputs(
        self, looked: Sequence[Tensors], frames: Sequence[Frame], states: Sequence[TrackState]
    ) -> dict[str, NDArray[Any]]:
        """Pack what `look` said of B frames, and their streams' tracks."""
        if not len(looked) == len(frames) == len(states) or not looked:
            raise ValueError(f"{len(looked)} looks of {len(frames)} frames with {len(states)} states")
        said = {name: np.stack([look[name] for look in looked]) for name in looked[0]}
        return {**said, **self._packed(frames, states)}

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[TrackState]
    ) -> list[tuple[Perception, TrackState]]:
        """Each frame's objects, and each stream's tracks for its next frame. Rows of the batch never meet."""
        if not len(frames) == len(states) == len(outputs["pred_logits"]):
            raise ValueError(
                f"{len(frames)} frames, {len(states)} states, {len(outputs['pred_logits'])} answers"
            )
        return [
            self._follow({name: rows[b] for name, rows in outputs.items()}, frame, state)
            for b, (frame, state) in enumerate(zip(frames, states, strict=True))
        ]

    def corners_px(self, boxes_cxcywh: F32, frame: Frame) -> F32:
        """(N, 4) cxcywh in 0..1, as the graph answers, to xyxy in source pixels, as `postprocess` tells them."""
        return source_px_from_unit(np.clip(xyxy_from_cxcywh(boxes_cxcywh), 0.0, 1.0), frame.source_hw)

    def _follow(
        self, answer: Mapping[str, NDArray[Any]], frame: Frame, state: TrackState
    ) -> tuple[Perception, TrackState]:
        """One frame of one stream: decide who lives, then say it twice, for the reader and for the next frame."""
        rules, k = self.rules, self.slots
        logits, boxes_cxcywh = answer["pred_logits"], answer["pred_boxes"]
        scores = _sigmoid(logits.max(axis=1))  # (K+Q,)
        boxes = np.clip(xyxy_from_cxcywh(boxes_cxcywh), 0.0, 1.0)  # (K+Q, 4) xyxy in 0..1
        solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # False for NaN too

        wanted = np.concatenate([state.valid & (scores[:k] > rules.keep), scores[k:] > rules.birth]) & solid
        rows = self._settle(np.flatnonzero(wanted), boxes, scores, state)
        slots, rows, evicted, refused = seat(rows, scores, state.valid, k)
        kept = rows < k
        born = ~kept

        ids = np.where(kept, state.ids[slots], 0)
        ids[born] = state.next_id + np.arange(born.sum())
        ages = np.where(kept, state.age[slots] + 1, 0)
        fresh = _sigmoid(logits[rows])  # (n, C)
        votes = np.where(kept[:, None], state.votes[slots] + rules.vote * (fresh - state.votes[slots]), fresh)

        after = self._after(state, slots, rows, answer["next_hs"], boxes_cxcywh, ids, ages, votes)
        after = dataclasses.replace(
            after,
            next_id=state.next_id + int(born.sum()),
            evicted=state.evicted + evicted,
            refused=state.refused + refused,
        )
        labels = votes.argmax(axis=1)
        persons = labels == self._person
        actions, clips, acting = self.heads.acts(
            answer, frame.ref, state.clips, state.acting, after.valid, slots, rows, ids, persons
        )
        masks = None
        if "mask_embed" in answer:
            masks = masks_in_boxes(answer["mask_embed"][rows], answer["mask_features"], boxes[rows])
        detections = Detections(
            boxes_xyxy=frozen_array(source_px_from_unit(boxes[rows], frame.source_hw)),
            scores=frozen_array(scores[rows]),
            labels=frozen_array(labels),
            masks=masks,
        )
        perception = Perception(
            Tracks(detections, frozen_array(ids), frozen_array(ages)),
            self.labels,
            semantic=self.heads.semantic(answer),
            keypoints=self.heads.keypoints(answer, frame.source_hw, rows, persons),
            semantic_names=self.heads.semantic_names,
            keypoint_names=self.heads.keypoint_names,
            actions=actions,
        )
        return perception, dataclasses.replace(after, clips=clips, acting=acting)

    def _packed(self, frames: Sequence[Frame], states: Sequence[TrackState]) -> dict[str, NDArray[Any]]:
        """The tracks of B streams as the graph's inputs."""
        tracks = {
            "track_hs": np.stack([s.hs for s in states]),
            "track_boxes": np.stack([s.boxes_cxcywh for s in states]),
            "track_valid": np.stack([s.valid for s in states]).astype(np.float32),
        }
        return {**tracks, **self.heads.inputs(frames, [s.clips for s in states])}

    def _settle(self, rows: I64, boxes: F32, scores: F32, state: TrackState) -> I64:
        """Strike out rows that see an object which a better claimant sees: newborns first, then the later comer."""
        if len(rows) < 2:
            return rows
        k, rules = self.slots, self.rules
        track = rows < k
        present = np.zeros(len(rows), bool)
        present[track] = state.miss[rows[track]] == 0
        order = np.lexsort(
            (-scores[rows], ~present, ~track)
        )  # tracks seen last frame, tracks, newborns; by score
        rows, track = rows[order], track[order]
        overlap = iou_matrix(boxes[rows], boxes[rows])
        limit = np.where(track, rules.collapse_iou, rules.duplicate_iou).astype(
            np.float32
        )  # of the one struck out
        clash = np.tril(overlap >= limit[:, None], -1)  # [later, earlier]
        if not clash.any():
            return rows
        alive = np.ones(len(rows), bool)
        for later in np.flatnonzero(clash.any(axis=1)):
            alive[later] = not (clash[later] & alive).any()
        return rows[alive]

    def _after(
        self,
        state: TrackState,
        slots: I64,
        rows: I64,
        next_hs: F32,
        boxes_cxcywh: F32,
        ids: I64,
        ages: I64,
        votes: F32,
    ) -> TrackState:
        """The next frame's slots: the n seen ones renewed from their rows, the lost ones as they were but older."""
        miss = np.where(state.valid, state.miss + 1, 0)
        miss[slots] = 0
        valid = state.valid & (miss <= self.rules.patience)
        valid[slots] = True
        new_hs, new_boxes = state.hs.copy(), state.boxes_cxcywh.copy()
        new_ids, new_votes = state.ids.copy(), state.votes.copy()
        age = state.age + state.valid
        new_hs[slots] = next_hs[rows]
        new_boxes[slots] = boxes_cxcywh[rows]
        new_ids[slots] = ids
        age[slots] = ages
        new_votes[slots] = votes
        return TrackState(
            hs=frozen_array(new_hs),
            boxes_cxcywh=frozen_array(new_boxes),
            valid=frozen_array(valid),
            ids=frozen_array(new_ids),
            miss=frozen_array(miss),
            age=frozen_array(age),
            votes=frozen_array(new_votes),
        )


def _sigmoid(x: F32) -> F32:
    """Logits to 0..1; large negative ones are clipped before exp can overflow."""
    return (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32, copy=False)
