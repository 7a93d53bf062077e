"""Does the model use the order of its frames? The control: the same clips with their frames in shuffled order.

Sitting down and standing up, falling and getting up are each other's mirror in time, so only order tells them apart.
Asked is the choice within such a pair; without order it can only be chance, one half. Two controls are made.

`ring`: on each frame of such a motion, the features in the track's ring change places among themselves, their ages
stay. That is simple, but no clean control: the newest frame stays the newest, and a clip that has seen only the first
half of a motion shows in any order where the motion began.

`clip`: the clean one, and the one reported. A motion is asked only where the clip's frames lie evenly about its middle
(mean phase within EVEN of one half): there the set of poses is the same for both motions of a pair, and clips before
and behind the middle weigh alike. Frames older than the motion are struck out of the clip, and all of its frames change
places, the newest too: the graph is asked with the picture and the tracks of an earlier moment, and the present feature
goes into the ring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.world import ORDER_PAIRS

Tensors = Mapping[str, NDArray[Any]]
Infer = Callable[[Tensors], Tensors]
EVEN = 0.1  # how far from one half the clip's mean phase in the motion may lie
LEAST = 4  # frames of a clip cut to the motion
SHUFFLES = 4  # orders in which each clip is asked, so that few motions give a steady number
KEPT = 64  # moments that are remembered: motions are shorter
NEEDED = ("ring", "ring_age", "ring_valid")


@dataclass(slots=True)
class Choices:
    """How often the right one of a pair was chosen: sums of asked, right in order and right shuffled.

    By true action and side: whether the clip lies before (-1) or behind (1) the motion's middle, or exactly on it (0).
    """

    sums: dict[tuple[str, int], tuple[int, float, float]] = field(default_factory=dict)

    def add(self, action: str, side: int, ordered: float, shuffled: float, asked: int = 1) -> None:
        """One question: whether it was answered right, and the share of its shuffles that were."""
        n, o, s = self.sums.get((action, side), (0, 0.0, 0.0))
        self.sums[action, side] = n + asked, o + ordered, s + shuffled

    def merge(self, other: Choices) -> None:
        """Add what another counted."""
        for (action, side), (n, ordered, shuffled) in other.sums.items():
            self.add(action, side, ordered, shuffled, n)

    @property
    def asked(self) -> dict[str, int]:
        """Questions by true action."""
        counts: dict[str, int] = {}
        for (action, _), (n, _, _) in sorted(self.sums.items()):
            counts[action] = counts.get(action, 0) + n
        return counts

    def told(self) -> dict[str, Any]:
        """Shares. Actions weigh alike, and within one the two sides: what a side gives away, the other takes back."""
        by_action = {a: {"ordered": self._share(a, 1), "shuffled": self._share(a, 2)} for a in self.asked}

        def mean(kind: str) -> float | None:
            return float(np.mean([row[kind] for row in by_action.values()])) if by_action else None

        return {
            "asked": self.asked,
            "ordered": mean("ordered"),
            "shuffled": mean("shuffled"),
            "by_action": by_action,
        }

    def _share(self, action: str, kind: int) -> float:
        """The mean of the sides' shares; what lies on the middle counts on both."""
        shares: list[float] = []
        for side in (-1, 1):
            rows = [self.sums[action, s] for s in (side, 0) if (action, s) in self.sums]
            if rows:
                shares.append(sum(row[kind] for row in rows) / sum(row[0] for row in rows))
        return float(np.mean(shares))


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of all streets: what the graph was given, its features, and the slot of each track by street."""

    step: int
    inputs: Tensors
    features: NDArray[np.float32]  # object_feature (B, N, F)
    slots: tuple[dict[int, int], ...]


@dataclass(slots=True)
class Motion:
    """A motion under way: the action, its first step, and at each step the track that stands for the person."""

    action: str
    start: int
    tracks: list[int | None]


class OrderControl:
    """Sees each step of a run of B streets and asks the graph again where an order pair is at work.

    `labels` name the columns of `action_logits`; `ticks_a_step` says how many ticks of the ring's ages a step is.
    """

    def __init__(self, infer: Infer, labels: Sequence[str], *, ticks_a_step: float, most: int = 8) -> None:
        self._infer, self._most, self._ticks = infer, most, ticks_a_step
        self._column = {name: i for i, name in enumerate(labels)}
        there = [p for p in ORDER_PAIRS if p[0] in self._column and p[1] in self._column]
        self._mirror = {a: b for pair in there for a, b in (pair, pair[::-1])}
        self._moments: list[Moment] = []
        self._motions: dict[tuple[int, int], Motion] = {}
        self._before: list[dict[int, str]] = []
        self.ring, self.clip = Choices(), Choices()

    def see(
        self,
        step: int,
        inputs: Tensors,
        outputs: Tensors,
        slots: Sequence[dict[int, int]],
        doing: Sequence[Mapping[int, tuple[str, int | None]]],
    ) -> None:
        """One step. `slots[i]`: the slot of each track before it; `doing[i]`: each person's action and track."""
        if not self._mirror or any(name not in inputs for name in NEEDED):
            return
        self._moments.append(Moment(step, inputs, outputs["object_feature"], tuple(slots)))
        del self._moments[:-KEPT]
        self._shuffle_rings(step, inputs, outputs, slots, doing)
        for i, people in enumerate(doing):
            known = self._before[i] if i < len(self._before) else {}
            for person in [p for s, p in self._motions if s == i and p not in people]:
                del self._motions[i, person]  # out of sight: where the motion ends is unknown
            for person, (action, track) in people.items():
                motion = self._motions.get((i, person))
                if motion is not None and motion.action != action:
                    self._ask(i, self._motions.pop((i, person)))
                    motion = None
                if motion is not None:
                    motion.tracks.append(track)
                elif action in self._mirror and known.get(person, action) != action:
                    self._motions[i, person] = Motion(action, step, [track])
        self._before = [{p: action for p, (action, _) in people.items()} for people in doing]

    @property
    def works(self) -> bool:
        """Whether the model has clips that could be asked about."""
        return bool(self._moments)

    # ------------------------------------------------------------------------------------------ rings only

    def _shuffle_rings(
        self,
        step: int,
        inputs: Tensors,
        outputs: Tensors,
        slots: Sequence[dict[int, int]],
        doing: Sequence[Mapping[int, tuple[str, int | None]]],
    ) -> None:
        asked: list[tuple[int, int, str]] = []  # street, slot, action
        for i, people in enumerate(doing):
            for action, track in people.values():
                slot = slots[i].get(track) if track is not None else None
                if action in self._mirror and slot is not None and inputs["ring_valid"][i, 1 + slot].all():
                    asked.append((i, slot, action))
        streets = sorted({i for i, _, _ in asked})
        if not streets:
            return
        given = {name: array[streets].copy() for name, array in inputs.items()}
        for i, slot, _ in asked:
            ring = given["ring"][streets.index(i), 1 + slot]  # (T-1, F)
            ring[:] = ring[np.random.default_rng((step, i, slot)).permutation(len(ring))]
        logits = self._infer(given)["action_logits"]
        for i, slot, action in asked:
            self.ring.add(
                action,
                0,
                self._chooses(outputs["action_logits"][i, slot], action),
                self._chooses(logits[streets.index(i), slot], action),
            )

    # ------------------------------------------------------------------------------------------ whole clips

    def _ask(self, street: int, motion: Motion) -> None:
        """A motion that has ended: ask at each of its steps where the clip lies evenly about its middle."""
        at = {m.step: m for m in self._moments}
        length = len(motion.tracks)
        questions: list[tuple[dict[str, NDArray[Any]], int]] = []
        sides: list[int] = []
        for n, track in enumerate(motion.tracks):
            now = at.get(motion.start + n)
            if now is None or track is None or track not in now.slots[street]:
                continue
            asked = self._clip(at, now, street, track, motion.start, length)
            if asked is not None:
                sides.append(asked[0])
                questions += asked[1]
        answers: list[bool] = []
        for first in range(0, len(questions), self._most):
            part = questions[first : first + self._most]
            given = {name: np.stack([q[0][name] for q in part]) for name in part[0][0]}
            logits = self._infer(given)["action_logits"]
            answers += [self._chooses(logits[b, slot], motion.action) for b, (_, slot) in enumerate(part)]
        for n, side in enumerate(sides):
            ordered, *shuffled = answers[n * (1 + SHUFFLES) : (n + 1) * (1 + SHUFFLES)]
            self.clip.add(motion.action, side, ordered, sum(shuffled) / SHUFFLES)

    def _clip(
        self, at: Mapping[int, Moment], now: Moment, street: int, track: int, start: int, length: int
    ) -> tuple[int, list[tuple[dict[str, NDArray[Any]], int]]] | None:
        """Its side, and the question in order and SHUFFLES times shuffled (inputs, slot); None where it is not fair."""
        slot = now.slots[street][track]
        ages = now.inputs["ring_age"][street, 1 + slot]  # (T-1,)
        steps = now.step - np.round(ages / self._ticks).astype(int)
        held = (now.inputs["ring_valid"][street, 1 + slot] > 0) & (steps >= start)
        times = [*steps[held].tolist(), now.step]
        phase = (float(np.mean(times)) - start + 0.5) / length
        known = all(t in at and track in at[t].slots[street] for t in times)
        if len(times) < LEAST or abs(phase - 0.5) > EVEN or not known:
            return None
        present = now.features[street, slot]
        chance = np.random.default_rng((now.step, street, slot))
        orders = [np.arange(len(times)), *(chance.permutation(len(times)) for _ in range(SHUFFLES))]
        # the moment of an order's last place is the one whose picture takes the place of the present one
        rows = [self._row(at[times[order[-1]]], now, street, track, held, present, order) for order in orders]
        return (0 if abs(phase - 0.5) < 1e-6 else 1 if phase > 0.5 else -1), rows

    def _row(
        self,
        base: Moment,
        now: Moment,
        street: int,
        track: int,
        held: NDArray[np.bool_],
        present: NDArray[np.float32],
        order: NDArray[np.int64],
    ) -> tuple[dict[str, NDArray[Any]], int]:
        """Inputs of the moment `base` with the clip of `now` in `order` (its last place is the picture of `base`)."""
        source, slot = now.slots[street][track], base.slots[street][track]
        given = {name: array[street].copy() for name, array in base.inputs.items()}
        clip = np.concatenate([now.inputs["ring"][street, 1 + source][held], present[None]])  # (n+1, F)
        ring = np.zeros_like(given["ring"][1 + slot])
        ring[held] = clip[order[:-1]]
        given["ring"][1 + slot] = ring
        given["ring_age"][1 + slot] = now.inputs["ring_age"][street, 1 + source]
        given["ring_valid"][1 + slot] = held
        return given, slot

    def _chooses(self, logits: NDArray[np.floating], action: str) -> bool:
        return bool(logits[self._column[action]] > logits[self._column[self._mirror[action]]])
