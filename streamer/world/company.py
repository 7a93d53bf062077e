"""People with people: groups that walk together or wear one uniform, meetings, a wait out of sight, the way home.

Its chance comes from a generator of its own, so that a quiet street does not change with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from streamer.world.agents import Agent, Step
from streamer.world.layout import Layout
from streamer.world.people import PersonLook, draw_look
from streamer.world.poses import ON_FEET, Motion
from streamer.world.truth import WorldConfig

GROUP_SHARE, GROUP_MAX = 0.45, 3  # of newcomers to a crowd; followers of one leader
PLACES_M = ((-0.15, 0.7), (-0.15, -0.7), (-0.85, 0.0))  # behind and left of the leader
Send = Callable[[Agent, list[Step], float], None]


class Company:
    """What people of a busy street do with each other; `people` are those on foot now."""

    def __init__(self, config: WorldConfig, layout: Layout) -> None:
        self.layout = layout
        self.rng = np.random.default_rng([config.seed, 10])
        self.people: list[Agent] = []
        self._share = config.lookalikes
        self._uniform = draw_look(self.rng)

    def dress(self, look: PersonLook) -> PersonLook:
        """This look, or with the share of look-alikes the uniform on the same body."""
        if self._share <= 0 or self.rng.random() >= self._share:
            return look
        same = self._uniform
        return replace(
            look,
            top=same.top,
            bottom=same.bottom,
            shoes=same.shoes,
            skirt=same.skirt,
            bag=same.bag,
            hat=same.hat,
            hair=same.hair,
            long_hair=same.long_hair,
            short_sleeves=same.short_sleeves,
        )

    # ------------------------------------------------------------------------------------------------ groups

    def welcome(self, agent: Agent, people: list[Agent], now: float, *, anywhere: bool) -> None:
        """A newcomer to a busy street may come with somebody who is near, or out of a door."""
        self.people = people
        if not self.layout.busy:
            return
        self._join(agent, now)
        if agent.leader is not None:
            if anywhere:
                agent.x, agent.z = self.place_beside(agent, agent.leader)
                agent.heading = agent.leader.heading
        elif not anywhere:
            self._from_door(agent, now)
        for block in self.layout.blocks:
            if block.holds(agent.x, agent.z):
                agent.z = agent.lane_z = block.free_z

    def _join(self, agent: Agent, now: float) -> None:
        if self.rng.random() >= GROUP_SHARE:
            return
        near = [
            p
            for p in self.people
            if p is not agent and self._free(p) and math.hypot(p.x - agent.x, p.z - agent.z) < 7
        ]
        for leader in sorted(near, key=lambda p: abs(p.x - agent.x) + abs(p.z - agent.z)):
            places = {p.place for p in self.people if p.leader is leader}
            if len(places) < GROUP_MAX:
                agent.leader = leader
                agent.place = min(set(range(GROUP_MAX)) - places)
                agent.direction = leader.direction
                agent.until = now + float(self.rng.uniform(6, 14))
                return

    def place_beside(self, agent: Agent, leader: Agent) -> tuple[float, float]:
        """Where a follower walks or stands, x and z in metres."""
        back, left = PLACES_M[agent.place]
        ch, sh = math.cos(leader.heading), math.sin(leader.heading)
        return leader.x + back * ch - left * sh, leader.z + back * sh + left * ch

    def _free(self, person: Agent) -> bool:
        """On their feet, off the road, nobody's follower and in the middle of nothing."""
        on_road = 0 <= person.z <= self.layout.road_m and not self.layout.plaza
        plain = (
            not person.plan and person.step.to_xz is None and not person.step.across and not person.step.act
        )
        return (
            person.motion in ON_FEET
            and plain
            and not on_road
            and person.leader is None
            and not person.trespass
        )

    # ------------------------------------------------------------------------------------------------ plans

    def plan(self, agent: Agent, send: Send, now: float) -> list[Step]:
        """What one does with others or with the houses next, or nothing of the kind."""
        chance = float(self.rng.random())
        if chance < 0.14:
            return self._meet(agent, send, now)
        if chance < 0.20:
            return self._hide(agent)
        if chance < 0.26:
            return self._go_home(agent)
        return []

    def _meet(self, agent: Agent, send: Send, now: float) -> list[Step]:
        """Two walk up to each other, greet and talk."""
        on_road = 0 <= agent.z <= self.layout.road_m and not self.layout.plaza
        far = self.layout.road_m / 2
        others = [
            p
            for p in self.people
            if p is not agent
            and self._free(p)
            and (p.z > far) == (agent.z > far)
            and 1.5 < math.hypot(p.x - agent.x, p.z - agent.z) < 7
        ]
        if on_road or not others:
            return []
        other = others[int(self.rng.integers(len(others)))]
        span = math.hypot(other.x - agent.x, other.z - agent.z)
        ux, uz = (other.x - agent.x) / span, (other.z - agent.z) / span
        mid_x, mid_z = (agent.x + other.x) / 2, (agent.z + other.z) / 2
        talk, heading = float(self.rng.uniform(1.8, 4.5)), math.atan2(uz, ux)
        plans = []
        for sign in (-1, 1):
            there = Step(Motion.WALK, span, to_xz=(mid_x + sign * 0.42 * ux, mid_z + sign * 0.42 * uz))
            faces = heading if sign < 0 else heading + math.pi
            greet = [Step(Motion.WAVE, 1.0, faces)] if self.rng.random() < 0.5 else []
            plans.append([there, *greet, Step(Motion.STAND, talk, faces)])
        send(other, plans[1], now)
        return plans[0]

    def _hide(self, agent: Agent) -> list[Step]:
        """Wait behind the kiosk, as the camera sees it."""
        camera = self.layout.camera
        for block in self.layout.blocks:
            if not block.forbidden and agent.z > self.layout.road_m and abs(agent.x - block.x0) < 9:
                z, middle = block.free_z, (block.x0 + block.x1) / 2
                x = camera.x + (middle - camera.x) * (z - camera.z) / (block.z0 + 0.4 - camera.z)
                x += float(self.rng.uniform(-0.3, 0.3))
                return [
                    Step(Motion.WALK, 12, to_xz=(x, z)),
                    Step(Motion.STAND, float(self.rng.uniform(3, 8))),
                ]
        return []

    def _go_home(self, agent: Agent) -> list[Step]:
        """Through a door that is near."""
        doors = [x for x in self.layout.doors_x if abs(x - agent.x) < 8]
        if not doors or agent.z < self.layout.road_m:
            return []
        door, z = doors[0], self.layout.facade_z
        return [
            Step(Motion.WALK, 12, to_xz=(door, z - 1.0)),
            Step(Motion.WALK, 4, to_xz=(door, z - 0.45), act="leave"),
        ]

    def _from_door(self, agent: Agent, now: float) -> None:
        """A newcomer may step out of a door instead of coming along the street."""
        if not self.layout.doors_x or self.rng.random() >= 0.35:
            return
        door = self.layout.doors_x[int(self.rng.integers(len(self.layout.doors_x)))]
        agent.x, agent.z, agent.heading = door, self.layout.facade_z - 0.46, -math.pi / 2
        agent.lane_z = self.layout.facade_z - 1.0
        agent.step = Step(Motion.WALK, 3.0, to_xz=(door, agent.lane_z))
        agent.until = now + 3.0
