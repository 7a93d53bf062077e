"""The truth about events as one frame shows them: which go on within the picture, where nobody may tread, and where
traffic may go one way only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.types import Hw, frozen_array
from streamer.world.camera import F64
from streamer.world.drawn import Drawn
from streamer.world.happenings import Bag, Happenings
from streamer.world.layout import Layout
from streamer.world.lens import Window
from streamer.world.traffic import Traffic
from streamer.world.truth import KEYPOINTS, PERSON, Truth, WorldEvent

ANKLES = [KEYPOINTS.index("left_ankle"), KEYPOINTS.index("right_ankle")]
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 px
# Half a car along and across the street, and its height: what its box in the picture is made of.
CAR_HALF_M, CAR_HIGH_M = (2.2, 0.88), 1.5
EDGE_PX = 2.0  # in a picture 144 rows high; the ground is a few rows deep, and no foot is seen more exactly than this
GATE_STEPS = 241  # places along the lane that are looked at for the picture's middle


def events_in(
    happenings: Happenings, drawn: Sequence[Drawn], bags: Mapping[int, Box], picture_hw: Hw
) -> tuple[WorldEvent, ...]:
    """The events of this frame; `bags` holds the place of each bag by its Python id.

    An object's box is that of its visible pixels, or of all within the picture while it is hidden.
    """
    height, width = picture_hw
    boxes = {d.agent.id: d.box if d.visibility > 0 else d.full_box for d in drawn}
    out: list[WorldEvent] = []
    for kind, began, thing in happenings.going_on():
        who = thing.owner.id if isinstance(thing, Bag) else thing.id
        place = bags.get(id(thing)) if isinstance(thing, Bag) else boxes.get(who)
        if place is None:
            continue
        box = (
            max(place[0], 0.0),
            max(place[1], 0.0),
            min(place[2], float(width)),
            min(place[3], float(height)),
        )
        if box[0] < box[2] and box[1] < box[3]:
            out.append(WorldEvent(kind, began, who, box))
    return tuple(out)


def forbidden_in(layout: Layout, window: Window) -> NDArray[np.float32]:
    """Corners (4,2) px of the forbidden ground in this picture, or (0,2)."""
    zone = layout.forbidden
    if zone is None:
        return frozen_array(np.zeros((0, 2), np.float32))
    corners = [(zone.x0, zone.z0), (zone.x1, zone.z0), (zone.x1, zone.z1), (zone.x0, zone.z1)]
    px, _ = layout.camera.project(np.array([(x, 0.0, z) for x, z in corners]))
    return _shown(px, window)


def on_edge(truth: Truth) -> tuple[int, ...]:
    """Ids of people whose feet are outside the forbidden ground, but so near that a picture does not tell."""
    if not len(truth.forbidden_xy):
        return ()
    reach_px = EDGE_PX * truth.instances.shape[0] / 144
    inside = {event.id for event in truth.events if event.kind == "intrusion"}
    feet = truth.keypoints[:, ANKLES, :2].mean(axis=1)
    return tuple(
        who
        for who, label, foot in zip(truth.ids.tolist(), truth.labels.tolist(), feet.tolist(), strict=True)
        if label == PERSON
        and who not in inside
        and cv2.pointPolygonTest(truth.forbidden_xy, foot, True) >= -reach_px
    )


def gates_of(layout: Layout, traffic: Traffic) -> F64:
    """A gate across each lane, start and end in canvas pixels (2,2,2), or (0,2,2) where nobody drives.

    It stands upright in the middle of the canvas, where the box of a car that drives there has the middle of its
    lower edge: seen aslant that is not on the lane's own ground. It reaches to both sides half as far as the two
    lanes are apart.
    """
    if layout.plaza:
        return np.zeros((0, 2, 2))
    (x, low), (far_x, high) = (_foot(layout, traffic.lane_z(direction)) for direction in (1, -1))
    half = (low - high) / 2
    right, left = ((x, low + half), (x, low - half)), ((far_x, high - half), (far_x, high + half))
    return np.array([right, left])


def gates_in(gates: F64, window: Window) -> NDArray[np.float32]:
    """The gates of `gates_of` in this picture, px."""
    return _shown(gates, window)


def _foot(layout: Layout, lane_z: float) -> tuple[float, float]:
    """Where, in canvas pixels, the foot of a car's box is while the box is in the middle of the canvas."""
    low, high = layout.span(lane_z)
    (long, wide), camera = CAR_HALF_M, layout.camera
    xs = np.linspace(low, high, GATE_STEPS)
    corners = [(dx, y, dz) for dx in (-long, long) for y in (0.0, CAR_HIGH_M) for dz in (-wide, wide)]
    points = np.array([[(x + dx, y, lane_z + dz) for dx, y, dz in corners] for x in xs])
    px = camera.project(points.reshape(-1, 3))[0].reshape(GATE_STEPS, -1, 2)
    middles = (px[..., 0].min(1) + px[..., 0].max(1)) / 2
    near = int(np.abs(middles - camera.centre_xy[0]).argmin())
    return float(middles[near]), float(px[near, :, 1].max())


def _shown(canvas_px: F64, window: Window) -> NDArray[np.float32]:
    """Places on the canvas (…,2) in this picture's pixels."""
    xy = np.rint((canvas_px - (window.x, window.y) + 0.5) / window.scale * 16) / 16
    return frozen_array(xy.astype(np.float32))
