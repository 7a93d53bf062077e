"""Who is in the street and what they do: the simulation, without a pixel.

Slots are kept filled: an agent that has left the picture is followed, after a pause, by a newcomer with a new id that
enters at an edge of what the camera sees. All chance comes from one generator, so a seed is one history.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from streamer.world.agents import Agent, Slot
from streamer.world.dogs import COATS
from streamer.world.layout import Layout
from streamer.world.people import draw_look
from streamer.world.truth import (
    BICYCLE,
    BUS,
    CAR,
    DOG,
    FALL,
    PERSON,
    RUN,
    STAND,
    WALK,
    WAVE,
    WorldConfig,
)
from streamer.world.vehicles import PAINTS, draw_bus, draw_car

FALL_S, LIE_S, RISE_S = 0.7, 2.4, 1.3
MARGIN_M = {PERSON: 1.0, CAR: 3.4, BUS: 6.4, BICYCLE: 1.6, DOG: 1.0}


class Traffic:
    """All agents of a world; `advance` moves them by dt seconds."""

    def __init__(self, config: WorldConfig, layout: Layout) -> None:
        self.layout = layout
        self.rng = np.random.default_rng([config.seed, 3])
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
        for slot in self.slots:
            agent = slot.agent
            if agent is None:
                if self.now >= slot.ready_at:
                    slot.agent = self._enter(slot.label, anywhere=False)
                continue
            if agent.label == PERSON:
                self._walk(agent, dt)
            elif agent.label == DOG:
                self._trot(agent, dt)
            else:
                self._drive(agent, dt)
            low, high = self.layout.span(agent.z, MARGIN_M[agent.label] + 0.8)
            if (agent.direction > 0 and agent.x > high) or (agent.direction < 0 and agent.x < low):
                slot.agent, slot.ready_at = None, self.now + float(self.rng.uniform(0.2, 3.0))

    # ------------------------------------------------------------------------------------------------ coming

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
            reach = MARGIN_M[label] + 3.0
            for other in self._drivers():
                if abs(other.z - z) < 1.6 and abs(other.x - x) < reach + MARGIN_M[other.label]:
                    return None
        agent = Agent(self._new_id(), label, x, z, direction, 0.0, None, lane_z=z)
        agent.phase = float(rng.uniform(0, math.tau))
        agent.heading = 0.0 if direction > 0 else math.pi
        if label == PERSON:
            agent.look = draw_look(rng)
            agent.action = WALK
            agent.cruise = float(rng.uniform(0.95, 1.65))
            agent.until = self.now + float(rng.uniform(0.5, 6) if anywhere else rng.uniform(2, 8))
            if anywhere:
                self._decide(agent)
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
            agent.rider.heading = agent.heading
        else:
            agent.look = draw_car(rng) if label == CAR else draw_bus(rng)
            agent.cruise = float(rng.uniform(4.0, 9.5) if label == CAR else rng.uniform(3.2, 6.5))
        agent.speed = agent.cruise
        return agent

    # ------------------------------------------------------------------------------------------------ doing

    def _decide(self, agent: Agent) -> None:
        rng, layout = self.rng, self.layout
        choice = int(rng.choice(7, p=(0.34, 0.16, 0.15, 0.12, 0.07, 0.11, 0.05)))
        agent.since = self.now
        if choice == 6:  # turns round
            agent.direction = -agent.direction
        if choice == 5:  # crosses, or changes over within a pavement
            agent.lane_z = self._lane(PERSON, agent.direction)
        agent.action = (WALK, RUN, STAND, WAVE, FALL, WALK, WALK)[choice]
        low, high = ((3, 9), (2.5, 6), (2, 6), (2, 5), (0, 0), (5, 9), (3, 8))[choice]
        lasts = (
            float(rng.uniform(low, high))
            if agent.action != FALL
            else FALL_S + LIE_S * float(rng.uniform(0.6, 1.8)) + RISE_S
        )
        if agent.action == FALL and 0 <= agent.z < layout.road_m and not layout.plaza:
            agent.action = WALK  # nobody lies down on the road
        if agent.action in (STAND, WAVE):
            # They often turn to the street, or to the camera.
            agent.heading = float(
                rng.choice((agent.heading, -math.pi / 2, -math.pi / 2, math.pi / 2))
            ) + float(rng.normal(0, 0.4))
        agent.until = self.now + lasts

    def _walk(self, agent: Agent, dt: float) -> None:
        if self.now >= agent.until:
            agent.fallen = 0.0
            self._decide(agent)
        target = {WALK: agent.cruise, RUN: agent.cruise * 1.2 + 1.7}.get(agent.action, 0.0)
        on_road = 0 < agent.z < self.layout.road_m and not self.layout.plaza
        if on_road and target == 0 and agent.action != FALL:  # nobody stops on the road
            agent.action, target = WALK, agent.cruise
        agent.speed += float(np.clip(target - agent.speed, -4 * dt, 3 * dt))
        if agent.action == FALL:
            agent.speed = max(0.0, agent.speed - 6 * dt)
            gone, left = self.now - agent.since, agent.until - self.now
            agent.fallen = min(1.0, gone / FALL_S) ** 2 if left > RISE_S else max(0.0, left / RISE_S)
        elif agent.speed > 0.05:
            side = float(np.clip((agent.lane_z - agent.z) * 0.9, -0.8, 0.8))
            if abs(agent.lane_z - agent.z) > 1.5:
                side = math.copysign(1.1, side)
            goal = math.atan2(side, agent.direction * 0.9)
            turn = math.remainder(goal - agent.heading, math.tau)
            agent.heading += float(np.clip(turn, -3.2 * dt, 3.2 * dt))
        agent.x += math.cos(agent.heading) * agent.speed * dt
        agent.z += math.sin(agent.heading) * agent.speed * dt
        agent.z = min(max(agent.z, -self.layout.near_pavement_m - 0.4), self.layout.facade_z - 0.45)
        stride = 1.45 if agent.action != RUN else 2.5
        rate = (
            6.5 if agent.action == WAVE else 1.5 if agent.action == STAND else math.tau * agent.speed / stride
        )
        agent.phase += rate * dt

    def _trot(self, agent: Agent, dt: float) -> None:
        owner = agent.owner
        if owner is not None and any(s.agent is owner for s in self.slots):
            goal_x, goal_z = owner.x + 0.75 * owner.direction, owner.z - 0.45
            agent.direction = owner.direction
            gap = math.hypot(goal_x - agent.x, goal_z - agent.z)
            want = min(3.6, gap * 1.6) if gap > 0.25 else 0.0
            goal = math.atan2(goal_z - agent.z, goal_x - agent.x) if gap > 0.25 else agent.heading
        else:
            if self.now >= agent.until:
                agent.until = self.now + float(self.rng.uniform(1.5, 6))
                agent.cruise = (
                    0.0 if agent.cruise > 0 and self.rng.random() < 0.4 else float(self.rng.uniform(0.9, 3.0))
                )
            want = agent.cruise
            goal = math.atan2(float(np.clip(agent.lane_z - agent.z, -0.5, 0.5)), float(agent.direction))
        agent.speed += float(np.clip(want - agent.speed, -5 * dt, 4 * dt))
        agent.heading += float(np.clip(math.remainder(goal - agent.heading, math.tau), -4 * dt, 4 * dt))
        agent.x += math.cos(agent.heading) * agent.speed * dt
        agent.z += math.sin(agent.heading) * agent.speed * dt
        agent.phase += (7.0 + 4.0 * agent.speed if agent.speed > 0.2 else 5.0) * dt

    def _drivers(self) -> list[Agent]:
        out = [s.agent for s in self.slots if s.agent is not None and s.agent.label in (CAR, BUS, BICYCLE)]
        return out + [p for p in self.parked if p.label == CAR]

    def _drive(self, agent: Agent, dt: float) -> None:
        nose = MARGIN_M[agent.label] - 0.8
        free = 99.0
        for other in self._drivers():
            if other is not agent and abs(other.z - agent.z) < 1.5:
                gap = (other.x - agent.x) * agent.direction - nose - MARGIN_M[other.label] + 0.8
                if gap > -nose:
                    free = min(free, gap)
        for slot in self.slots:
            other_agent = slot.agent
            if (
                other_agent is not None
                and other_agent.label in (PERSON, DOG)
                and abs(other_agent.z - agent.z) < 1.7
            ):
                gap = (other_agent.x - agent.x) * agent.direction - nose - 0.6
                if gap > -0.5:
                    free = min(free, gap)
        want = min(agent.cruise, max(0.0, (free - 0.8) * 1.1))
        agent.speed = max(0.0, agent.speed + float(np.clip(want - agent.speed, -9 * dt, 2.5 * dt)))
        step = agent.speed * dt
        agent.x += agent.direction * step
        agent.rolled += step
        agent.phase += step * 1.5
        if agent.rider is not None:
            rider = agent.rider
            rider.x, rider.z, rider.phase, rider.speed = agent.x, agent.z, -agent.phase, agent.speed
