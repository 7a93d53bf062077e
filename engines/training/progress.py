"""What a run leaves behind about itself: the curve of its losses, its precision on held-out data, both as a chart."""

from __future__ import annotations

from pathlib import Path

from engines.training.chart import draw_chart
from engines.training.curve import Curve
from engines.training.own_data import OwnData
from engines.training.run import StreetRun

CURVE_FILE, VALIDATION_FILE, CHART_FILE = "curve.csv", "validation.csv", "curve.png"


class Progress:
    """Writes `curve.csv`, `validation.csv` (of a user's data only) and `curve.png` under `out` while `run` goes on."""

    def __init__(self, out: Path, run: StreetRun, data: OwnData | None) -> None:
        self.out, self._run, self._data = out, run, data
        self._curve = Curve(out / CURVE_FILE, keep_to_step=run.step)
        self._validation = Curve(out / VALIDATION_FILE, keep_to_step=run.step)
        self._measured = -1  # the step of `after`
        self.before: dict[str, float] | None = None
        self.after: dict[str, float] | None = None
        if run.step == 0:
            self._validate()
        self.before = self.after or self._validation.first(("ap", "ap50"))

    def step(self, learning_rate: float, losses: dict[str, float]) -> None:
        """Called after each step: a line of the curve where the recipe wants one, and at the end."""
        run = self._run
        if run.step % run.recipe.log_every == 0 or run.share >= 1:
            self._curve.add(run.step, run.images, run.elapsed_s / 60, learning_rate, losses)

    def saved(self) -> None:
        """Called when weights were written: measures them and draws the picture."""
        self._validate()
        draw_chart(self.out / CURVE_FILE, self.out / VALIDATION_FILE, self.out / CHART_FILE)

    def _validate(self) -> None:
        run = self._run
        if self.after is not None and run.step == self._measured:
            return
        self._measured = run.step
        self.after = self._data.precision(run.average.model) if self._data is not None else None
        if self.after is not None:
            self._validation.add(run.step, run.images, run.elapsed_s / 60, run.learning_rate, self.after)
