"""Zones and lines that a user draws over a stream's picture, in fractions of it: they outlive a change of size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Protocol, TypeVar

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from streamer.strict import Strict

REGION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$"
# Less is a slip of the hand: a thousandth of the picture each way is about a pixel.
LEAST_AREA = 1e-6
LEAST_LENGTH = 1e-3
MOST_CORNERS = 32

Fraction01 = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Fraction01, Fraction01]
Labels = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(description="Only objects of these kinds; none named: all"),
]


def _refused(what: str, mend: str, *at: str | int) -> PydanticCustomError:
    """One mistake; `at` is the way to it from the value that was looked at."""
    return PydanticCustomError("bad_region", "{what} — {mend}", {"what": what, "mend": mend, "at": at})


def _polygon(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The corners, without those given twice in a row (a double click, a closed ring). Raises for no polygon."""
    if not 3 <= len(points) <= MOST_CORNERS:
        raise _refused(f"a zone with {len(points)} corners", f"give 3 to {MOST_CORNERS}")
    corners = tuple(point for i, point in enumerate(points) if point != points[(i + 1) % len(points)])
    flat = len(corners) < 3 or all(_turn(corners[0], b, c) == 0 for b, c in combinations(corners[1:], 2))
    if not flat and (crossing := _crossing(corners)):
        raise _refused(
            f"the zone crosses itself: its sides from corners {crossing[0]} and {crossing[1]} meet",
            "give the corners in their order around it",
        )
    area = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in _sides(corners))) / 2
    if flat or area < LEAST_AREA:
        raise _refused("the zone has no area", "give three corners or more that are not on one line")
    return corners


def _sides(corners: tuple[Point, ...]) -> Iterator[tuple[Point, Point]]:
    return ((a, corners[(i + 1) % len(corners)]) for i, a in enumerate(corners))


def _crossing(corners: tuple[Point, ...]) -> tuple[int, int] | None:
    """The numbers, from 1, of two sides that have a point in common besides the corner between them."""
    sides = list(_sides(corners))
    for (i, (a, b)), (j, (c, d)) in combinations(enumerate(sides), 2):
        if j == i + 1 or (i == 0 and j == len(sides) - 1):
            # Neighbours meet at their corner; more than that is a way back along the same line.
            before, corner, after = (a, b, d) if j == i + 1 else (c, d, b)
            ahead = [(p - q) * (r - q) for p, q, r in zip(before, corner, after, strict=True)]
            meet = _turn(before, corner, after) == 0 and sum(ahead) > 0
        else:
            meet = _meet(a, b, c, d)
        if meet:
            return i + 1, j + 1
    return None


def _turn(a: Point, b: Point, c: Point) -> float:
    """Above 0, below it or 0: on which side of the line through a and b c lies, or on it."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the stretches a-b and c-d have a point in common."""
    for one, other, point in ((a, b, c), (a, b, d), (c, d, a), (c, d, b)):
        if _turn(one, other, point) == 0 and all(
            min(one[i], other[i]) <= point[i] <= max(one[i], other[i]) for i in (0, 1)
        ):
            return True
    return _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0


class Zone(Strict):
    """A polygon. Who stands in it is decided by the middle of the lower edge of the object's box."""

    name: Annotated[str, Field(pattern=REGION_NAME, description="Unique among the stream's zones and lines")]
    points: Annotated[
        tuple[Point, ...],
        Field(
            description="Corners as [x, y], fractions of width and height",
            json_schema_extra={"minItems": 3, "maxItems": MOST_CORNERS},
        ),
        AfterValidator(_polygon),
    ]
    labels: Labels = ()
    dwell_s: Annotated[
        float | None, Field(gt=0, le=86_400, description="An event when somebody has stayed so long")
    ] = None
    forbidden: Annotated[
        bool, Field(description="Nobody may be in it: its enter events say `alarm: intrusion`")
    ] = False


class Line(Strict):
    """A line from `start` to `end`; crossed from its left to its right (seen along it) the direction is `in`."""

    name: Annotated[str, Field(pattern=REGION_NAME, description="Unique among the stream's zones and lines")]
    start: Annotated[Point, Field(description="[x, y], fractions of width and height")]
    end: Annotated[Point, Field(description="[x, y], fractions of width and height")]
    labels: Labels = ()
    one_way: Annotated[
        bool,
        Field(description="Only `in` is allowed, from its left to its right: `out` says `alarm: wrong_way`"),
    ] = False

    @model_validator(mode="after")
    def _has_length(self) -> Line:
        (x1, y1), (x2, y2) = self.start, self.end
        if (x2 - x1) ** 2 + (y2 - y1) ** 2 < LEAST_LENGTH**2:
            raise _refused("the line has no length", "give an end away from its start", "end")
        return self


class _HasRegions(Protocol):
    @property
    def zones(self) -> tuple[Zone, ...]: ...
    @property
    def lines(self) -> tuple[Line, ...]: ...


Owner = TypeVar("Owner", bound=_HasRegions)


def with_own_names(owner: Owner) -> Owner:
    """The same; raises PydanticCustomError for a second region of one name, at it."""
    known: set[str] = set()
    both: tuple[tuple[str, tuple[Zone | Line, ...]], ...] = (("zones", owner.zones), ("lines", owner.lines))
    for kind, regions in both:
        for i, region in enumerate(regions):
            if region.name in known:
                raise _refused(
                    f"the name {region.name} is taken by a zone or line before it",
                    "give each its own name",
                    *(kind, i, "name"),
                )
            known.add(region.name)
    return owner


_SHAPES = {
    "zones": "a list such as [{name: yard, points: [[0, 0.5], [1, 0.5], [1, 1]]}]",
    "lines": "a list such as [{name: door, start: [0.2, 0.5], end: [0.8, 0.5]}]",
    "points": "corners such as [[0, 0.5], [1, 0.5], [1, 1]]",
    "labels": "a list, such as [person, car]",
}
_PLACE = "a place such as [0.2, 0.5], fractions of the picture's width and height"


def said_of_region(detail: ErrorDetails) -> tuple[str, str] | None:
    """(what is wrong, how to mend it) for a finding in zones or lines; None where the plain words will do."""
    kind, loc = detail["type"], detail["loc"]
    if "zones" not in loc and "lines" not in loc:
        return None
    field = next(part for part in reversed(loc) if isinstance(part, str))
    if kind in ("less_than_equal", "greater_than_equal") and field in ("points", "start", "end"):
        return "not in the picture", "write fractions of its width and height, 0 to 1, not pixels"
    if kind == "string_pattern_mismatch":
        return (
            "not a name",
            "use up to 64 letters, digits, spaces, - _ and ., starting with a letter or digit",
        )
    of_place = field in ("start", "end") or (field == "points" and loc[-1] != "points")
    shapeless = kind in ("tuple_type", "model_type", "model_attributes_type")
    if shapeless or (of_place and (kind == "too_long" or (kind == "missing" and loc[-1] != field))):
        return "wrong type", f"write {_PLACE if of_place else _SHAPES[field]}"
    return None
