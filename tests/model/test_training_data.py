"""A user's data as read: what COCO and MOTChallenge folders say, and every mistake in them as a line of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.training.annotated import IGNORED, DataSet, Names
from engines.training.coco_data import read_coco
from engines.training.mistakes import SHOWN, DataError, Mistakes
from engines.training.mot_data import read_mot
from engines.training.outlines import decoded
from engines.training.picture_size import read_rgb, size_of
from streamer.errors import SightlineError
from streamer.world import KEYPOINTS, LABELS
from tests.fakes.own_data import HEIGHT, WIDTH, coco_folder, mot_folder, read_json, write_json

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_folder(tmp_path_factory.mktemp("own") / "coco", 6)


@pytest.fixture(scope="module")
def mot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mot_folder(tmp_path_factory.mktemp("own") / "mot", 1, 6)


def opened(kind: str, folder: Path, renames: dict[str, str] | None = None) -> DataSet:
    names, mistakes = Names(LABELS, renames), Mistakes()
    data = (
        read_coco(folder, names, KEYPOINTS, mistakes) if kind == "coco" else read_mot(folder, names, mistakes)
    )
    mistakes.tell()
    return data


def test_a_coco_folder_says_what_its_file_says(coco: Path) -> None:
    data = opened("coco", coco)
    tree = read_json(coco)
    assert data.pictures == 6 and data.still
    assert data.objects == len(tree["annotations"]) > 20
    pictures = {picture.path.name: picture for picture in data.all_pictures()}
    names = {image["id"]: image["file_name"] for image in tree["images"]}
    seen: set[str] = set()
    count: dict[str, int] = {}
    for annotation in tree["annotations"]:
        name = names[annotation["image_id"]]
        thing = pictures[name].things[count.get(name, 0)]
        count[name] = count.get(name, 0) + 1
        x, y, w, h = annotation["bbox"]
        assert thing.box_xyxy == pytest.approx((x, y, x + w, y + h))
        assert LABELS[thing.label] == tree["categories"][annotation["category_id"] - 1]["name"]
        given = annotation["segmentation"]
        if isinstance(given, list):
            assert thing.outline == tuple(map(tuple, given))
            seen.add("polygon")
        else:
            assert thing.outline is not None and not isinstance(thing.outline, tuple)
            mask = decoded(thing.outline)
            ys, xs = np.nonzero(mask)
            assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == pytest.approx((x, y, x + w, y + h))
            seen.add(type(given["counts"]).__name__)
        if "keypoints" in annotation and annotation["num_keypoints"]:
            assert thing.keypoints is not None
            head = dict(zip(KEYPOINTS, thing.keypoints, strict=True))["head"]
            assert head == pytest.approx(annotation["keypoints"][3:6])  # the nose; an eye came before
            seen.add("keypoints")
    assert seen == {"polygon", "str", "list", "keypoints"}


def test_files_about_the_same_pictures_are_joined(coco: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(coco, tmp_path / "coco"))
    tree = read_json(folder)
    points = {**tree, "annotations": [dict(a) for a in tree["annotations"] if "keypoints" in a]}
    tree["annotations"] = [{k: v for k, v in a.items() if k != "keypoints"} for a in tree["annotations"]]
    for annotation in points["annotations"]:
        del annotation["segmentation"]
    write_json(folder, tree)
    (folder / "annotations" / "a_keypoints.json").write_text(json.dumps(points))
    joined = [p.things for p in opened("coco", folder).all_pictures()]
    whole = [p.things for p in opened("coco", coco).all_pictures()]
    assert [len(things) for things in joined] == [len(things) for things in whole]
    both = sum(t.keypoints is not None and t.outline is not None for things in joined for t in things)
    assert both == sum(t.keypoints is not None for things in whole for t in things) > 0


def test_crowds_are_unknown_and_names_may_be_changed(coco: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(coco, tmp_path / "coco"))
    tree = read_json(folder)
    tree["annotations"][0]["iscrowd"] = 1
    tree["categories"][0]["name"] = "Pedes-trian"
    tree["categories"][4]["name"] = "Wolf"
    write_json(folder, tree)
    with pytest.raises(DataError) as caught:
        opened("coco", folder)
    lines = str(caught.value).splitlines()
    assert "'Pedes-trian' is no label of the model" in lines[0]
    assert "instances.json: categories[0].name" in lines[0] and "--map 'Pedes-trian=LABEL'" in lines[0]
    data = opened("coco", folder, {"pedes trian": "person", "*": ""})
    dogs = sum(a["category_id"] == 5 for a in tree["annotations"])
    assert data.objects == len(tree["annotations"]) - 1 - dogs
    first = next(p for p in data.all_pictures() if p.path.name == "000.jpg").things[0]
    assert first.label == IGNORED
    with pytest.raises(SightlineError, match="'cat' is no label of the model"):
        Names(LABELS, {"wolf": "cat"})


def change(field: str, value: Any, what: str = "annotations", index: int = 2) -> Callable[[Tree], None]:
    def apply(tree: Tree) -> None:
        if value is None:
            del tree[what][index][field]
        else:
            tree[what][index][field] = value

    return apply


COCO_MISTAKES: list[tuple[str, Callable[[Tree], None], str, str]] = [
    ("negative width", change("bbox", [5, 5, -4, 9]), "annotations[2].bbox", "its width is -4"),
    ("outside", change("bbox", [WIDTH, 5, 20, 9]), "annotations[2].bbox", "lies outside the picture of 144x96"),
    ("short box", change("bbox", [5, 5, 4]), "annotations[2].bbox", "is not a list of 4 numbers"),
    ("words", change("bbox", [5, 5, "4", 9]), "annotations[2].bbox", "is not a list of 4 numbers"),
    ("not finite", change("bbox", [5, 5, float("nan"), 9]), "annotations[2].bbox", "is not a list of 4 numbers"),
    ("no box", change("bbox", None), "annotations[2].bbox", "is missing"),
    ("no picture id", change("image_id", 99), "annotations[2].image_id", "99 is no id of `images`"),
    ("no category id", change("category_id", 77), "annotations[2].category_id", "77 is no id of `categories`"),
    ("half a pair", change("segmentation", [[1, 2, 3, 4, 5]]), "annotations[2].segmentation", "polygon of 5"),
    ("mask's size", change("segmentation", {"size": [9, 9], "counts": [81]}), "segmentation.size", "[9, 9]"),
    (
        "mask's runs", change("segmentation", {"size": [HEIGHT, WIDTH], "counts": [81]}),
        "annotations[2].segmentation.counts", "cover 81 pixels, the picture has 13824",
    ),
    ("mask's text", change("segmentation", {"size": [HEIGHT, WIDTH], "counts": "~~"}), "counts", "cover 0 pixels"),
    ("gone", change("file_name", "gone.jpg", "images"), "images[2].file_name", "'gone.jpg' does not exist"),
    ("no height", change("height", None, "images"), "images[2].height", "is missing"),
    ("height in words", change("height", "96", "images"), "images[2].height", '"96" is not a whole number'),
    ("other size", change("width", 99, "images"), "images[2].width", "the picture is 144x96, the record says 99x96"),
    ("twice", change("id", 1, "images"), "images[2].id", "1 stands twice"),
    ("no name", change("name", None, "categories"), "categories[2].name", "is missing"),
    ("no list", lambda tree: tree.update(annotations={}), "annotations", "is not a list"),
    ("no images", lambda tree: tree.pop("images"), "images", "is missing"),
    ("no object", lambda tree: tree["annotations"].append(3), "annotations[", "is not an object"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change_it", "field", "said"), [c[1:] for c in COCO_MISTAKES], ids=[c[0] for c in COCO_MISTAKES]
)
def test_a_mistake_in_coco_is_a_line_with_file_field_and_mend(
    coco: Path, tmp_path: Path, change_it: Callable[[Tree], None], field: str, said: str
) -> None:
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").symlink_to(coco / "images")
    tree = read_json(coco)
    change_it(tree)
    write_json(folder, tree)
    with pytest.raises(DataError) as caught:
        opened("coco", folder)
    first = str(caught.value).splitlines()[0]
    assert "instances.json" in first and field in first and said in first and " — " in first, first


def test_key_points_are_checked(coco: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(coco, tmp_path / "coco"))
    tree = read_json(folder)
    people = [i for i, a in enumerate(tree["annotations"]) if "keypoints" in a][:2]
    tree["annotations"][people[0]]["keypoints"] = [1, 2, 3]
    tree["annotations"][people[1]]["keypoints"][2] = 5
    write_json(folder, tree)
    with pytest.raises(DataError) as caught:
        opened("coco", folder)
    first, second = str(caught.value).splitlines()
    assert f"annotations[{people[0]}].keypoints" in first and "not a list of 42 numbers" in first
    assert f"annotations[{people[1]}].keypoints" in second and "v is not 0, 1 or 2" in second


def test_files_that_are_no_json_and_pictures_that_are_none(coco: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(coco, tmp_path / "coco"))
    (folder / "images" / "002.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(DataError, match=r"images\[2\]\.file_name: 002.jpg is no picture") as caught:
        opened("coco", folder)
    assert len(caught.value.problems) == 1
    (folder / "annotations" / "instances.json").write_text('{\n"images": [,]}')
    with pytest.raises(DataError, match=r"instances.json: line 2, column 12: is no JSON"):
        opened("coco", folder)
    shutil.rmtree(folder / "annotations")
    with pytest.raises(DataError, match=r"no annotations/\*.json"):
        opened("coco", folder)


def test_all_mistakes_are_told_at_once_and_the_rest_counted(coco: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(coco, tmp_path / "coco"))
    tree = read_json(folder)
    for annotation in tree["annotations"]:
        annotation["bbox"][3] = -1
    write_json(folder, tree)
    with pytest.raises(DataError) as caught:
        opened("coco", folder)
    count = len(tree["annotations"])
    lines = str(caught.value).splitlines()
    assert len(caught.value.problems) == count > SHOWN
    assert len(lines) == SHOWN + 1 and lines[-1] == f"… and {count - SHOWN} more mistakes of {count}"


def test_the_size_of_a_picture_is_read_without_decoding_it(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (37, 53, 3), np.uint8)
    for kind in ("jpg", "png", "bmp", "webp"):
        path = tmp_path / f"x.{kind}"
        assert cv2.imwrite(str(path), image)
        assert size_of(path) == (37, 53), kind
        assert read_rgb(path, 37, 53).shape == (37, 53, 3)
    np.testing.assert_array_equal(read_rgb(tmp_path / "x.png", 37, 53), image[:, :, ::-1])
    with pytest.raises(SightlineError, match="the picture is 53x37, the annotations say 40x30"):
        read_rgb(tmp_path / "x.png", 30, 40)


def test_a_mot_folder_says_what_its_lines_say(mot: Path) -> None:
    data = opened("mot", mot)
    (footage,) = data.footage
    assert footage.fps == 12.5 and len(footage.pictures) == 6 and not data.still
    assert data.told == (True, True, False, data.told[3], False)
    lines = [line.split(",") for line in (mot / "S00" / "gt" / "gt.txt").read_text().split()]
    clear = [line for line in lines if line[6] == "1" and float(line[8]) >= 0.25]
    assert data.objects == len(clear) > 20
    for picture in footage.pictures:
        for thing in picture.things:
            assert 0 <= thing.box_xyxy[0] < thing.box_xyxy[2] <= WIDTH
    ids = {int(line[1]) for line in clear}
    assert {t.track for p in data.all_pictures() for t in p.things if t.label >= 0} == ids
    unsure = [t for p in data.all_pictures() for t in p.things if t.label == IGNORED]
    assert len(unsure) == len(lines) - len(clear) and (2.0, 2.0, 22.0, 14.0) in {t.box_xyxy for t in unsure}


def test_the_earlier_layout_has_places_in_the_world(mot: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mot, tmp_path / "mot"))
    (folder / "S00" / "gt" / "gt.txt").write_text(
        "1,1,-5,10,20,30,1,3.5,-2.5,0\n2,1,500,10,20,30,1,-1,-1,-1\n"
    )
    data = opened("mot", folder)
    (thing,) = [t for p in data.all_pictures() for t in p.things]
    assert thing.box_xyxy == (0, 10, 15, 40) and LABELS[thing.label] == "person"
    assert data.notes == ("1 boxes outside their picture are left out",)


MOT_MISTAKES = [
    ("columns", "1,1,5,5,10", "line 2: columns", "there are 5, not 7 to 10"),
    ("half an id", "1,1.5,5,5,9,9,1,1,1", "line 2: id", "'1.5' is no whole number"),
    ("a word", "1,1,5,x,9,9,1,1,1", "line 2: top", "'x' is no number"),
    ("negative", "1,1,5,5,-9,9,1,1,1", "line 2: width", "-9 is below 0"),
    ("frame 0", "0,1,5,5,9,9,1,1,1", "line 2: frame", "0 is below 1"),
    ("no picture", "7,1,5,5,9,9,1,1,1", "line 2: frame", "7 has no picture"),
    ("twice", "1,3,5,5,9,9,1,1,1", "line 2: id", "3 stands twice in frame 1"),
    ("class", "1,1,5,5,9,9,1,44,1", "line 2: class", "44 is none of the benchmark's"),
    ("label", "1,1,5,5,9,9,1,6,1", "line 2: class", "'non motorized vehicle', is no label of the model"),
]


@pytest.mark.parametrize(
    ("line", "field", "said"), [c[1:] for c in MOT_MISTAKES], ids=[c[0] for c in MOT_MISTAKES]
)
def test_a_mistake_in_mot_is_a_line_with_file_line_field_and_mend(
    mot: Path, tmp_path: Path, line: str, field: str, said: str
) -> None:
    sequence = tmp_path / "mot" / "S00"
    (sequence / "gt").mkdir(parents=True)
    (sequence / "img1").symlink_to(mot / "S00" / "img1")
    shutil.copy(mot / "S00" / "seqinfo.ini", sequence)
    (sequence / "gt" / "gt.txt").write_text(f"1,3,5,5,9,9,1,1,1\n{line}\n")
    with pytest.raises(DataError) as caught:
        opened("mot", tmp_path / "mot")
    (told,) = str(caught.value).splitlines()
    assert "S00/gt/gt.txt" in told and field in told and said in told and " — " in told


def test_seqinfo_must_say_the_rate(mot: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mot, tmp_path / "mot"))
    info = folder / "S00" / "seqinfo.ini"
    for text, said in (
        ("[Sequence]\nname=S00\n", r"seqinfo.ini: frameRate: is missing — add frameRate=25"),
        ("[Sequence]\nframeRate=fast\n", r"seqinfo.ini: frameRate: 'fast' is no number above 0"),
        ("frameRate=25\n", r"seqinfo.ini: has no section \[Sequence\]"),
    ):
        info.write_text(text)
        with pytest.raises(DataError, match=said):
            opened("mot", folder)
    info.unlink()
    (folder / "S00" / "gt" / "gt.txt").unlink()
    with pytest.raises(DataError) as caught:
        opened("mot", folder)
    assert [p.what for p in caught.value.problems] == ["does not exist", "does not exist"]
