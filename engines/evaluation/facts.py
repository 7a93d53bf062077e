"""What is kept of a street and of each of its frames while a model is measured: all metrics are made of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.evaluation.coco import PictureBoxes
from engines.evaluation.matching import difficult, likeness, mask_ious, partners
from streamer.types import F32, I64, Detections, Perception, Tracks
from streamer.world import LABELS, Truth, World, WorldConfig, WorldEvent
from streamer.world.events import on_edge

PERSON = LABELS.index("person")


@dataclass(frozen=True, slots=True)
class Street:
    """One street that is measured, by its place among them, and under which conditions it lies.

    `first` is how many of its frames had passed, undrawn, before the one that is measured as frame 0.
    """

    index: int
    config: WorldConfig
    theme: str
    weather: str
    night: bool
    degraded: bool  # the camera blurs, drifts in exposure or compresses
    first: int = 0

    @classmethod
    def of(cls, index: int, world: World, first: int = 0) -> Street:
        """What the drawn world itself says of its conditions."""
        config = world.config
        degraded = bool(config.blur or config.exposure or config.compression)
        return cls(index, config, world.layout.theme, config.weather, world.light.night, degraded, first)

    def drawn_anew(self) -> World:
        """The street as it is before frame 0."""
        world = World(self.config)
        world.skip(self.first)
        return world


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame of one street: the truth without its maps, the answer, and which belong together.

    Of N true objects (as in `Truth`): boxes_xyxy, labels, ids, actions, keypoints; `hard` bool (N,): difficult;
    `alike` f32 (N, M): IoU with the answer's M tracks, 0 where labels differ; `partner` i64 (N,): the track that stands
    for it, or -1; `mask_iou` f32 (N,), NaN without a partner. `rows` is all the engine said, `detections` what a
    detector's user would take of it (see baselines.py), `cells_wrong` the wrong share of its class map (0 without one).
    `events`, `forbidden_xy` and `gates_xy` as in `Truth`; `on_edge` ids of people who all but stand on that ground.
    """

    street: int
    frame: int
    boxes_xyxy: F32
    labels: I64
    ids: I64
    actions: I64
    keypoints: F32
    hard: NDArray[np.bool_]
    payload: Perception
    alike: F32
    partner: I64
    mask_iou: F32
    rows: PictureBoxes
    detections: Detections
    cells_wrong: float
    events: tuple[WorldEvent, ...] = ()
    forbidden_xy: F32 = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    gates_xy: F32 = field(default_factory=lambda: np.zeros((0, 2, 2), np.float32))
    on_edge: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        street: int,
        frame: int,
        truth: Truth,
        payload: Perception,
        rows: PictureBoxes,
        detections: Detections,
        cells_wrong: float = 0.0,
    ) -> Seen:
        """Compare one answer with the truth."""
        found = payload.tracks.detections
        alike = likeness(truth.boxes_xyxy, truth.labels, found)
        partner = partners(alike)
        return cls(
            street=street,
            frame=frame,
            boxes_xyxy=truth.boxes_xyxy,
            labels=truth.labels,
            ids=truth.ids,
            actions=truth.actions,
            keypoints=truth.keypoints,
            hard=difficult(truth),
            payload=payload,
            alike=alike,
            partner=partner,
            mask_iou=mask_ious(truth, found, partner),
            rows=rows,
            detections=detections,
            cells_wrong=cells_wrong,
            events=truth.events,
            forbidden_xy=truth.forbidden_xy,
            gates_xy=truth.gates_xy,
            on_edge=on_edge(truth),
        )

    @property
    def tracks(self) -> Tracks:
        return self.payload.tracks

    @property
    def met(self) -> NDArray[np.bool_]:
        """Clear objects for which a track stands, bool (N,)."""
        found: NDArray[np.bool_] = (self.partner >= 0) & ~self.hard
        return found

    def true_boxes(self, left_out: NDArray[np.bool_]) -> PictureBoxes:
        """The truth as average precision wants it."""
        return PictureBoxes(
            self.boxes_xyxy, self.labels, np.ones(len(self.labels), np.float32), difficult=left_out
        )


def by_street(frames: Sequence[Seen]) -> dict[int, list[Seen]]:
    """The frames of each street, in order."""
    streets: dict[int, list[Seen]] = {}
    for seen in frames:
        streets.setdefault(seen.street, []).append(seen)
    return {i: sorted(rows, key=lambda s: s.frame) for i, rows in streets.items()}
