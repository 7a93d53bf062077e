"""Zones and lines in the YAML: each mistake is one line with the file's line, the field and the mend."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamer.config import ConfigFileError, load_config, stream_config
from streamer.errors import ConfigError
from streamer.regions import Line, Zone

YARD = "{name: yard, points: [[0, 0.5], [1, 0.5], [1, 1]]}"
DOOR = "{name: door, start: [0.2, 0.5], end: [0.8, 0.5]}"
SHAPE = "write a list such as [{name: yard, points: [[0, 0.5], [1, 0.5], [1, 1]]}]"
PLACE = "wrong type — write a place such as [0.2, 0.5], fractions of the picture's width and height"
NO_AREA = "the zone has no area — give three corners or more that are not on one line"
TAKEN = "the name yard is taken by a zone or line before it — give each its own name"
CORNERS = "wrong type — write corners such as [[0, 0.5], [1, 0.5], [1, 1]]"
NAME = "not a name — use up to 64 letters, digits, spaces, - _ and ., starting with a letter or digit"
ORDER = "give the corners in their order around it"


def written(folder: Path, fields: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(f"streams:\n  cam:\n    url: world://street\n{fields}\n", "utf-8")
    return path


def test_zones_and_lines_are_read(tmp_path: Path) -> None:
    fields = f"    zones: [{YARD}]\n    lines:\n      - {DOOR}\n"
    (stream,) = load_config(written(tmp_path, fields)).streams
    assert stream.zones == (Zone(name="yard", points=((0, 0.5), (1, 0.5), (1, 1))),)
    assert stream.lines == (Line(name="door", start=(0.2, 0.5), end=(0.8, 0.5)),)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        (f"zones: [{YARD}, {YARD}]", f"zones.1.name: {TAKEN}"),
        (
            f"zones: [{YARD}]\n    lines: [{DOOR.replace('door', 'yard')}]",
            f"5 lines.0.name: {TAKEN}",
        ),
        (
            "zones: [{name: z, points: [[0, 0], [1, 1], [1, 0], [0, 1]]}]",
            f"zones.0.points: the zone crosses itself: its sides from corners 1 and 3 meet — {ORDER}",
        ),
        (
            "zones: [{name: z, points: [[0, 0], [1, 0], [0.5, 0], [0.5, 1]]}]",
            f"zones.0.points: the zone crosses itself: its sides from corners 1 and 2 meet — {ORDER}",
        ),
        ("zones: [{name: z, points: [[0, 0], [1, 1], [0.5, 0.5]]}]", f"zones.0.points: {NO_AREA}"),
        ("zones: [{name: z, points: [[0, 0], [0.001, 0], [0, 0.001]]}]", f"zones.0.points: {NO_AREA}"),
        ("zones: [{name: z, points: [[0, 0], [1, 1], [1, 1]]}]", f"zones.0.points: {NO_AREA}"),
        ("zones: [{name: z, points: [[0, 0], [1, 1]]}]", "zones.0.points: a zone with 2 corners — give 3 to 32"),
        (
            "zones: [{name: z, points: [[0, 0], [640, 0], [1, 1]]}]",
            "zones.0.points.1.0: not in the picture — write fractions of its width and height, 0 to 1, not pixels",
        ),
        ("zones: [{name: z, points: [[0, 0], [1], [1, 1]]}]", f"zones.0.points.1.1: {PLACE}"),
        ("zones: [{name: z, points: [[0, 0], 1, [1, 1]]}]", f"zones.0.points.1: {PLACE}"),
        ("zones: [{name: z, points: 3}]", f"zones.0.points: {CORNERS}"),
        ("zones: [{name: z}]", "zones.0.points: points is missing — add points: …"),
        ("zones: [yard]", f"zones.0: wrong type — {SHAPE}"),
        ("zones: yard", f"zones: wrong type — {SHAPE}"),
        (
            "zones: [{name: z, pionts: 3, points: [[0, 0], [1, 0], [1, 1]]}]",
            "zones.0.pionts: unknown key — did you mean points?",
        ),
        (
            "zones: [{name: a/b, points: [[0, 0], [1, 0], [1, 1]]}]",
            f"zones.0.name: {NAME}",
        ),
        (
            "zones: [{name: z, labels: person, points: [[0, 0], [1, 0], [1, 1]]}]",
            "zones.0.labels: wrong type — write a list, such as [person, car]",
        ),
        (
            "lines: [{name: l, start: [0.5, 0.5], end: [0.5, 0.5]}]",
            "lines.0.end: the line has no length — give an end away from its start",
        ),
        ("lines: [{name: l, start: [0.5], end: [0.5, 0.5]}]", f"lines.0.start.1: {PLACE}"),
        ("lines: [{name: l, start: [0.5, 1, 1], end: [0.5, 0.5]}]", f"lines.0.start: {PLACE}"),
        ("lines: [{name: l, start: [0.5, 0.1]}]", "lines.0.end: end is missing — add end: …"),
        ("lines: [{name: l, start: [0.5, 0.1], end: [0, -1]}]",
         "lines.0.end.1: not in the picture — write fractions of its width and height, 0 to 1, not pixels"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line(tmp_path: Path, field: str, says: str) -> None:
    path = written(tmp_path, f"    {field}")
    with pytest.raises(ConfigFileError) as caught:
        load_config(path)
    line, _, rest = says.partition(" ") if says[0].isdigit() else ("4", "", says)
    assert str(caught.value) == f"{path}:{line}: streams.cam.{rest}"


def test_a_program_is_told_the_same() -> None:
    with pytest.raises(ConfigError, match="the name a is taken") as caught:
        line = {"name": "a", "start": (0, 0), "end": (1, 1)}
        stream_config({"name": "cam", "url": "world://street", "lines": [line, line]})
    assert caught.value.where == "lines.1.name"


def test_corners_given_twice_in_a_row_are_one() -> None:
    closed = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
    assert Zone(name="z", points=closed).points == ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))


angles = st.sets(st.integers(0, 35), min_size=4, max_size=10).map(sorted)


def around(turns: list[int], reach: list[float]) -> list[tuple[float, float]]:
    """Corners around the middle, in turn."""
    return [
        (0.5 + r * math.cos(turn * math.pi / 18), 0.5 + r * math.sin(turn * math.pi / 18))
        for turn, r in zip(turns, reach, strict=False)
    ]


@given(angles, st.lists(st.floats(0.1, 0.5), min_size=10, max_size=10))
def test_corners_in_turn_around_a_middle_within_are_a_zone(turns: list[int], reach: list[float]) -> None:
    gaps = [(b - a) % 36 for a, b in zip(turns, [*turns[1:], turns[0]], strict=True)]
    assume(max(gaps) < 18)  # else the middle is outside, and sides may run over each other
    assert len(Zone(name="z", points=tuple(around(turns, reach))).points) == len(turns)


@given(angles, st.integers(0, 9))
def test_two_neighbours_of_a_round_zone_changed_over_make_it_cross_itself(turns: list[int], at: int) -> None:
    points = around(turns, [0.4] * 10)
    i, j = at % len(points), (at + 1) % len(points)
    points[i], points[j] = points[j], points[i]
    with pytest.raises(ValidationError, match="the zone crosses itself"):
        Zone(name="z", points=tuple(points))
