"""How long to wait before the next try: doubling, capped, and spread so that many streams do not knock at once.

After a site's switch reboots, every camera is lost in the same second; without the spread they would all be
dialled again in the same instants.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Capped exponential back-off with jitter; `random01` gives numbers in [0, 1) and is a test's to replace.

    Try 0 waits about `first_s`, each later one `factor` times longer, never more than `cap_s`. The delay is drawn
    from the upper `spread` of that time, so it is never zero and never above the cap.
    """

    first_s: float = 0.5
    cap_s: float = 20.0
    factor: float = 2.0
    spread: float = 0.5
    random01: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if not (0 < self.first_s <= self.cap_s and self.factor >= 1 and 0 <= self.spread <= 1):
            raise ValueError(
                f"first_s {self.first_s}, cap_s {self.cap_s}, factor {self.factor}, spread {self.spread}"
            )

    def ceiling_s(self, attempt: int) -> float:
        """The longest that try number `attempt` (from 0) may wait, in seconds."""
        if attempt < 0:
            raise ValueError(f"attempt {attempt} is negative")
        # Past 60 doublings any first_s has met its cap; the bound keeps the power finite.
        return min(self.cap_s, self.first_s * self.factor ** min(attempt, 60))

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait before try number `attempt` (from 0)."""
        ceiling = self.ceiling_s(attempt)
        return ceiling * (1 - self.spread * self.random01())
