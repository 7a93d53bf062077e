"""The classify task: what a picture shows as a whole, as one list of names with scores. Stateless, numpy only.

The names come as `Perception.actions` without a track and of this one frame (start = end): to whoever reads results,
"the scene is: harbour, .8" is said in the same words as "the scene does: dancing, .8".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from engines.tasks.pictures import picture_inputs
from engines.tasks.scene import NO_TRACKS, fit_of, likeliest, rules_of
from streamer.errors import EngineError
from streamer.ports import EngineSpec, Tensors
from streamer.types import Action, Fit, Frame, Hw, Perception


@dataclass(frozen=True, slots=True)
class ClassifyRules:
    """How many names are given, and from which score (0..1) on."""

    top: int = 5
    min_score: float = 0.01


class ClassifyTask:
    """Implements `streamer.ports.Task` for graphs that give `logits` (B, C) of `images`."""

    stateful = False

    def __init__(
        self,
        *,
        labels: Sequence[str],
        input_hw: Hw,
        fit: Fit = Fit.STRETCH,
        rules: ClassifyRules | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.fit = fit
        self.rules = rules or ClassifyRules()
        self._input_hw = input_hw

    @classmethod
    def from_spec(cls, spec: EngineSpec) -> ClassifyTask:
        """The task of an engine. Raises EngineError if it gives no class logits."""
        if "logits" not in {t.name for t in spec.outputs} or not spec.meta.get("labels"):
            raise EngineError(
                "this engine names nothing: it has no class logits",
                where=spec.name,
                mend="import a checkpoint with a classification head",
            )
        rules = rules_of(spec, "classify", ClassifyRules)
        return cls(labels=spec.meta["labels"], input_hw=spec.input_hw, fit=fit_of(spec), rules=rules)

    @property
    def input_hw(self) -> Hw:
        return self._input_hw

    def initial_state(self) -> None:
        """There is none."""

    def preprocess(self, frames: Sequence[Frame], states: Sequence[None]) -> dict[str, NDArray[Any]]:
        """The pictures."""
        return picture_inputs(frames, self._input_hw, self.fit, ())

    def postprocess(
        self, outputs: Tensors, frames: Sequence[Frame], states: Sequence[None]
    ) -> list[tuple[Perception, None]]:
        """Each picture's likeliest names."""
        if not len(frames) == len(states) == len(outputs["logits"]):
            raise ValueError(f"{len(frames)} frames, {len(states)} states, {len(outputs['logits'])} answers")
        return [
            (self._named(logits, frame.ref.wall_ns), None)
            for logits, frame in zip(outputs["logits"], frames, strict=True)
        ]

    def _named(self, logits: NDArray[Any], wall_ns: int) -> Perception:
        classes, scores = likeliest(logits, self.rules.top, self.rules.min_score)
        actions = tuple(
            Action(self.labels[c], score, None, wall_ns, wall_ns)
            for c, score in zip(classes.tolist(), scores.tolist(), strict=True)
        )
        return Perception(NO_TRACKS, (), actions=actions)
