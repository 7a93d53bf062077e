"""How cars, buses and bicycles keep to their lane and stop for who is in front."""

from __future__ import annotations

from collections.abc import Iterable

from streamer.world.agents import Agent
from streamer.world.truth import BICYCLE, BUS, CAR, DOG, PERSON

MARGIN_M = {PERSON: 1.0, CAR: 3.4, BUS: 6.4, BICYCLE: 1.6, DOG: 1.0}  # about half a length and some air


def drive(agent: Agent, drivers: Iterable[Agent], walkers: Iterable[Agent], dt: float) -> None:
    """Move one vehicle on by `dt` seconds, with its rider if it has one."""
    nose = MARGIN_M[agent.label] - 0.8
    free = 99.0
    for other in drivers:
        if other is not agent and abs(other.z - agent.z) < 1.5:
            gap = (other.x - agent.x) * agent.direction - nose - MARGIN_M[other.label] + 0.8
            if gap > -nose:
                free = min(free, gap)
    for other in walkers:
        if abs(other.z - agent.z) < 1.7:
            gap = (other.x - agent.x) * agent.direction - nose - 0.6
            if gap > -0.5:
                free = min(free, gap)
    want = min(agent.cruise, max(0.0, (free - 0.8) * 1.1))
    if agent.halt_s > 0:  # a bus at its stop
        ahead = (agent.halt_x - agent.x) * agent.direction
        if ahead > -0.5:
            want = min(want, max(0.0, ahead * 0.9))
            if agent.speed < 0.25 and ahead < 0.7:
                agent.halt_s -= dt
    agent.speed = max(0.0, agent.speed + min(max(want - agent.speed, -9 * dt), 2.5 * dt))
    step = agent.speed * dt
    agent.x += agent.direction * step
    agent.rolled += step
    agent.phase += step * 1.5
    if agent.rider is not None:
        rider = agent.rider
        rider.x, rider.z, rider.phase, rider.speed = agent.x, agent.z, -agent.phase, agent.speed
