"""One thing that moves, and the place in the street that is kept filled with such things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamer.world.poses import Motion
from streamer.world.truth import NO_ACTION


@dataclass(frozen=True, slots=True)
class Step:
    """One step of what a person is about to do: a motion, how long, and the heading it wants, if any.

    `to_xz`: the place where a walk ends, however long it takes; `across`: a walk straight along `heading`, not along
    the pavement; `act`: what is done in it ("drop" or "take" a bag, "leave" through a door).
    """

    motion: Motion
    lasts_s: float
    heading: float | None = None
    to_xz: tuple[float, float] | None = None
    across: bool = False
    act: str = ""


@dataclass(slots=True)
class Agent:
    """One moving thing. `phase` drives gait, pedals and tail; `parked` ones never move.

    People: `action` is the index into ACTIONS as seen from the camera, `motion` what the body does; `plan` holds the
    steps that follow; `down` is how far they sit or lie, `bow` how far they bend down, 0..1; `leader` is whom they walk
    with, at `place` in the group; `trespass` lets them enter forbidden ground; `gone` through a door or out of sight.
    Buses wait `halt_s` seconds at `halt_x`.
    """

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
    rider: Agent | None = None
    owner: Agent | None = None
    motion: Motion = Motion.WALK
    step: Step = Step(Motion.WALK, 0.0)
    plan: list[Step] = field(default_factory=list)
    reach: tuple[float, float] = (0.0, 0.0)
    down: float = 0.0
    chair: bool = False
    prone: bool = True
    vigour: float = 1.0
    bow: float = 0.0
    leader: Agent | None = None
    place: int = 0
    trespass: bool = False
    gone: bool = False
    wrong_way: bool = False
    halt_x: float = 0.0
    halt_s: float = 0.0


@dataclass(slots=True)
class Slot:
    """A place to be filled: by whom, and when the next may come; `once`: by nobody after that."""

    label: int
    agent: Agent | None = None
    ready_at: float = 0.0
    once: bool = False
