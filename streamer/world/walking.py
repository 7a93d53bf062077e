"""What people on foot decide to do next, and how they get about.

A decision is a plan of a few steps (turn, sit down, sit, stand up). People walk along their pavement, or straight
towards or away from the camera: within their pavement, or across the whole street. Nobody stops on the road.
"""

from __future__ import annotations

import math

import numpy as np

from streamer.world.agents import Agent, Step
from streamer.world.company import Company
from streamer.world.layout import Layout
from streamer.world.poses import FALL_S, FALLEN, SIT_S, Motion, action_of, bow_at, down_at

TURN_RAD_S = 3.2
SEAT_REACH_M = 5.0  # so far one walks to a free seat; else one sits down where one is
# What is chosen next, and how often: every action should fill at least one frame in twenty-five.
CHOICES = ("along", "turn", "to", "fro", "run", "run_to", "run_fro", "stand", "wave", "sit", "fall")
SHARES = (0.08, 0.03, 0.05, 0.06, 0.15, 0.02, 0.02, 0.06, 0.09, 0.20, 0.24)


class Walkers:
    """The minds and legs of all people on foot; `rng` is the street's own."""

    def __init__(self, layout: Layout, rng: np.random.Generator, company: Company) -> None:
        self.layout, self.rng, self.company = layout, rng, company
        self._seats = _seats(layout)
        self._taken: dict[int, Agent] = {}

    def advance(self, agent: Agent, now: float, dt: float) -> None:
        """Move one person on by `dt` seconds; `now` is the time after that."""
        if agent.leader is not None:
            self._follow(agent, now, dt)
            return
        if now >= agent.until or self._arrived(agent):
            self._next(agent, now)
        step = agent.step
        on_road = self._on_road(agent)
        motion = agent.motion
        target = 0.0
        if motion == Motion.WALK:
            target = agent.cruise
        elif motion == Motion.RUN:
            target = agent.cruise * 1.2 + 1.7
        if on_road and target == 0 and motion not in FALLEN:  # pushed there by the way they stopped
            target = agent.cruise
        agent.speed += min(max(target - agent.speed, -5 * dt), 3 * dt)
        agent.speed = max(agent.speed, 0.0)
        if motion in FALLEN:
            agent.speed = max(0.0, agent.speed - 6 * dt)
        goal = self._goal(agent, step)
        if goal is not None:
            turn = math.remainder(goal - agent.heading, math.tau)
            agent.heading += min(max(turn, -TURN_RAD_S * dt), TURN_RAD_S * dt)
        stride = agent.speed * dt
        if step.to_xz is not None:
            stride = min(stride, math.hypot(step.to_xz[0] - agent.x, step.to_xz[1] - agent.z))
        self._tread(agent, stride)
        agent.bow = bow_at(now - agent.since) if step.act in ("drop", "take") else 0.0
        agent.down = down_at(motion, now - agent.since)
        self._live(agent, dt)

    def _tread(self, agent: Agent, stride: float) -> None:
        """Go on by `stride` metres along the heading, round what is in the way."""
        x = agent.x + math.cos(agent.heading) * stride
        z = agent.z + math.sin(agent.heading) * stride
        z = min(max(z, -self.layout.near_pavement_m - 0.4), self.layout.facade_z - 0.45)
        for block in self.layout.blocks:
            if block.holds(x, z) and not (agent.trespass and block.forbidden):
                if block.holds(agent.x, agent.z):
                    continue  # in already: one may always leave
                if block.holds(x, agent.z):
                    x = agent.x
                if block.holds(x, z):
                    z = agent.z
        agent.x, agent.z = x, z

    def _live(self, agent: Agent, dt: float) -> None:
        """Gait and name of what the body does now."""
        motion = agent.motion
        if motion == Motion.WAVE:
            rate = 6.5
        elif motion in (Motion.STAND, Motion.SIT):
            rate = 1.5
        else:
            rate = math.tau * agent.speed / (2.5 if motion == Motion.RUN else 1.45)
        agent.phase += rate * dt
        agent.vigour = min(1.0, agent.speed / 0.9)
        self.name(agent)

    def _follow(self, agent: Agent, now: float, dt: float) -> None:
        """Keep one's place beside the leader; stop where they stop, and turn to them."""
        leader = agent.leader
        if leader is None or leader.gone or leader.leader is not None or now >= agent.until:
            agent.leader, agent.lane_z = None, self._kept(agent.z)
            agent.direction = 1 if math.cos(agent.heading) >= 0 else -1
            agent.until = now  # the next moment they decide for themselves
            crossing = self._on_road(agent)
            agent.motion = Motion.WALK
            agent.step = Step(
                Motion.WALK,
                0.0,
                math.copysign(math.pi / 2, math.sin(agent.heading)) if crossing else None,
                across=crossing,
            )
            agent.reach = (-self.layout.near_pavement_m + 0.2, self.layout.facade_z - 0.7)
            return
        goal_x, goal_z = self.company.place_beside(agent, leader)
        if not self._on_road(leader):
            goal_z = self._kept(goal_z)
        ahead, side = goal_x - agent.x, goal_z - agent.z
        gap = math.hypot(ahead, side)
        if leader.speed < 0.4 and gap < (0.6 if agent.motion == Motion.STAND else 0.25):
            want, goal = 0.0, math.atan2(leader.z - agent.z, leader.x - agent.x)
        else:  # the leader's own way, and what closes the gap
            pace_x = leader.speed * math.cos(leader.heading) + 1.2 * ahead
            pace_z = leader.speed * math.sin(leader.heading) + 1.2 * side
            want, goal = min(3.8, math.hypot(pace_x, pace_z)), math.atan2(pace_z, pace_x)
        agent.speed = max(0.0, agent.speed + min(max(want - agent.speed, -5 * dt), 3.5 * dt))
        turn = math.remainder(goal - agent.heading, math.tau)
        agent.heading += min(max(turn, -TURN_RAD_S * dt), TURN_RAD_S * dt)
        self._tread(agent, agent.speed * dt)
        running = agent.speed > (2.1 if agent.motion == Motion.RUN else 2.5)
        agent.motion = Motion.RUN if running else Motion.WALK if agent.speed > 0.25 else Motion.STAND
        agent.down = agent.bow = 0.0
        self._live(agent, dt)

    def _on_road(self, agent: Agent) -> bool:
        return 0 < agent.z < self.layout.road_m and not self.layout.plaza

    def name(self, agent: Agent) -> None:
        """Set the action: what the motion is as seen from the camera."""
        camera = self.layout.camera
        agent.action = action_of(agent.motion, agent.heading, agent.x - camera.x, agent.z - camera.z)

    # ------------------------------------------------------------------------------------------------ deciding

    def _arrived(self, agent: Agent) -> bool:
        step = agent.step
        if step.to_xz is not None:
            return math.hypot(step.to_xz[0] - agent.x, step.to_xz[1] - agent.z) < 0.04
        if step.across:
            low, high = agent.reach
            inward = math.sin(agent.heading)
            return (agent.z <= low and inward < 0) or (agent.z >= high and inward > 0)
        return False

    def _next(self, agent: Agent, now: float) -> None:
        """The next step of the plan, or a new plan."""
        if agent.step.across and self._on_road(agent):
            agent.until = now + 0.4  # still on the road: go on
            return
        if agent.step.act == "leave" and self._arrived(agent):
            agent.gone = True
            return
        if not agent.plan:
            self.decide(agent, now)
        self.begin(agent, agent.plan.pop(0), now)

    def begin(self, agent: Agent, step: Step, now: float) -> None:
        """Start this step; the body's amounts start with it."""
        if agent.step.across and not step.across:
            agent.lane_z = self._kept(agent.z)
        agent.step, agent.motion = step, step.motion
        agent.since, agent.until = now, now + step.lasts_s
        agent.down = down_at(step.motion, 0.0)

    def send(self, agent: Agent, plan: list[Step], now: float) -> None:
        """Drop what one was about to do for this plan."""
        agent.plan = plan[1:]
        self.begin(agent, plan[0], now)

    def decide(self, agent: Agent, now: float) -> None:
        """Fill the plan by chance."""
        rng = self.rng
        self._taken = {seat: who for seat, who in self._taken.items() if who is not agent}
        agent.trespass = False
        if self.layout.busy:
            plan = self.company.plan(agent, self.send, now)
            if plan:
                agent.plan = plan
                return
        choice = CHOICES[int(rng.choice(len(SHARES), p=SHARES))]
        camera = self.layout.camera
        to_camera = math.atan2(camera.z - agent.z, camera.x - agent.x)
        if choice in ("along", "turn", "run"):
            if choice == "turn" or (choice == "run" and rng.random() < 0.3):
                agent.direction = -agent.direction
            elif rng.random() < 0.3:
                agent.lane_z = self._kept(agent.z + float(rng.normal(0, 0.8)))
            motion = Motion.RUN if choice == "run" else Motion.WALK
            agent.plan = [Step(motion, float(rng.uniform(3, 7)))]
        elif choice in ("to", "fro", "run_to", "run_fro"):
            agent.plan = [self._across(agent, choice, to_camera)]
        elif choice in ("stand", "wave"):
            heading = float(
                rng.choice((agent.heading, to_camera, to_camera, -math.pi / 2, math.pi / 2))
            ) + float(rng.normal(0, 0.4))
            agent.plan = [Step(Motion[choice.upper()], float(rng.uniform(3, 6)), heading)]
        elif choice == "sit":
            agent.plan = self._sit(agent, to_camera)
        else:
            agent.prone = bool(rng.random() < 0.55)
            agent.plan = [
                Step(Motion.FALL, FALL_S),
                Step(Motion.LIE, float(rng.uniform(1.5, 5))),
                Step(Motion.GET_UP, FALL_S),
            ]

    def _across(self, agent: Agent, choice: str, to_camera: float) -> Step:
        rng, layout = self.rng, self.layout
        # Who has no room that way goes the other way.
        near, far = -layout.near_pavement_m + 0.2, layout.facade_z - 0.7
        towards = choice.endswith("to")
        if towards and agent.z - near < 1.2:
            towards = False
        elif not towards and far - agent.z < 1.2:
            towards = True
        whole = layout.plaza or rng.random() < 0.4
        if not whole and agent.z < 0:
            far = -0.5
        elif not whole and agent.z > layout.road_m:
            near = layout.road_m + 0.5
        agent.reach = near, far
        heading = to_camera + (0.0 if towards else math.pi) + float(rng.normal(0, 0.2))
        motion = Motion.RUN if choice.startswith("run") else Motion.WALK
        return Step(motion, float(rng.uniform(3, 6)), heading, across=True)

    def _sit(self, agent: Agent, to_camera: float) -> list[Step]:
        rng = self.rng
        rest = [
            Step(Motion.SIT_DOWN, SIT_S),
            Step(Motion.SIT, float(rng.uniform(2.5, 7))),
            Step(Motion.STAND_UP, SIT_S),
        ]
        free = [
            (math.hypot(x - agent.x, z - agent.z), seat)
            for seat, (x, z, _) in enumerate(self._seats)
            if seat not in self._taken and abs(z - agent.z) < self.layout.far_pavement_m
        ]
        distance, seat = min(free, default=(math.inf, -1))
        agent.chair = distance < SEAT_REACH_M
        if agent.chair:
            x, z, heading = self._seats[seat]
            self._taken[seat] = agent
            there = Step(Motion.WALK, 3 + distance, to_xz=(x, z))
            return [there, Step(Motion.STAND, 0.7, heading), *rest]
        heading = float(rng.choice((agent.heading, to_camera))) + float(rng.normal(0, 0.5))
        return [Step(Motion.STAND, 1.0, heading), *rest]

    def _goal(self, agent: Agent, step: Step) -> float | None:
        """The heading this step wants, or None to keep the present one."""
        if step.heading is not None:
            return step.heading
        if step.motion not in (Motion.WALK, Motion.RUN):
            return None
        if step.to_xz is not None:
            ahead, side = step.to_xz[0] - agent.x, step.to_xz[1] - agent.z
            return math.atan2(side, ahead) if math.hypot(side, ahead) > 0.02 else None
        lane_z = agent.lane_z
        for block in self.layout.blocks:  # in good time go round what is in the way
            if block.x0 - 4 < agent.x < block.x1 + 4 and agent.z > self.layout.road_m / 2:
                lane_z = max(lane_z, block.free_z) if not block.forbidden else min(lane_z, block.free_z)
        side = min(max((lane_z - agent.z) * 0.9, -0.8), 0.8)
        if abs(lane_z - agent.z) > 1.5:
            side = math.copysign(1.1, side)
        return math.atan2(side, agent.direction * 0.9)

    def _kept(self, z: float) -> float:
        """The nearest place to `z` where one may walk along the street."""
        layout = self.layout
        low, high = -layout.near_pavement_m + 0.35, layout.facade_z - 0.9
        if not layout.plaza and -0.9 < z < layout.road_m + 0.8:
            return -0.9 if z < layout.road_m / 2 else layout.road_m + 0.8
        return min(max(z, low), high)


def _seats(layout: Layout) -> list[tuple[float, float, float]]:
    """Where the feet of a sitter stand, and the heading: benches look at the street, chairs at their table."""
    out: list[tuple[float, float, float]] = []
    for prop in layout.props:
        if prop.kind == "bench":
            out += [(prop.x + side, prop.z - 0.42, -math.pi / 2) for side in (-0.4, 0.4)]
        elif prop.kind == "cafe":
            out += [(prop.x - 0.33, prop.z - 0.05, 0.0), (prop.x + 0.33, prop.z - 0.05, math.pi)]
    return out
