"""The gate for graphs whose outputs are compared value by value, in place: no top-k, no rows that may change seats.

Every output is measured two ways against the reference: the root mean square of the difference as a share of the
reference's own (what rounding does to all of it), and the largest difference as a share of the reference's range (what
a wrong operator does to a corner of it). Integer outputs (class maps, indices of an argmax) may differ where two
classes tie: the share of cells that differ is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ParityError
from streamer.ports import Tensors


@dataclass(frozen=True, slots=True)
class Limits:
    """What a precision may cost: `rms` and `largest` as shares, `flips` of integer cells as a share."""

    rms: float
    largest: float
    flips: float


LIMITS: Mapping[str, Limits] = {
    "f32": Limits(rms=1e-4, largest=1e-3, flips=1e-3),
    "f16": Limits(rms=1e-2, largest=5e-2, flips=1e-2),
    "bf16": Limits(rms=5e-2, largest=0.25, flips=3e-2),
}


@dataclass(frozen=True, slots=True)
class Closeness:
    """One output's differences: shares as in `Limits`; `largest_abs` is the plain largest difference."""

    rms: float
    largest: float
    flips: float
    largest_abs: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One batch's differences, by output."""

    batch: int
    kind: str
    outputs: Mapping[str, Closeness]

    def over(self, limits: Limits) -> list[str]:
        """What is over its limit, in words; a NaN is over every limit."""
        return [f"{w} {v:.2g} over {limit:.2g}" for w, v, limit in self._measures(limits) if not v <= limit]

    def worst(self, limits: Limits) -> tuple[str, float, float]:
        """The measure nearest to its limit, or furthest over it: name, value, limit."""
        return max(self._measures(limits), key=lambda m: m[1] / m[2] if m[1] == m[1] else float("inf"))

    def _measures(self, limits: Limits) -> list[tuple[str, float, float]]:
        return [
            (f"{name} {what}", value, limit)
            for name, found in self.outputs.items()
            for what, value, limit in (
                ("rms", found.rms, limits.rms),
                ("largest", found.largest, limits.largest),
                ("flips", found.flips, limits.flips),
            )
        ]


def compare(reference: Tensors, answer: Tensors, inputs: Tensors, kind: str, precision: str) -> Comparison:
    """The differences of one batch, for every output of the reference; `inputs` are what both were given."""
    batch = len(next(iter(inputs.values())))
    return Comparison(batch, kind, {n: closeness(reference[n], answer[n]) for n in reference})


def closeness(reference: NDArray[np.generic], answer: NDArray[np.generic]) -> Closeness:
    """How far two arrays of one shape are apart. Raises ValueError if the shapes differ."""
    if reference.shape != answer.shape:
        raise ValueError(f"shape {answer.shape} for {reference.shape}")
    if not reference.size:
        return Closeness(0.0, 0.0, 0.0, 0.0)
    if reference.dtype.kind in "biu":
        return Closeness(0.0, 0.0, float((reference != answer).mean()), 0.0)
    real, found = reference.astype(np.float64), answer.astype(np.float64)
    apart = np.abs(real - found)
    scale = max(float(np.sqrt(np.mean(np.square(real)))), 1e-12)
    reach = max(float(np.abs(real).max()), 1e-12)
    largest = float(apart.max())
    return Closeness(float(np.sqrt(np.mean(np.square(apart)))) / scale, largest / reach, 0.0, largest)


def gate(comparisons: Iterable[Comparison], precision: str, where: str) -> dict[str, object]:
    """The report of all batches. Raises ParityError with the numbers if anything is over its limit."""
    limits = LIMITS[precision]
    done = list(comparisons)
    for one in done:
        if over := one.over(limits):
            raise ParityError(
                f"the compiled engine does not answer as its reference at batch {one.batch} on {one.kind}: "
                f"{', '.join(over[:6])}",
                where=where,
                mend="it is not used; try another precision or backend",
            )
    return {"precision": precision, "limits": asdict(limits), "batches": [asdict(one) for one in done]}
