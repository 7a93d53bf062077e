"""The detect task: a picture in, objects out; who they are is for an associator to say, where one is given.

It reads every detector whose answer is `pred_logits` (B, Q, C or C + 1) and `pred_boxes` (B, Q, 4) cxcywh in 0..1. Two
things differ between families, and the model's config names them:

    scores    softmax   the last class is "nothing" (DETR)
              sigmoid   every class for itself (Deformable DETR and all that are trained with a focal loss)
    boxes_of  picture   shares of the engine's picture
              content   shares of the part of it that is not padding (DETR)

A query is one object: it is told once, with its likeliest class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.tasks.pictures import picture_inputs
from streamer.errors import EngineError
from streamer.geometry import source_px_from_unit, xyxy_from_cxcywh
from streamer.ports import EngineSpec, Tensors
from streamer.types import F32, I64, Detections, Fit, Frame, Hw, Perception, Tracks, frozen_array

SCORES = ("softmax", "sigmoid")
BOXES_OF = ("picture", "content")


class Associator(Protocol):
    """Gives detections an identity from frame to frame. Pure: all memory is in the state, a value for each stream."""

    @property
    def lowest(self) -> float:
        """The score below which a detection is of no use to it; all others are shown."""
        ...

    def initial_state(self) -> Any:
        """The state at the start of an epoch."""
        ...

    def associate(self, detections: Detections, state: Any) -> tuple[Tracks, Any]:
        """The tracks among one frame's detections, half-sure ones included, and the state for the next frame."""
        ...


@dataclass(frozen=True, slots=True)
class DetectRules:
    """What counts as seen: detections whose score, 0..1, is above `threshold`.

    An associator is shown the half-sure too, down to its own `lowest`: it knows a half-hidden object by where it was.
    """

    threshold: float = 0.5

    @classmethod
    def from_meta(cls, fields: Mapping[str, Any]) -> DetectRules:
        """The rules of a model's card; an unknown name raises EngineError."""
        return cls(**known_rules(cls, fields))


