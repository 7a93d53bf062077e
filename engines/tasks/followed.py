"""Detectors that follow: the detect tasks with an associator, both told the same score from which a thing is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from engines.tasks.associate import AssociationRules, Associator
from engines.tasks.detect import DetectTask
from streamer.ports import EngineSpec

BIRTH_ABOVE = 0.1  # how much surer than seen a thing must be to start a track: the paper's margin

Make = Callable[[EngineSpec, Associator], DetectTask]


def followed(make: Make) -> Callable[[EngineSpec], DetectTask]:
    """`from_spec` of a detect task, with association.

    `threshold` comes from the card's `detect` rules, else from the model's config; the other rules of association from
    the card's `track` rules.
    """

    def from_spec(spec: EngineSpec) -> DetectTask:
        told: dict[str, Any] = dict(spec.meta.get("detect", {}))
        threshold = told.get("threshold", (spec.meta.get("config") or {}).get("threshold"))
        rules: dict[str, Any] = {}
        if threshold is not None:
            told["threshold"] = threshold
            rules = {
                "sure": threshold,
                "birth": min(1.0, threshold + BIRTH_ABOVE),
                "unsure": min(AssociationRules().unsure, threshold),
            }
        rules |= spec.meta.get("track", {})
        return make(
            dataclasses.replace(spec, meta={**spec.meta, "detect": told}),
            Associator(AssociationRules.from_meta(rules)),
        )

    return from_spec
