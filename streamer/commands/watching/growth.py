"""Does a process grow? A rule for series of memory, written down once, with what it takes for noise.

A process that has warmed up holds what it holds; allocators make steps, collectors make saw teeth. So two medians are
compared, not two samples, and a rise counts only beyond what the series does anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

THIRD_LEAST = 3  # samples in a third, else nothing is said
SHARE = 0.01  # of what it held before: 3 MiB of 300 in a third of the time
LEAST_MIB = 0.5  # a Redis of 3 MiB moves by this with a few results more or less
RULE = (
    "grows: the median of the last third is above that of the second by more than 1 %, more than 0.5 MiB, and more "
    "than the noise (twice the median distance from the Theil-Sen line, which is half the height of a saw tooth)"
)


@dataclass(frozen=True, slots=True)
class Trend:
    """What a series of memory did. `slope_low` and `slope_high` are the ends of the slope's 95 % interval.

    `start_mib` and `end_mib` are medians of the first and the last three samples. `grows` is None for a series that is
    too short to say.
    """

    samples: int
    start_mib: float
    end_mib: float
    slope_mib_per_min: float
    slope_low: float
    slope_high: float
    rise_mib: float
    noise_mib: float
    grows: bool | None


def trend(seconds: Sequence[float], mib: Sequence[float]) -> Trend:
    """The trend of `mib` over `seconds` (ascending, equally many, two or more of each). Raises ValueError."""
    if len(seconds) != len(mib) or len(mib) < 2:
        raise ValueError(f"{len(seconds)} times and {len(mib)} sizes: two or more of each are needed")
    from scipy.stats import theilslopes

    minutes, sizes = np.asarray(seconds, float) / 60, np.asarray(mib, float)
    slope, at_zero, low, high = map(float, theilslopes(sizes, minutes, 0.95))
    noise = 2 * float(np.median(np.abs(sizes - (at_zero + slope * minutes))))
    third = len(sizes) // 3
    before = float(np.median(sizes[-2 * third : -third])) if third else float(sizes[0])
    rise = float(np.median(sizes[-third:])) - before if third else float(sizes[-1]) - before
    return Trend(
        samples=len(sizes),
        start_mib=float(np.median(sizes[:3])),
        end_mib=float(np.median(sizes[-3:])),
        slope_mib_per_min=slope,
        slope_low=low,
        slope_high=high,
        rise_mib=rise,
        noise_mib=noise,
        grows=rise > max(SHARE * before, LEAST_MIB, noise) if third >= THIRD_LEAST else None,
    )


def any_grows(trends: Sequence[Trend]) -> bool | None:
    """True if one grows; else None if of one it cannot be said; else False."""
    said = [trend.grows for trend in trends]
    return True if True in said else None if None in said else False
