"""The truth about events as one frame shows them: which go on within the picture, and where nobody may tread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.types import Hw, frozen_array
from streamer.world.drawn import Drawn
from streamer.world.happenings import Bag, Happenings
from streamer.world.layout import Layout
from streamer.world.lens import Window
from streamer.world.truth import WorldEvent

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 px


def events_in(
    happenings: Happenings, drawn: Sequence[Drawn], bags: Mapping[int, Box], picture_hw: Hw
) -> tuple[WorldEvent, ...]:
    """The events of this frame; `bags` holds the place of each bag by its Python id.

    An object's box is that of its visible pixels, or of all within the picture while it is hidden.
    """
    height, width = picture_hw
    boxes = {d.agent.id: d.box if d.visibility > 0 else d.clipped_box for d in drawn}
    out: list[WorldEvent] = []
    for kind, began, thing in happenings.going_on():
        if isinstance(thing, Bag):
            x0, y0, x1, y1 = bags.get(id(thing), (0.0, 0.0, 0.0, 0.0))
            box = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
            if box[0] < box[2] and box[1] < box[3]:
                out.append(WorldEvent(kind, began, thing.owner.id, box))
        elif thing.id in boxes:
            out.append(WorldEvent(kind, began, thing.id, boxes[thing.id]))
    return tuple(out)


def forbidden_in(layout: Layout, window: Window) -> NDArray[np.float32]:
    """Corners (4,2) px of the forbidden ground in this picture, or (0,2)."""
    zone = layout.forbidden
    if zone is None:
        return frozen_array(np.zeros((0, 2), np.float32))
    corners = [(zone.x0, zone.z0), (zone.x1, zone.z0), (zone.x1, zone.z1), (zone.x0, zone.z1)]
    px, _ = layout.camera.project(np.array([(x, 0.0, z) for x, z in corners]))
    xy = np.rint((px - (window.x, window.y) + 0.5) / window.scale * 16) / 16
    return frozen_array(xy.astype(np.float32))