class DetectTask:
    """Implements `streamer.ports.Task`. Without an associator `track_ids` are -1 and `ages` 0: seen, not followed."""

    def __init__(
        self,
        *,
        labels: Sequence[str],
        input_hw: Hw,
        fit: Fit = Fit.STRETCH,
        scores: str = "softmax",
        boxes_of: str = "picture",
        input_names: Sequence[str] = ("images",),
        rules: DetectRules | None = None,
        associator: Associator | None = None,
    ) -> None:
        if scores not in SCORES or boxes_of not in BOXES_OF:
            raise EngineError(
                f"scores {scores!r} of boxes_of {boxes_of!r} cannot be read",
                where="the model's config",
                mend=f"scores: {' or '.join(SCORES)}; boxes_of: {' or '.join(BOXES_OF)}",
            )
        self.labels = tuple(labels)
        self.fit = fit
        self.rules = rules or DetectRules()
        self.associator = associator
        self._input_hw = input_hw
        self._scores, self._boxes_of, self._names = scores, boxes_of, tuple(input_names)

    @classmethod
    def from_spec(cls, spec: EngineSpec, associator: Associator | None = None) -> DetectTask:
        """The task of an engine: how to read it from its config, rules (`meta["detect"]`) from its card."""
        missing = {"pred_logits", "pred_boxes"} - {t.name for t in spec.outputs}
        if missing:
            raise EngineError(f"it answers no {min(missing)}: this engine cannot detect", where=spec.name)
        return cls(
            **reading_of(spec),
            rules=DetectRules.from_meta(spec.meta.get("detect", {})),
            associator=associator,
        )

    @property
    def stateful(self) -> bool:
        """Only with an associator."""
        return self.associator is not None

    @property
    def input_hw(self) -> Hw:
        return self._input_hw

    def initial_state(self) -> Any:
        """The associator's, or None."""
        return self.associator.initial_state() if self.associator else None

    def preprocess(self, frames: Sequence[Frame], states: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """Pack B frames into one batch."""
        if len(frames) != len(states):
            raise ValueError(f"{len(frames)} frames with {len(states)} states")
        return picture_inputs(frames, self._input_hw, self.fit, self._names)

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[Any]
    ) -> list[tuple[Perception, Any]]:
        """Each frame's objects, the surest first, boxes in source pixels. Rows of the batch never meet."""
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        if not len(frames) == len(states) == len(logits):
            raise ValueError(f"{len(frames)} frames, {len(states)} states, {len(logits)} answers")
        least = self.associator.lowest if self.associator else self.rules.threshold
        answers: list[tuple[Perception, Any]] = []
        for b, (frame, state) in enumerate(zip(frames, states, strict=True)):
            scores, labels = self.best(logits[b])
            corners, solid = self.corners_px(boxes[b], frame)
            rows = np.flatnonzero((scores > least) & solid)
            rows = rows[np.argsort(-scores[rows], kind="stable")]
            detections = Detections(
                frozen_array(corners[rows]), frozen_array(scores[rows]), frozen_array(labels[rows])
            )
            tracks, after = identified(detections, self.associator, state)
            answers.append((Perception(tracks, self.labels), after))
        return answers

    def best(self, logits: F32) -> tuple[F32, I64]:
        """Each query's likeliest class that is not "nothing": (Q, C or C + 1) to scores f32 (Q,), labels i64 (Q,)."""
        shares = softmax(logits)[:, :-1] if self._scores == "softmax" else sigmoid(logits)
        labels = shares.argmax(axis=1)
        return np.take_along_axis(shares, labels[:, None], axis=1)[:, 0], labels.astype(np.int64)

    def corners_px(self, boxes_cxcywh: F32, frame: Frame) -> tuple[F32, NDArray[np.bool_]]:
        """(Q, 4) cxcywh in 0..1 to xyxy in source pixels, and which of them have an area (a NaN has none)."""
        unit = np.clip(xyxy_from_cxcywh(boxes_cxcywh), 0.0, 1.0)
        whole = self._boxes_of == "content"  # of the source, however it lies in the engine's picture
        corners = source_px_from_unit(
            unit, frame.source_hw, self._input_hw, Fit.STRETCH if whole else self.fit
        )
        return corners, (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])


def identified(detections: Detections, associator: Associator | None, state: Any) -> tuple[Tracks, Any]:
    """The detections as tracks: by the associator, or with no identity at all."""
    if associator is not None:
        return associator.associate(detections, state)
    n = len(detections)
    return Tracks(detections, frozen_array(np.full(n, -1)), frozen_array(np.zeros(n, np.int64))), state


def reading_of(spec: EngineSpec) -> dict[str, Any]:
    """How an engine's answer is to be read, as arguments of `DetectTask`. Raises EngineError without labels."""
    config = spec.meta.get("config", {})
    if not spec.meta.get("labels"):
        raise EngineError("its card names no labels: this engine cannot detect", where=spec.name)
    return {
        "labels": spec.meta["labels"],
        "input_hw": spec.input_hw,
        "fit": Fit(config.get("fit", Fit.STRETCH)),
        "scores": config.get("scores", "softmax"),
        "boxes_of": config.get("boxes_of", "picture"),
        "input_names": [t.name for t in spec.inputs],
    }


def known_rules(rules: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, if they are all fields of the dataclass `rules`; else EngineError."""
    known = {f.name for f in dataclasses.fields(rules)}
    if unknown := sorted(set(fields) - known):
        raise EngineError(f"unknown rule {unknown[0]!r}", mend=f"the rules are {', '.join(sorted(known))}")
    return dict(fields)


def softmax(logits: F32) -> F32:
    """Along the last axis."""
    shares: F32 = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: F32) -> F32:
    """Logits to 0..1; large negative ones are clipped before exp can overflow."""
    return (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(np.float32, copy=False)
