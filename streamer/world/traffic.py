"""Who is in the street and what they do: the simulation, without a pixel.

Slots are kept filled: an agent that has left the picture is followed, after a pause, by a newcomer with a new id that
enters at an edge of what the camera sees. All chance comes from one generator, so a seed is one history.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from streamer.world.agents import Agent, Slot
from streamer.world.company import Company
from streamer.world.dogs import COATS, trot
from streamer.world.driving import MARGIN_M, drive
from streamer.world.layout import Layout
from streamer.world.people import draw_look
from streamer.world.poses import Motion
from streamer.world.truth import BICYCLE, BUS, CAR, DOG, PERSON, WorldConfig
from streamer.world.vehicles import PAINTS, draw_bus, draw_car
from streamer.world.walking import Walkers


class Traffic:
    """All agents of a world; `advance` moves them by dt seconds."""

    def __init__(self, config: WorldConfig, layout: Layout) -> None:
        self.layout = layout
        self.rng = np.random.default_rng([config.seed, 3])
        self.company = Company(config, layout)
        self.walkers = Walkers(layout, self.rng, self.company)
        self._wrong_lane: float | None = None
        self.now = 0.0
        self._ids = 0
        rng = self.rng
        people = int(rng.integers(5, 12)) if config.people is None else config.people
        drawn = 0 if layout.plaza else int(rng.integers(2, 5))
        vehicles = drawn + int(rng.integers(0, 4)) if config.vehicles is None else config.vehicles
        dogs = (
            int(rng.integers(0, 3))
            if config.people is None
            else round(config.people * float(rng.uniform(0, 0.34)))
        )
        if config.dogs is not None:  # after the draw: the rest of the street stays as it was
            dogs = config.dogs
        self.slots = [Slot(PERSON) for _ in range(people)] + [Slot(DOG) for _ in range(dogs)]
        shares = (0.0, 0.0, 1.0) if layout.plaza else (0.56, 0.14, 0.30)
        for _ in range(vehicles):
            self.slots.append(Slot((CAR, BUS, BICYCLE)[int(rng.choice(3, p=shares))]))
        if config.vehicles is None or config.vehicles > 1:
            self.parked = self._park(int(rng.integers(0, 4)))
        else:
            self.parked = []
        for slot in self.slots:
            for _ in range(6):  # a crowded lane may have no room at once
                if slot.agent is None:
                    slot.agent = self._enter(slot.label, anywhere=True)

    def agents(self) -> list[Agent]:
        """Everybody, riders too."""
        out = list(self.parked)
        for slot in self.slots:
            if slot.agent is not None:
                out.append(slot.agent)
                if slot.agent.rider is not None:
                    out.append(slot.agent.rider)
        return out

    def advance(self, dt: float) -> None:
        """Move the world on by `dt` seconds."""
        self.now += dt
        drivers = self._drivers()
        self.company.people = self.people
        if self._wrong_lane is not None:
            self._enter_wrong_way(self._wrong_lane)
        for slot in self.slots:
            agent = slot.agent
            if agent is None:
                if self.now >= slot.ready_at and not slot.once:
                    slot.agent = self._enter(slot.label, anywhere=False)
                continue
            if agent.label == PERSON:
                self.walkers.advance(agent, self.now, dt)
            elif agent.label == DOG:
                if agent.owner is not None and not any(s.agent is agent.owner for s in self.slots):
                    agent.owner = None
                trot(agent, self.rng, self.now, dt)
            else:
                drive(agent, drivers, self._on_foot(), dt)
            low, high = self.layout.span(agent.z, MARGIN_M[agent.label] + 0.8)
            if agent.x < low or agent.x > high or agent.gone:
                agent.gone = True
                slot.agent, slot.ready_at = None, self.now + float(self.rng.uniform(0.2, 3.0))

    @property
    def people(self) -> list[Agent]:
        """Everybody on foot."""
        return [s.agent for s in self.slots if s.agent is not None and s.agent.label == PERSON]

    def send_wrong_way(self) -> bool:
        """Let a car drive against a lane's direction as soon as that lane is empty; False where there can be none."""
        moves = any(s.label in (CAR, BUS, BICYCLE) for s in self.slots)
        if self.layout.plaza or self._wrong_lane is not None or not moves:
            return False
        self._wrong_lane = self._lane(CAR, 1 if self.company.rng.random() < 0.5 else -1)
        return True

    def lane_z(self, direction: int) -> float:
        """Where across the street, in metres, cars drive that go this way (1 or -1 along x)."""
        return self._lane(CAR, direction)

    # ------------------------------------------------------------------------------------------------ coming

    def _enter_wrong_way(self, lane_z: float) -> None:
        """The car of send_wrong_way. Newcomers keep out of the lane until it has come and gone."""
        for slot in self.slots:
            if slot.once:
                if slot.agent is None:
                    self.slots.remove(slot)
                    self._wrong_lane = None
                return
        rng = self.company.rng
        against = -1 if lane_z < self.layout.road_m / 2 else 1
        low, high = self.layout.span(lane_z, MARGIN_M[CAR])
        if any(abs(d.z - lane_z) < 1.6 and not d.parked for d in self._drivers()):
            return
        edge = low if against > 0 else high
        car = Agent(
            self._new_id(), CAR, edge, lane_z, against, 0.0, draw_car(rng), lane_z=lane_z, wrong_way=True
        )
        car.heading = 0.0 if against > 0 else math.pi
        car.cruise = car.speed = float(rng.uniform(4.0, 7.0))
        self.slots.append(Slot(CAR, car, once=True))

    def _new_id(self) -> int:
        self._ids += 1
        return self._ids

    def _park(self, count: int) -> list[Agent]:
        out: list[Agent] = []
        layout, rng = self.layout, self.rng
        look: Any
        for _ in range(count):
            if rng.random() < 0.5 and not layout.plaza:
                z, label, look = layout.road_m - 1.15, CAR, draw_car(rng)
            else:
                z = float(rng.choice((-0.9, layout.road_m + 0.9)))
                label, look = BICYCLE, PAINTS[int(rng.integers(len(PAINTS)))]
            low, high = layout.span(z)
            x = float(rng.uniform(low * 0.8 + high * 0.2, low * 0.2 + high * 0.8))
            if all(abs(x - o.x) > 6 for o in out):
                out.append(
                    Agent(
                        self._new_id(),
                        label,
                        x,
                        z,
                        int(rng.choice((-1, 1))),
                        0.0,
                        look,
                        lane_z=z,
                        parked=True,
                    )
                )
        return out

    def _lane(self, label: int, direction: int) -> float:
        layout, rng = self.layout, self.rng
        if label in (CAR, BUS):
            shift = -0.9 if any(p.label == CAR for p in self.parked) else 0.0
            return layout.road_m * (0.27 if direction > 0 else 0.73) + (shift if direction < 0 else 0.0)
        if label == BICYCLE:
            if layout.plaza:
                return float(rng.uniform(0.8, layout.road_m - 0.8))
            return (
                0.75 if direction > 0 else layout.road_m * 0.5 + 0.5 if self.parked else layout.road_m - 0.75
            )
        if layout.plaza and rng.random() < 0.6:
            return float(rng.uniform(-layout.near_pavement_m + 0.4, layout.facade_z - 1.3))
        if rng.random() < 0.46:
            return float(rng.uniform(-layout.near_pavement_m + 0.35, -0.9))
        return float(rng.uniform(layout.road_m + 0.8, layout.facade_z - 0.9))

    def _enter(self, label: int, *, anywhere: bool) -> Agent | None:
        rng = self.rng
        direction = 1 if rng.random() < 0.5 else -1
        z = self._lane(label, direction)
        low, high = self.layout.span(z, MARGIN_M[label])
        edge = low if direction > 0 else high
        x = float(rng.uniform(low, high)) if anywhere else edge
        if label in (CAR, BUS, BICYCLE):
            if self._wrong_lane is not None and abs(z - self._wrong_lane) < 1.6:
                return None
            reach = MARGIN_M[label] + 3.0
            for other in self._drivers():
                if abs(other.z - z) < 1.6 and abs(other.x - x) < reach + MARGIN_M[other.label]:
                    return None
        agent = Agent(self._new_id(), label, x, z, direction, 0.0, None, lane_z=z)
        agent.phase = float(rng.uniform(0, math.tau))
        agent.heading = 0.0 if direction > 0 else math.pi
        if label == PERSON:
            agent.look = self.company.dress(draw_look(rng))
            agent.cruise = float(rng.uniform(0.95, 1.65))
            agent.until = self.now + float(rng.uniform(0, 2.5) if anywhere else rng.uniform(1.2, 3.2))
            self.company.welcome(agent, self.people, self.now, anywhere=anywhere)
            self.walkers.name(agent)
        elif label == DOG:
            agent.look = (COATS[int(rng.integers(len(COATS)))], float(rng.uniform(0.7, 1.35)))
            owners = [s.agent for s in self.slots if s.agent is not None and s.agent.label == PERSON]
            if owners and rng.random() < 0.65:
                agent.owner = owners[int(rng.integers(len(owners)))]
                agent.direction = agent.owner.direction
                agent.lane_z = agent.owner.lane_z - 0.5
                agent.z = agent.lane_z
                if anywhere:
                    agent.x = agent.owner.x + 0.8 * agent.direction
                else:
                    low, high = self.layout.span(agent.z, MARGIN_M[label])
                    agent.x = low if agent.direction > 0 else high
            agent.cruise = float(rng.uniform(1.0, 2.2))
            agent.until = self.now + float(rng.uniform(2, 6))
        elif label == BICYCLE:
            agent.look = PAINTS[int(rng.integers(len(PAINTS)))]
            agent.cruise = float(rng.uniform(2.6, 5.2))
            agent.rider = Agent(self._new_id(), PERSON, x, z, direction, 0.0, draw_look(rng), lane_z=z)
            agent.rider.heading, agent.rider.motion = agent.heading, Motion.RIDE
        else:
            agent.look = draw_car(rng) if label == CAR else draw_bus(rng)
            agent.cruise = float(rng.uniform(4.0, 9.5) if label == CAR else rng.uniform(3.2, 6.5))
            if label == BUS and self.layout.busy:
                low, high = self.layout.span(z)
                middle, half = (low + high) / 2, (high - low) * 0.15
                agent.halt_x = float(self.company.rng.uniform(middle - half, middle + half))
                agent.halt_s = float(self.company.rng.uniform(3, 8))
        agent.speed = agent.cruise
        return agent

    def _drivers(self) -> list[Agent]:
        out = [s.agent for s in self.slots if s.agent is not None and s.agent.label in (CAR, BUS, BICYCLE)]
        return out + [p for p in self.parked if p.label == CAR]

    def _on_foot(self) -> list[Agent]:
        return [s.agent for s in self.slots if s.agent is not None and s.agent.label in (PERSON, DOG)]
