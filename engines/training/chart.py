"""A run's curves as one picture: the losses above, precision on held-out data below, both by step.

Drawn with OpenCV, since a plotting library would be a dependency for this alone.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, LOSS_HEIGHT, PRECISION_HEIGHT = 960, 440, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 34, 40  # margins of a panel in pixels: numbers, names, title, steps
FONT, SMALL, LARGE = cv2.FONT_HERSHEY_SIMPLEX, 0.42, 0.5
INK, FAINT, GRID = (60, 60, 60), (120, 120, 120), (230, 230, 230)
COLOURS = (  # blue, green, red; told apart by colour-blind readers too (Okabe and Ito)
    (0, 0, 0), (178, 114, 0), (0, 94, 213), (115, 158, 0), (167, 121, 204), (0, 159, 230), (233, 180, 86),
    (66, 228, 240), (150, 90, 60), (60, 60, 160), (90, 130, 60), (160, 60, 130), (130, 130, 130), (40, 100, 140),
)  # fmt: skip
NOT_CURVES = ("step", "images", "minutes", "lr")

Lines = Mapping[str, Sequence[tuple[float, float]]]  # by name: step and value, in order


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to pixels; `log`: equal ratios are equally far apart."""

    low: float
    high: float
    start_px: float
    end_px: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, v = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return self.start_px + (v - low) / (high - low) * (self.end_px - self.start_px)


def draw_chart(curve: Path, validation: Path, out: Path) -> None:
    """Draws the curve's losses and, if the file is there, the validation's numbers into `out`, a PNG.

    An empty or missing curve makes no picture.
    """
    losses, precision = lines_of(curve), lines_of(validation)
    losses = {
        name: line for name, line in losses.items() if any(value for _, value in line)
    }  # 0: never asked
    panels = []
    if losses:
        ordered = {"total": losses["total"]} if "total" in losses else {}
        panels.append(_panel(ordered | losses, "losses", LOSS_HEIGHT, True))
    if precision:
        panels.append(_panel(precision, "precision on held-out pictures", PRECISION_HEIGHT, False))
    if not panels:
        return
    part = out.with_name(f"{out.stem}.part{out.suffix}")
    cv2.imwrite(str(part), np.concatenate(panels))
    part.replace(out)


def lines_of(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The columns of a curve's file by name, each as (step, value); what is no finite number is left out."""
    if not path.exists():
        return {}
    lines: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if name not in NOT_CURVES and text and math.isfinite(value := float(text)):
                    lines.setdefault(name, []).append((float(row["step"]), value))
    return lines


def _panel(lines: Lines, title: str, height: int, log: bool) -> NDArray[np.uint8]:
    canvas = np.full((height, WIDTH, 3), 255, np.uint8)
    points = [point for line in lines.values() for point in line]
    first, last = min(s for s, _ in points), max(s for s, _ in points)
    across = _Axis(first, last if last > first else first + 1, LEFT, WIDTH - RIGHT)
    log = log and all(value > 0 for _, value in points)
    low, high = _range([value for _, value in points], log)
    up = _Axis(low, high, height - BOTTOM, TOP, log)
    for value in _decades(low, high) if log else _steps(low, high):
        y = round(up.at(value))
        cv2.line(canvas, (LEFT, y), (WIDTH - RIGHT, y), GRID, 1)
        _write(canvas, f"{value:g}", (LEFT - 8, y + 4), FAINT, right=True)
    for value in _steps(across.low, across.high):
        x = round(across.at(value))
        cv2.line(canvas, (x, TOP), (x, height - BOTTOM), GRID, 1)
        _write(canvas, f"{value:g}", (x, height - BOTTOM + 16), FAINT, middle=True)
    cv2.rectangle(canvas, (LEFT, TOP), (WIDTH - RIGHT, height - BOTTOM), FAINT, 1)
    cv2.putText(
        canvas, title + (" (logarithmic)" if log else ""), (LEFT, TOP - 12), FONT, LARGE, INK, 1, cv2.LINE_AA
    )
    _write(canvas, "step", (WIDTH - RIGHT + 8, height - BOTTOM + 16), FAINT)
    for i, (name, line) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        way = np.array([(across.at(s), up.at(v)) for s, v in line]).round().astype(np.int32)
        cv2.polylines(canvas, [way], False, colour, 2 if i == 0 else 1, cv2.LINE_AA)
        if len(way) <= 60:
            for x, y in way:
                cv2.circle(canvas, (int(x), int(y)), 2, colour, -1, cv2.LINE_AA)
        y = TOP + 14 + 18 * i
        cv2.line(canvas, (WIDTH - RIGHT + 10, y - 4), (WIDTH - RIGHT + 30, y - 4), colour, 2)
        _write(canvas, f"{name} {line[-1][1]:.3g}", (WIDTH - RIGHT + 36, y), INK)
    return canvas


def _write(
    canvas: NDArray[np.uint8], text: str, at: tuple[int, int], colour: tuple[int, int, int],
    right: bool = False, middle: bool = False,
) -> None:  # fmt: skip
    """Small text that begins, or ends (`right`), or has its middle, at a place; `at` is on its base line."""
    width = cv2.getTextSize(text, FONT, SMALL, 1)[0][0]
    x = at[0] - (width if right else width // 2 if middle else 0)
    cv2.putText(canvas, text, (x, at[1]), FONT, SMALL, colour, 1, cv2.LINE_AA)


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    """Round ends that hold all values; a linear one begins at 0 if nothing is below."""
    low, high = min(values), max(values)
    if log:
        return 10 ** (math.floor(math.log10(low) * 2 - 0.01) / 2), 10 ** (
            math.ceil(math.log10(high) * 2 + 0.01) / 2
        )
    low = min(low, 0.0)
    step = _step(low, high)
    return math.floor(low / step) * step, max(math.ceil(high / step), 1) * step


def _step(low: float, high: float) -> float:
    """1, 2 or 5 times a power of ten, so that five to ten of them fill the range."""
    rough = max(high - low, 1e-9) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough))


def _steps(low: float, high: float) -> list[float]:
    step = _step(low, high)
    return [
        round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in the range."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    return [v for p in powers for m in (1, 2, 5) if low * 0.999 <= (v := m * 10.0**p) <= high * 1.001]
