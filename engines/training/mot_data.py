"""A folder in MOTChallenge's layout as a DataSet: footage with boxes and identities, without masks.

    DIR/SEQ/{seqinfo.ini, img1/000001.jpg, gt/gt.txt}        or DIR itself is one sequence

A line of gt.txt (https://motchallenge.net/instructions, MOT16 and later; Milan et al. 2016):

    frame, id, left, top, width, height, counts [, class, visibility]

with `counts` 0 for what is neither merit nor fault. The earlier layout has ten columns, the last three of them places
in the world, and pedestrians only. Boxes are of the whole object, hidden parts too, and may leave the picture.
"""

from __future__ import annotations

import configparser
import math
from collections import Counter
from pathlib import Path

from engines.training.annotated import IGNORED, LEFT_OUT, DataSet, Footage, Names, Picture, Thing
from engines.training.mistakes import Mistakes
from engines.training.picture_size import size_of

CLASSES = {
    1: "pedestrian", 2: "person on vehicle", 3: "car", 4: "bicycle", 5: "motorbike", 6: "non motorized vehicle",
    7: "static person", 8: "distractor", 9: "occluder", 10: "occluder on the ground", 11: "occluder full",
    12: "reflection", 13: "crowd",
}  # fmt: skip
PEDESTRIAN = 1
SCENERY = (9, 10, 11)  # what people walk behind: background, as in any other data
UNSURE = (2, 7, 8, 12, 13)  # looks like a person to some: neither merit nor fault, as the benchmark has it
SYNONYMS = {"pedestrian": "person", "motorbike": "motorcycle"}
DIFFICULT = 0.25  # visibility below which an object is not asked for, as in the evaluation
LEAST, MOST = 7, 10  # columns


def read_mot(folder: Path, names: Names, mistakes: Mistakes) -> DataSet:
    """All sequences of the folder, in the order of their names; mistakes are noted, not raised."""
    alone = (folder / "seqinfo.ini").is_file() or (folder / "gt").is_dir()
    sequences = [folder] if alone else sorted(p for p in folder.glob("*") if p.is_dir() and p.name[0] != ".")
    if not sequences:
        mistakes.add("holds no sequence", str(folder), "give a folder of SEQ/{img1, gt/gt.txt, seqinfo.ini}")
    told = [False] * len(names.labels)
    left_out: Counter[str] = Counter()
    footage = []
    for sequence in sequences:
        pictures = _pictures(sequence, mistakes)
        fps = _fps(sequence / "seqinfo.ini", mistakes)
        truth = _Truth(sequence / "gt" / "gt.txt", names, mistakes, left_out)
        things = truth.read(pictures)
        for found in things.values():
            for thing in found:
                if thing.label >= 0:
                    told[thing.label] = True
        shown = tuple(
            Picture(path, *size, tuple(things.get(number, ())))
            for number, (path, size) in sorted(pictures.items())
        )
        if shown:
            footage.append(Footage(sequence.name, shown, fps or 1.0))
    if sequences and not len(mistakes) and not any(told):
        known = ", ".join(names.labels)
        mistakes.add(
            "no line of gt.txt is of a label that the model knows",
            str(folder),
            f"the model's labels are {known}: add --map pedestrian=NEW, or --labels",
        )
    notes = tuple(f"{count} {what}" for what, count in sorted(left_out.items()))
    return DataSet(names.labels, tuple(footage), tuple(told), notes)


def _info(path: Path) -> configparser.SectionProxy | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8"))
        return parser["Sequence"]
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        return None


def _fps(path: Path, mistakes: Mistakes) -> float | None:
    if not path.is_file():
        mistakes.add("does not exist", str(path), "write [Sequence] and frameRate=25 into it")
        return None
    info = _info(path)
    if info is None:
        mistakes.add("has no section [Sequence]", str(path), "write [Sequence] above frameRate=25")
        return None
    text = info.get("frameRate")
    if text is None:
        mistakes.add("is missing", f"{path}: frameRate", "add frameRate=25, pictures a second")
        return None
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if not (math.isfinite(fps) and fps > 0):
        mistakes.add(f"{text!r} is no number above 0", f"{path}: frameRate", "write pictures a second")
        return None
    return fps


def _pictures(sequence: Path, mistakes: Mistakes) -> dict[int, tuple[Path, tuple[int, int]]]:
    """By frame number: the picture's path, its height and width."""
    info = _info(sequence / "seqinfo.ini")
    folder = sequence / (info.get("imDir", "img1") if info is not None else "img1")
    found: dict[int, tuple[Path, tuple[int, int]]] = {}
    for path in sorted(folder.glob("*")):
        if not path.stem.isdecimal():
            continue
        try:
            size = size_of(path)
        except OSError as error:
            mistakes.add(f"cannot be read: {error}", str(path), "replace the file")
            continue
        if size is None:
            mistakes.add("is no picture that can be read", str(path), "replace the file")
        else:
            found[int(path.stem)] = path, size
    if not found:
        mistakes.add(
            "holds no picture named by its frame", str(folder), "name them 000001.jpg, 000002.jpg, …"
        )
    return found


