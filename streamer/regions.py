"""Zones and lines that a user draws over a stream's picture, in fractions of it: they outlive a change of size."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from streamer.strict import Strict

REGION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$"
Fraction01 = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Fraction01, Fraction01]
Labels = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(description="Only objects of these kinds; none named: all"),
]


class Zone(Strict):
    """A polygon. Who stands in it is decided by the middle of the lower edge of the object's box."""

    name: Annotated[str, Field(pattern=REGION_NAME, description="Unique among the stream's zones and lines")]
    points: Annotated[
        tuple[Point, ...],
        Field(min_length=3, max_length=32, description="Corners as [x, y], fractions of width and height"),
    ]
    labels: Labels = ()
    dwell_s: Annotated[
        float | None, Field(gt=0, le=86_400, description="An event when somebody has stayed so long")
    ] = None


class Line(Strict):
    """A line from `start` to `end`; crossed from its left to its right (seen along it) the direction is `in`."""

    name: Annotated[str, Field(pattern=REGION_NAME, description="Unique among the stream's zones and lines")]
    start: Annotated[Point, Field(description="[x, y], fractions of width and height")]
    end: Annotated[Point, Field(description="[x, y], fractions of width and height")]
    labels: Labels = ()
