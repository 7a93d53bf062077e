"""Detectors that answer otherwise than with logits and boxes: finished lists, and a box and scores on every anchor.

    boxes   labels i64 (B, N), boxes f32 (B, N, 4) xyxy in 0..1, scores f32 (B, N): the list that RT-DETR, D-FINE and
            RF-DETR are exported with; rows of the same object do not occur
    yolo    boxes f32 (B, A, 4) cxcywh in 0..1, class_scores f32 (B, A, C), or C + 1 with the objectness in front:
            one object sits on many anchors, so of boxes of one class that overlap the surest stays (OpenCV's
            `NMSBoxesBatched`)

What a label's number is called, how pictures are fitted and how detections are followed is as in detect.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from engines.tasks.detect import DetectRules, DetectTask, identified, reading_of
from streamer.errors import EngineError
from streamer.geometry import source_px_from_unit, xyxy_from_cxcywh
from streamer.ports import EngineSpec, Tensors
from streamer.types import F32, I64, Detections, Frame, Perception, frozen_array

MOST = 300  # objects that are told of one picture, the surest; as the authors of both kinds keep
MOST_CANDIDATES = 3000  # anchors that go into the NMS, the surest


class BoxesTask(DetectTask):
    """Implements `streamer.ports.Task` for finished lists."""

    outputs: tuple[str, ...] = ("labels", "boxes", "scores")

    @classmethod
    def from_spec(cls, spec: EngineSpec, associator: Any = None) -> BoxesTask:
        """The task of an engine: how to read it from its config, rules (`meta["detect"]`) from its card."""
        missing = set(cls.outputs) - {t.name for t in spec.outputs}
        if missing:
            raise EngineError(f"it answers no {min(missing)}: this engine cannot detect", where=spec.name)
        reading = {**reading_of(spec), "scores": "sigmoid"}  # finished scores; the name is the base's to want
        return cls(**reading, rules=DetectRules.from_meta(spec.meta.get("detect", {})), associator=associator)

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[Any]
    ) -> list[tuple[Perception, Any]]:
        """Each frame's objects, the surest first, boxes in source pixels. Rows of the batch never meet."""
        if not len(frames) == len(states) == len(outputs[self.outputs[0]]):
            raise ValueError(
                f"{len(frames)} frames, {len(states)} states, {len(outputs[self.outputs[0]])} answers"
            )
        least = self.associator.lowest if self.associator else self.rules.threshold
        answers: list[tuple[Perception, Any]] = []
        for b, (frame, state) in enumerate(zip(frames, states, strict=True)):
            boxes, scores, labels = self.objects({n: outputs[n][b] for n in self.outputs}, least)
            corners = source_px_from_unit(np.clip(boxes, 0, 1), frame.source_hw, self.input_hw, self.fit)
            solid = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])  # False for NaN too
            rows = np.flatnonzero(solid & (labels >= 0) & (labels < len(self.labels)))
            rows = rows[np.argsort(-scores[rows], kind="stable")][:MOST]
            detections = Detections(
                frozen_array(corners[rows]), frozen_array(scores[rows]), frozen_array(labels[rows])
            )
            tracks, after = identified(detections, self.associator, state)
            answers.append((Perception(tracks, self.labels), after))
        return answers

    def objects(self, answer: Tensors, least: float) -> tuple[F32, F32, I64]:
        """What one picture's answer holds above `least`: boxes xyxy (n, 4) in 0..1, scores (n,), labels (n,)."""
        rows = np.flatnonzero(answer["scores"] > least)
        return answer["boxes"][rows], answer["scores"][rows], answer["labels"][rows].astype(np.int64)


class YoloTask(BoxesTask):
    """Implements `streamer.ports.Task` for boxes and scores on anchors. From IoU `nms` on two boxes are one object."""

    outputs = ("boxes", "class_scores")
    nms: float = 0.5
    objectness: bool = False

    @classmethod
    def from_spec(cls, spec: EngineSpec, associator: Any = None) -> YoloTask:
        """As `BoxesTask.from_spec`; `nms` and `objectness` from the config."""
        task = super().from_spec(spec, associator)
        assert isinstance(task, YoloTask)
        config = spec.meta.get("config", {})
        task.nms, task.objectness = float(config.get("nms", cls.nms)), bool(config.get("objectness", False))
        return task

    def objects(self, answer: Tensors, least: float) -> tuple[F32, F32, I64]:
        """See `BoxesTask.objects`; each anchor is one object at most, of its likeliest class."""
        shares = answer["class_scores"]  # (A, C) or (A, 1 + C)
        if self.objectness:
            shares = shares[:, 1:] * shares[:, :1]
        best = shares.max(axis=1)
        rows = np.flatnonzero(best > least)
        if len(rows) > MOST_CANDIDATES:
            rows = rows[np.argsort(-best[rows], kind="stable")[:MOST_CANDIDATES]]
        boxes = xyxy_from_cxcywh(answer["boxes"][rows])
        scores, labels = best[rows].astype(np.float32), shares[rows].argmax(axis=1).astype(np.int64)
        kept = surest(boxes, scores, labels, self.nms)
        return boxes[kept], scores[kept], labels[kept]


def surest(boxes_xyxy: F32, scores: F32, labels: I64, iou: float) -> I64:
    """Rows that stay when of boxes of one class that overlap more than `iou` only the surest does; the surest first."""
    if not len(scores):
        return np.zeros(0, np.int64)
    left_top_size = np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)
    batched: Any = cv2.dnn.NMSBoxesBatched  # its stubs want lists; it takes arrays
    kept = batched(left_top_size.astype(np.float64), scores, labels.astype(np.int32), 0.0, iou)
    return np.asarray(kept, np.int64).reshape(-1)
