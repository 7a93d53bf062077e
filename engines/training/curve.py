"""A run's learning curve as a CSV file that grows line by line and can be read while the run goes on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path


class Curve:
    """Appends one line per call. A resumed run keeps the lines up to the step it resumes from."""

    def __init__(self, path: Path, keep_to_step: int) -> None:
        self.path = path
        self._names: list[str] | None = None
        lines: list[dict[str, str]] = []
        if keep_to_step and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                lines = [line for line in reader if int(line["step"]) <= keep_to_step]
                self._names = list(reader.fieldnames or ()) or None
        if self._names is None:
            path.unlink(missing_ok=True)
            return
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._names)
            writer.writeheader()
            writer.writerows(lines)

    def add(
        self, step: int, images: int, minutes: float, learning_rate: float, losses: dict[str, float]
    ) -> None:
        """One line: where the run stands and the value of each loss."""
        line = {
            "step": str(step),
            "images": str(images),
            "minutes": f"{minutes:.2f}",
            "lr": f"{learning_rate:.3g}",
        }
        line |= {name: f"{value:.4f}" for name, value in losses.items()}
        new = self._names is None
        self._names = self._names or list(line)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self._names)
            if new:
                writer.writeheader()
            writer.writerow(line)

    def first(self, names: Sequence[str]) -> dict[str, float] | None:
        """These numbers of the first line; None while there is none."""
        if not self.path.exists():
            return None
        with self.path.open(newline="") as file:
            line = next(csv.DictReader(file), None)
        return None if line is None else {name: float(line[name]) for name in names}
