"""The panoptic task: every pixel to one segment: a thing, which is an object of its own, or stuff, which is a class.

Source: Carion et al. 2020, section 4.4. Queries that are not sure are left out; each pixel goes to the mask that wants
it most; masks of one kind of stuff become one; segments of a few pixels are dropped, and their pixels go to the others.

Two places where it is not the published code. That code drops the masks it has merged, and gives their pixels to
whichever other mask is next (seen: a person of 4 cells that takes half of a road); here they stay with the first of
their kind, as the paper says. And there each pixel goes to some mask even if none wants it; here, with `mask` above 0,
it stays unlabelled, since half of a street often is nothing that was learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.tasks.detect import (
    Associator,
    DetectTask,
    identified,
    known_rules,
    reading_of,
    softmax,
)
from engines.tasks.pictures import content_hw, grown, picture_inputs
from streamer.errors import EngineError
from streamer.masks import rle_from_mask
from streamer.ports import EngineSpec, Tensors
from streamer.types import F32, I64, Detections, Fit, Frame, Hw, Perception, frozen_array

UNLABELLED = "unlabelled"  # the semantic map's class 0
NOBODY = -1  # the segment of a pixel that no mask wants


@dataclass(frozen=True, slots=True)
class PanopticRules:
    """What counts: `threshold` of a query's score, `mask` of a pixel's share, both in 0..1; `smallest` in pixels.

    With `mask` 0 every pixel goes to some segment, as in the published evaluation. A segment of `smallest` pixels of
    the engine's picture or fewer is dropped.
    """

    threshold: float = 0.85
    mask: float = 0.5
    smallest: int = 4

    @classmethod
    def from_meta(cls, fields: Mapping[str, Any]) -> PanopticRules:
        """The rules of a model's card; an unknown name raises EngineError."""
        return cls(**known_rules(cls, fields))


class PanopticTask:
    """Implements `streamer.ports.Task` for graphs with DETR's tensors and masks (see engines/models/detr_masks.py).

    Things become detections with masks, which partition the picture; things and stuff fill the semantic map.
    Without an associator `track_ids` are -1 and `ages` 0.
    """

    def __init__(
        self,
        *,
        things: int,
        rules: PanopticRules | None = None,
        associator: Associator | None = None,
        **reading: Any,
    ) -> None:
        """`things`: labels below it are things. `reading`: labels, input_hw, fit … as DetectTask takes them."""
        self._detect = DetectTask(**reading)
        if len(self._detect.labels) > 254:
            raise EngineError(f"{len(self._detect.labels)} classes do not fit into a map of bytes")
        self.things = things
        self.rules = rules or PanopticRules()
        self.associator = associator
        self._names = tuple(reading.get("input_names", ("images",)))
        self.semantic_names = (UNLABELLED, *self._detect.labels)

    @classmethod
    def from_spec(cls, spec: EngineSpec, associator: Associator | None = None) -> PanopticTask:
        """The task of an engine: shapes and labels from its config, rules (`meta["panoptic"]`) from its card."""
        missing = {"pred_logits", "pred_boxes", "pred_masks", "mask_queries"} - {t.name for t in spec.outputs}
        if missing:
            raise EngineError(f"it answers no {min(missing)}: this engine cannot segment", where=spec.name)
        reading = reading_of(spec)
        return cls(
            things=spec.meta.get("config", {}).get("things", len(reading["labels"])),
            rules=PanopticRules.from_meta(spec.meta.get("panoptic", {})),
            associator=associator,
            **reading,
        )

    @property
    def stateful(self) -> bool:
        """Only with an associator."""
        return self.associator is not None

    @property
    def input_hw(self) -> Hw:
        return self._detect.input_hw

    @property
    def fit(self) -> Fit:
        return self._detect.fit

    def initial_state(self) -> Any:
        """The associator's, or None."""
        return self.associator.initial_state() if self.associator else None

    def preprocess(self, frames: Sequence[Frame], states: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """Pack B frames into one batch."""
        if len(frames) != len(states):
            raise ValueError(f"{len(frames)} frames with {len(states)} states")
        return picture_inputs(frames, self.input_hw, self.fit, self._names)

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[Any]
    ) -> list[tuple[Perception, Any]]:
        """Each frame's things, the surest first, and its map. Rows of the batch never meet."""
        if not len(frames) == len(states) == len(outputs["pred_logits"]):
            raise ValueError(
                f"{len(frames)} frames, {len(states)} states, {len(outputs['pred_logits'])} answers"
            )
        return [
            self._one({name: rows[b] for name, rows in outputs.items()}, frame, state)
            for b, (frame, state) in enumerate(zip(frames, states, strict=True))
        ]

    def _one(self, answer: Mapping[str, NDArray[Any]], frame: Frame, state: Any) -> tuple[Perception, Any]:
        chosen = answer["mask_queries"]
        shares = softmax(answer["pred_logits"][chosen])  # (K, C + 1)
        labels, scores = shares.argmax(axis=1), shares.max(axis=1)
        kept = np.flatnonzero((labels < shares.shape[1] - 1) & (scores > self.rules.threshold))
        labels, scores = labels[kept].astype(np.int64), scores[kept]
        hw = content_hw(frame, self.input_hw, self.fit)
        segments = self.segments(grown(answer["pred_masks"][kept], self.input_hw, hw), labels)

        semantic = np.zeros(hw, np.uint8)
        claimed = segments != NOBODY
        semantic[claimed] = (labels[segments[claimed]] + 1).astype(np.uint8)

        corners, solid = self._detect.corners_px(answer["pred_boxes"][chosen[kept]], frame)
        present = np.bincount(segments[claimed], minlength=len(kept)) > 0
        rows = np.flatnonzero(present & solid & (labels < self.things))
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        detections = Detections(
            frozen_array(corners[rows]),
            frozen_array(scores[rows]),
            frozen_array(labels[rows]),
            tuple(rle_from_mask(segments == row) for row in rows),
        )
        tracks, after = identified(detections, self.associator, state)
        seen = Perception(
            tracks, self._detect.labels, semantic=frozen_array(semantic), semantic_names=self.semantic_names
        )
        return seen, after

    def segments(self, logits: F32, labels: I64) -> I64:
        """Which mask each pixel goes to: logits (N, rows, columns), labels (N,) to i64 (rows, columns), or NOBODY."""
        n = len(labels)
        first = np.arange(n)  # the mask that stands for each: for stuff, the first of its class
        for i in range(n):
            if labels[i] >= self.things:
                first[i] = np.flatnonzero(labels == labels[i])[0]
        wanted = math.log(self.rules.mask / (1 - self.rules.mask)) if self.rules.mask > 0 else -math.inf
        alive = np.arange(n)
        while len(alive):
            winner = logits[alive].argmax(axis=0)
            segments: I64 = first[alive[winner]]
            if self.rules.mask > 0:
                segments[np.take_along_axis(logits[alive], winner[None], axis=0)[0] <= wanted] = NOBODY
            area = np.bincount(segments[segments != NOBODY], minlength=n)
            small = area[first[alive]] <= self.rules.smallest
            if not small.any():
                return segments
            alive = alive[~small]
        return np.full(logits.shape[1:], NOBODY, np.int64)
