"""A folder in COCO's layout as a DataSet: boxes, masks (polygons and run lengths), key points, crowds.

    DIR/annotations/*.json  or  DIR/*.json        several files about one picture are joined
    DIR/images/…, DIR/…, DIR/train2017/…, or beside the JSON file: where `file_name` is looked for

Format: https://cocodataset.org/#format-data. A crowd is an area about which nothing is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.training.annotated import IGNORED, LEFT_OUT, DataSet, Footage, Names, Picture, Thing, plain
from engines.training.mistakes import Mistakes
from engines.training.outlines import outline_of
from engines.training.picture_size import read_rgb, size_of
from engines.training.records import Record, are_numbers, read_json, records
from streamer.errors import SightlineError

KEYPOINT_ALIASES = {"nose": "head"}  # COCO names the face's parts; the model knows the head
INSIDE = 0.5  # share of a box that must lie in its picture: less is a mistake of units or of order


def read_coco(folder: Path, names: Names, keypoint_names: Sequence[str], mistakes: Mistakes) -> DataSet:
    """All pictures of the folder with their things, in the order of their paths; mistakes are noted, not raised."""
    files = sorted((folder / "annotations").glob("*.json")) or sorted(folder.glob("*.json"))
    if not files:
        mistakes.add("has no annotations/*.json and no *.json", str(folder), "give a folder of COCO's layout")
    reading = _Reading(folder, names, tuple(plain(name) for name in keypoint_names), mistakes)
    for path in files:
        reading.read(path)
    pictures = sorted(reading.pictures.items())
    footage = tuple(
        Footage(path.name, (replace(picture, things=tuple(reading.things[path].values())),))
        for path, picture in pictures
    )
    if files and not len(mistakes) and not any(reading.told):
        known = ", ".join(names.labels)
        mistakes.add(
            "no annotation is of a label that the model knows",
            str(folder),
            f"the model's labels are {known}: add --map OLD=NEW, or --labels",
        )
    return DataSet(names.labels, footage, tuple(reading.told), tuple(reading.notes()))


class _Reading:
    """What was read of a folder's files so far."""

    def __init__(
        self, folder: Path, names: Names, keypoint_names: tuple[str, ...], mistakes: Mistakes
    ) -> None:
        self.folder, self.names, self.keypoint_names, self.mistakes = folder, names, keypoint_names, mistakes
        self.pictures: dict[Path, Picture] = {}
        self.things: dict[Path, dict[Any, Thing]] = {}
        self.told = [False] * len(names.labels)
        self._left_out: Counter[str] = Counter()

    def notes(self) -> list[str]:
        return [f"{count} {what}" for what, count in sorted(self._left_out.items())]

    def read(self, path: Path) -> None:
        tree = read_json(path, self.mistakes)
        if tree is None:
            return
        annotated = records(tree, "annotations", str(path), self.mistakes)
        if annotated and all("caption" in record.fields for record in annotated):
            self._left_out[f"captions of {path.name} are left out"] += len(annotated)
            return
        categories = self._categories(records(tree, "categories", str(path), self.mistakes), annotated)
        pictures = self._pictures(records(tree, "images", str(path), self.mistakes), path)
        for record in annotated:
            self._annotation(record, categories, pictures)

    def _categories(
        self, listed: list[Record], annotated: list[Record]
    ) -> dict[int, tuple[int, dict[int, int]]]:
        """By id: the label, LEFT_OUT too, and for each of the category's key points that the model knows its place."""
        used = {record.fields.get("category_id") for record in annotated if _hashable(record, "category_id")}
        categories: dict[int, tuple[int, dict[int, int]]] = {}
        for record in listed:
            number, name = record.whole("id"), record.text("name")
            if number is None or name is None:
                continue
            place = self.names.place(name)
            if place is None:
                if number in used:
                    record.wrong("name", f"{name!r} is no label of the model", self.names.mend(name))
                place = LEFT_OUT
            points = record.fields.get("keypoints") or []
            if not isinstance(points, list) or not all(isinstance(point, str) for point in points):
                record.wrong("keypoints", "is not a list of names", 'write ["nose", …]')
                points = []
            known = [plain(KEYPOINT_ALIASES.get(point, point)) for point in points]
            places = {
                i: self.keypoint_names.index(p) for i, p in enumerate(known) if p in self.keypoint_names
            }
            categories[number] = place, places | {-1: len(points)}
        return categories

    def _pictures(self, listed: list[Record], file: Path) -> dict[Any, Path | None]:
        """By id: the picture's path; None for one whose record is wrong, which was noted."""
        found: dict[Any, Path | None] = {}
        for record in listed:
            if not _hashable(record, "id") or record.fields.get("id") is None:
                record.wrong("id", "is missing or no number", 'add "id": a whole number')
                continue
            number = record.fields["id"]
            if number in found:
                record.wrong("id", f"{number} stands twice", "give each picture an id of its own")
                continue
            found[number] = None
            name, height, width = (
                record.text("file_name"),
                record.whole("height", 1),
                record.whole("width", 1),
            )
            if name is None or height is None or width is None:
                continue
            path = self._place_of(name, file)
            if path is None:
                record.wrong(
                    "file_name", f"{name!r} does not exist", f"put the picture into {self.folder / 'images'}"
                )
                continue
            found[number] = path
            if path not in self.pictures:
                self._check_size(record, path, height, width)
                self.pictures[path] = Picture(path, height, width, ())
                self.things[path] = {}
        return found

    def _place_of(self, name: str, file: Path) -> Path | None:
        split = file.stem.rpartition("_")[2]
        images = self.folder / "images"
        places = (images, self.folder, self.folder / split, file.parent, images / split)
        return next((path for place in places if (path := place / name).is_file()), None)

    @staticmethod
    def _check_size(record: Record, path: Path, height: int, width: int) -> None:
        """A picture that its camera turned may be listed either way round: then it is read to see."""
        try:
            size = size_of(path)
            if size == (width, height) and height != width:
                read_rgb(path, height, width)
                return
        except (OSError, SightlineError) as error:
            record.wrong("file_name", str(error), "replace the file")
            return
        if size is None:
            record.wrong("file_name", f"{path.name} is no picture that can be read", "replace the file")
        elif size != (height, width):
            what = f"the picture is {size[1]}x{size[0]}, the record says {width}x{height}"
            record.wrong("width", what, f'write "width": {size[1]}, "height": {size[0]}')

    def _annotation(
        self,
        record: Record,
        categories: dict[int, tuple[int, dict[int, int]]],
        pictures: dict[Any, Path | None],
    ) -> None:
        number, category = record.fields.get("image_id"), record.whole("category_id")
        box = record.numbers("bbox", 4)
        if not _hashable(record, "image_id") or number not in pictures:
            record.wrong("image_id", f"{number!r} is no id of `images`", "list the picture, or remove this")
            return
        if category is not None and category not in categories:
            record.wrong("category_id", f"{category} is no id of `categories`", "list the category")
            return
        if box is not None and min(box[2:]) < 0:
            side = "width" if box[2] < 0 else "height"
            record.wrong("bbox", f"its {side} is {min(box[2:]):g}", "write x, y, width, height of the box")
            return
        place, points = categories[category] if category is not None else (LEFT_OUT, {-1: 0})
        keypoints = self._keypoints(record, points)
        path = pictures[number]
        if category is None or box is None or path is None:
            return
        picture = self.pictures[path]
        if box[2] == 0 or box[3] == 0:
            self._left_out["boxes without area are left out"] += 1
            return
        clipped = clip(box, picture)
        if clipped is None:
            size = f"{picture.width}x{picture.height}"
            what = f"[{', '.join(f'{x:g}' for x in box)}] lies outside the picture of {size}"
            record.wrong("bbox", what, "write x, y, width, height in pixels of the picture")
            return
        outline = outline_of(record, picture.height, picture.width)
        if place == LEFT_OUT:
            self._left_out["annotations of categories that were left out"] += 1
            return
        unsure = bool(record.fields.get("iscrowd")) or bool(record.fields.get("ignore"))
        self.told[place] |= not unsure
        thing = Thing(IGNORED if unsure else place, clipped, outline=outline, keypoints=keypoints)
        key = record.fields.get("id") if _hashable(record, "id") else None
        self._add(path, (key, category) if key is not None else record.where, thing)

    def _add(self, path: Path, key: Any, thing: Thing) -> None:
        """Adds a thing; one of the same id and box in another file gets what that one did not say."""
        here = self.things[path]
        before = here.get(key)
        if before is None:
            here[key] = thing
        elif before.box_xyxy == thing.box_xyxy:
            here[key] = replace(
                before,
                outline=before.outline if before.outline is not None else thing.outline,
                keypoints=before.keypoints if before.keypoints is not None else thing.keypoints,
            )
        else:  # an exporter that gives no ids of its own
            here[key, len(here)] = thing

    def _keypoints(
        self, record: Record, places: dict[int, int]
    ) -> tuple[tuple[float, float, float], ...] | None:
        values, count = record.fields.get("keypoints"), places[-1]
        if values is None or not count:
            return None
        if not isinstance(values, list) or len(values) != 3 * count or not are_numbers(values):
            mend = f"write x, y, v for each of the category's {count} key points"
            record.wrong("keypoints", f"is not a list of {3 * count} numbers", mend)
            return None
        if not set(values[2::3]) <= {0, 1, 2}:
            record.wrong("keypoints", "v is not 0, 1 or 2", "0: not labelled, 1: hidden, 2: visible")
            return None
        found = [(0.0, 0.0, 0.0)] * len(self.keypoint_names)
        for i, place in places.items():
            if i >= 0:
                found[place] = (float(values[3 * i]), float(values[3 * i + 1]), float(values[3 * i + 2]))
        return tuple(found) if any(v for _, _, v in found) else None


def clip(box_xywh: Sequence[float], picture: Picture) -> tuple[float, float, float, float] | None:
    """Corners of the box inside its picture; None if less than half of the box is."""
    x, y, w, h = box_xywh
    x0, x1 = max(0.0, x), min(float(picture.width), x + w)
    y0, y1 = max(0.0, y), min(float(picture.height), y + h)
    inside = max(0.0, x1 - x0) * max(0.0, y1 - y0)
    return (x0, y0, x1, y1) if inside >= INSIDE * w * h else None


def _hashable(record: Record, field: str) -> bool:
    return isinstance(record.fields.get(field), int | str | None)