class _Truth:
    """One gt.txt, read line by line."""

    def __init__(self, path: Path, names: Names, mistakes: Mistakes, left_out: Counter[str]) -> None:
        self.path, self.names, self.mistakes, self.left_out = path, names, mistakes, left_out

    def _wrong(self, line: int, field: str, what: str, mend: str) -> None:
        self.mistakes.add(what, f"{self.path}: line {line}: {field}", mend)

    def read(self, pictures: dict[int, tuple[Path, tuple[int, int]]]) -> dict[int, list[Thing]]:
        """By frame number: its things."""
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            self.mistakes.add(what, str(self.path), "add it, or move the sequence out of the folder")
            return {}
        things: dict[int, list[Thing]] = {}
        seen: set[tuple[int, int]] = set()
        strange: set[int] = set()
        for n, line in enumerate(lines, 1):
            values = self._values(n, line) if line.strip() else None
            if values is None:
                continue
            frame, track = int(values[0]), int(values[1])
            if frame not in pictures:
                if pictures:
                    self._wrong(
                        n, "frame", f"{frame} has no picture", f"add {frame:06d}.jpg, or remove the line"
                    )
                continue
            if (frame, track) in seen:
                self._wrong(
                    n, "id", f"{track} stands twice in frame {frame}", "give each object one line a frame"
                )
                continue
            seen.add((frame, track))
            thing = self._thing(n, values, track, pictures[frame][1], strange)
            if thing is not None:
                things.setdefault(frame, []).append(thing)
        return things

    def _values(self, n: int, line: str) -> list[float] | None:
        """The line's numbers; None where they make no sense, which was noted."""
        parts = line.replace(";", ",").split(",")
        if not LEAST <= len(parts) <= MOST:
            mend = "write frame, id, left, top, width, height, counts, class, visibility"
            self._wrong(n, "columns", f"there are {len(parts)}, not {LEAST} to {MOST}", mend)
            return None
        fields = ("frame", "id", "left", "top", "width", "height", "counts", "class", "visibility", "z")
        values = []
        for field, text in zip(fields, parts, strict=False):
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            whole = field in ("frame", "id") or (field == "class" and len(parts) < MOST)
            if not math.isfinite(value) or (whole and not value.is_integer()):
                kind = "whole number" if whole else "number"
                self._wrong(n, field, f"{text.strip()!r} is no {kind}", f"write a {kind}")
                return None
            values.append(value)
        for field, place in (("width", 4), ("height", 5)):
            if values[place] < 0:
                self._wrong(
                    n, field, f"{values[place]:g} is below 0", "write left, top, width, height of the box"
                )
                return None
        if values[0] < 1:
            self._wrong(n, "frame", f"{int(values[0])} is below 1", "count frames from 1")
            return None
        return values

    def _thing(
        self, n: int, values: list[float], track: int, size: tuple[int, int], strange: set[int]
    ) -> Thing | None:
        height, width = size
        x, y, w, h = values[2:6]
        box = (max(0.0, x), max(0.0, y), min(float(width), x + w), min(float(height), y + h))
        if box[2] <= box[0] or box[3] <= box[1]:
            self.left_out["boxes outside their picture are left out"] += 1
            return None
        written = len(values) < MOST and len(values) > LEAST
        kind = int(values[7]) if written else PEDESTRIAN
        visibility = values[8] if written and len(values) > 8 else 1.0
        if kind in SCENERY:
            self.left_out["boxes of occluders are left out"] += 1
            return None
        counts = values[6] != 0
        place = IGNORED
        if kind not in UNSURE or not counts:
            found = self._place(n, kind, strange) if counts else IGNORED
            if found is None or found == LEFT_OUT:
                return None
            place = found
        if not counts or visibility < DIFFICULT:
            place = IGNORED
        return Thing(place, box, track if place >= 0 else -1)

    def _place(self, n: int, kind: int, strange: set[int]) -> int | None:
        """The label of a class; a class that nothing was said about is noted once a file."""
        name = CLASSES.get(kind)
        if name is None:
            self._wrong(n, "class", f"{kind} is none of the benchmark's", "write 1 to 13, 1 for a pedestrian")
            return None
        place = self.names.place(name, SYNONYMS.get(name, name))
        if place is None and kind not in strange:
            strange.add(kind)
            self._wrong(n, "class", f"{kind}, {name!r}, is no label of the model", self.names.mend(name))
        return place
