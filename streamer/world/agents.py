"""One thing that moves, and the place in the street that is kept filled with such things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamer.world.truth import NO_ACTION


@dataclass(slots=True)
class Agent:
    """One moving thing. `phase` drives gait, pedals and tail; `parked` ones never move."""

    id: int
    label: int
    x: float
    z: float
    direction: int
    speed: float
    look: Any
    action: int = NO_ACTION
    heading: float = 0.0
    phase: float = 0.0
    rolled: float = 0.0
    until: float = 0.0
    since: float = 0.0
    lane_z: float = 0.0
    cruise: float = 0.0
    parked: bool = False
    fallen: float = 0.0
    rider: Agent | None = None
    owner: Agent | None = None


@dataclass(slots=True)
class Slot:
    """A place to be filled: by whom, and when the next may come."""

    label: int
    agent: Agent | None = None
    ready_at: float = 0.0
