"""What a user's data set says, whatever its format: pictures, what is in them, and of what it is silent.

Silence is not "nothing there": a class that no annotation names, a mask or key points that were never drawn, an area
marked as crowded. Training asks nothing about those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streamer.errors import SightlineError

IGNORED = -1  # a thing's label: something may be here, and nothing is asked about it
LEFT_OUT = -2  # a name's place: no object of the model's, as the background is none
NO_TRACK = -1
ANYTHING_ELSE = "*"  # in a map of names: all that no other line of it names and the model does not know

Polygons = tuple[
    tuple[float, ...], ...
]  # each x, y, x, y, … in pixels of the picture; the object is their union
Rle = Mapping[str, Any]  # pycocotools' compressed form: `size` [h, w], `counts` bytes


@dataclass(frozen=True, slots=True)
class Thing:
    """One object, or an ignored area, of one picture.

    `label` into the data set's labels or IGNORED; `box_xyxy` in pixels of the picture, inside it; `track` the same in
    all pictures of a piece of footage; `outline` None where no mask was drawn; `keypoints` by place among the model's
    key points: x, y in pixels and v (0 not labelled, 1 hidden, 2 visible), None where none were drawn.
    """

    label: int
    box_xyxy: tuple[float, float, float, float]
    track: int = NO_TRACK
    outline: Polygons | Rle | None = None
    keypoints: tuple[tuple[float, float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file of `height` x `width` pixels and the things in it."""

    path: Path
    height: int
    width: int
    things: tuple[Thing, ...]


@dataclass(frozen=True, slots=True)
class Footage:
    """Pictures in order of time at `fps` a second; a still picture is footage of one."""

    name: str
    pictures: tuple[Picture, ...]
    fps: float = 1.0


@dataclass(frozen=True, slots=True)
class DataSet:
    """All of a user's data, checked. `told` says of each label whether the data set speaks of it at all."""

    labels: tuple[str, ...]
    footage: tuple[Footage, ...]
    told: tuple[bool, ...]
    notes: tuple[str, ...] = ()  # what was left out and why, a line each

    @property
    def pictures(self) -> int:
        return sum(len(footage.pictures) for footage in self.footage)

    @property
    def objects(self) -> int:
        return sum(thing.label != IGNORED for picture in self.all_pictures() for thing in picture.things)

    @property
    def still(self) -> bool:
        """No piece of footage shows time."""
        return all(len(footage.pictures) == 1 for footage in self.footage)

    def all_pictures(self) -> Iterator[Picture]:
        for footage in self.footage:
            yield from footage.pictures

    def with_footage(self, footage: tuple[Footage, ...]) -> DataSet:
        return replace(self, footage=footage)

    def digest(self) -> str:
        """The same for the same pictures' names and annotations: a run goes on only with the data it began with."""
        told = hashlib.sha256(repr((self.labels, self.told)).encode())
        for footage in self.footage:
            told.update(f"{footage.name} {footage.fps}".encode())
            for picture in footage.pictures:
                told.update(repr((picture.path.name, picture.height, picture.width, picture.things)).encode())
        return told.hexdigest()[:16]


class Names:
    """From a data set's names of things to the model's: equal but for case, blanks and strokes, or as `renames` say.

    `renames` maps a data set's name to a label, or to "" for what is no object of the model's; ANYTHING_ELSE stands
    for all other names. Raises SightlineError for a rename to a label that the model has not.
    """

    def __init__(self, labels: tuple[str, ...], renames: Mapping[str, str] | None = None) -> None:
        self.labels = labels
        self._places = {plain(label): place for place, label in enumerate(labels)}
        self._renames = {plain(old): new for old, new in (renames or {}).items()}
        for old, new in (renames or {}).items():
            if new and plain(new) not in self._places:
                raise SightlineError(
                    f"{new!r} is no label of the model",
                    where=f"--map {old}={new}",
                    mend=f"use one of {', '.join(labels)}, or name the new labels with --labels",
                )

    def place(self, *names: str) -> int | None:
        """The index of a thing's label, known by one of its `names`; LEFT_OUT for what is none of the model's.

        None for a thing that nothing was said about.
        """
        for name in map(plain, names):
            if name in self._renames:
                return self._place_of(self._renames[name])
            if name in self._places:
                return self._places[name]
        return self._place_of(self._renames[ANYTHING_ELSE]) if ANYTHING_ELSE in self._renames else None

    def _place_of(self, label: str) -> int:
        return self._places[plain(label)] if label else LEFT_OUT

    def mend(self, name: str) -> str:
        """What to do about a name that nothing was said about."""
        return (
            f"add --map '{name}=LABEL' with one of {', '.join(self.labels)}, --map '{name}=' to leave it out "
            f"(--map '*=': all such names), or --labels to give the model new labels"
        )


def plain(name: str) -> str:
    """A name without what writers differ in."""
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())
