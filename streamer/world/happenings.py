"""Events worth an alarm: who falls, trespasses, drives the wrong way or leaves a bag; staged, and noticed as they are.

What goes on is read off the street itself (where feet stand, which way a car drives), whoever staged it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from streamer.world.agents import Agent, Step
from streamer.world.draw import Rgb
from streamer.world.layout import Layout
from streamer.world.poses import BOW_S, ON_FEET, Motion
from streamer.world.traffic import Traffic
from streamer.world.truth import PERSON, WorldConfig

PAUSE_S = (2.5, 5.0)  # between two staged events where `events` is 1
LEFT_M = 2.0  # a bag is left when its owner is farther away than this
STAYS_S = (12.0, 30.0)
MAX_BAGS = 3


@dataclass(slots=True)
class Bag:
    """A bag on the ground at (x, z) metres; `since` the time it was put down."""

    owner: Agent
    x: float
    z: float
    rgb: Rgb
    since: float
    stays_s: float
    left: bool = False
    wanted_by: Agent | None = None


class Happenings:
    """Stages events in a street's traffic, and knows which go on."""

    def __init__(self, config: WorldConfig, layout: Layout, traffic: Traffic) -> None:
        self.layout, self.traffic = layout, traffic
        self.rng = np.random.default_rng([config.seed, 11])
        self.rate = config.events
        self.bags: list[Bag] = []
        self._began: dict[tuple[str, int], int] = {}
        self._due = float(self.rng.uniform(0.5, 2.5)) if self.rate > 0 else math.inf
        self._queue: list[str] = []
        self._bearers: list[Agent] = []

    def advance(self) -> None:
        """After the traffic has moved: bags change hands, and something new may begin."""
        if self.rate <= 0:
            return
        now = self.traffic.now
        self._hand_over(now)
        if now < self._due:
            return
        if not self._queue:
            self._queue = [("intrusion", "wrong_way", "left_bag")[i] for i in self.rng.permutation(3)]
        stages = {
            "intrusion": self._trespass,
            "wrong_way": lambda _: self.traffic.send_wrong_way(),
            "left_bag": self._leave_bag,
        }
        for kind in list(self._queue):
            if stages[kind](now):
                self._queue.remove(kind)
                self._due = now + float(self.rng.uniform(*PAUSE_S)) / self.rate
                return
        self._due = now + 0.5  # nobody could: look again soon

    def note(self, frame: int) -> None:
        """Take note of what goes on in this frame; to be called for every frame, drawn or not."""
        self._began = {key: self._began.get(key, frame) for key, _ in self._going_on()}

    def going_on(self) -> Iterator[tuple[str, int, Agent | Bag]]:
        """Kind, first frame, and the object of each event of the frame noted last."""
        for key, thing in self._going_on():
            if key in self._began:
                yield key[0], self._began[key], thing

    def _going_on(self) -> Iterator[tuple[tuple[str, int], Agent | Bag]]:
        zone = self.layout.forbidden
        for slot in self.traffic.slots:
            agent = slot.agent
            if agent is None:
                continue
            if agent.label == PERSON:
                if agent.motion in (Motion.FALL, Motion.LIE):
                    yield ("fall", agent.id), agent
                if zone is not None and zone.holds(agent.x, agent.z):
                    yield ("intrusion", agent.id), agent
            elif agent.wrong_way:
                yield ("wrong_way", agent.id), agent
        for bag in self.bags:
            if bag.left:
                yield ("left_bag", bag.owner.id), bag

    # ------------------------------------------------------------------------------------------------ staging

    def _free(self, *, near_x: float | None = None, reach_m: float = 9.0) -> list[Agent]:
        """People who can be sent: on their feet off the road, alone, in sight, with nothing else in hand."""
        out = []
        for p in self.traffic.people:
            low, high = self.layout.span(p.z, -0.6)
            on_road = 0 <= p.z <= self.layout.road_m and not self.layout.plaza
            idle = (
                p.motion in ON_FEET and not p.plan and p.leader is None and not p.trespass and not p.step.act
            )
            if idle and not on_road and low < p.x < high and (near_x is None or abs(p.x - near_x) < reach_m):
                out.append(p)
        return out

    def _trespass(self, now: float) -> bool:
        zone = self.layout.forbidden
        if zone is None:
            return False
        middle = (zone.x0 + zone.x1) / 2
        near = [
            p
            for p in self._free(near_x=middle)
            if p.z > self.layout.road_m * (0.0 if self.layout.plaza else 1.0)
        ]
        near = [p for p in near if not zone.holds(p.x, p.z)]
        if not near:
            return False
        person = near[int(self.rng.integers(len(near)))]
        x = float(self.rng.uniform(zone.x0 + 0.5, zone.x1 - 0.5))
        z = float(self.rng.uniform(zone.z0 + 0.4, zone.z1 - 0.2))
        before = (x, zone.free_z)
        person.trespass = True
        plan = [
            Step(Motion.WALK, 12, to_xz=before),
            Step(Motion.WALK, 4, to_xz=(x, z)),
            Step(Motion.STAND, float(self.rng.uniform(1.5, 4))),
            Step(Motion.WALK, 4, to_xz=before),
        ]
        self.traffic.walkers.send(person, plan, now)
        return True

    def _leave_bag(self, now: float) -> bool:
        bearers = [p for p in self._free() if p.look.bag is not None]
        if not bearers or len(self.bags) + len(self._bearers) >= MAX_BAGS:
            return False
        person = bearers[int(self.rng.integers(len(bearers)))]
        away = 0.0 if person.direction > 0 else math.pi
        # It is put down on the side from which the camera looks, so that nothing of it is behind its owner.
        plan = [
            Step(Motion.STAND, 0.6, -math.pi / 2 + 0.5 * person.direction),
            Step(Motion.STAND, BOW_S, act="drop"),
            Step(Motion.WALK, float(self.rng.uniform(3.5, 5)), away),
        ]
        self._bearers.append(person)
        self.traffic.walkers.send(person, plan, now)
        return True

    def _hand_over(self, now: float) -> None:
        for person in list(self._bearers):
            step = person.step
            if step.act == "drop" and now - person.since > BOW_S / 2:
                x = person.x + 0.42 * math.cos(person.heading)
                z = person.z + 0.42 * math.sin(person.heading)
                self.bags.append(Bag(person, x, z, person.look.bag, now, float(self.rng.uniform(*STAYS_S))))
                person.look = replace(person.look, bag=None)
                self._bearers.remove(person)
            elif person.gone or (step.act != "drop" and not any(s.act == "drop" for s in person.plan)):
                self._bearers.remove(person)
        for bag in list(self.bags):
            owner, finder = bag.owner, bag.wanted_by
            bag.left = bag.left or owner.gone or math.hypot(owner.x - bag.x, owner.z - bag.z) > LEFT_M
            if finder is not None and finder.step.act == "take":
                if now - finder.since > BOW_S / 2:
                    finder.look = replace(finder.look, bag=bag.rgb)
                    self.bags.remove(bag)
            elif finder is not None and (finder.gone or not finder.plan):
                bag.wanted_by = None
            elif finder is None and bag.left and now - bag.since > bag.stays_s:
                self._send_finder(bag, now)

    def _send_finder(self, bag: Bag, now: float) -> None:
        """Somebody near comes to take the bag away."""
        near = [
            p
            for p in self._free(near_x=bag.x)
            if abs(p.z - bag.z) < 3 and p is not bag.owner and p.look.bag is None
        ]
        if near:
            finder = min(near, key=lambda p: math.hypot(p.x - bag.x, p.z - bag.z))
            side = 0.42 if finder.x > bag.x else -0.42
            plan = [
                Step(Motion.WALK, 14, to_xz=(bag.x + side, bag.z)),
                Step(Motion.STAND, BOW_S, 0.0 if side < 0 else math.pi, act="take"),
            ]
            bag.wanted_by = finder
            self.traffic.walkers.send(finder, plan, now)
