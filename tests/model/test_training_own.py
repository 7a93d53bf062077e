"""Fine-tuning on a user's own data: clips that tell the truth, silence that asks nothing, labels that carry over."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.models.street_family import Street, load_street, save_street
from engines.training.adopting import adopt
from engines.training.annotated import IGNORED, DataSet, Footage, Picture, Thing
from engines.training.chart import draw_chart
from engines.training.clips import EMPTY, MIRRORED_POINTS, NOBODY, UNKNOWN_MASK, ClipBatch, empty_batch
from engines.training.holdout import precision_on, split
from engines.training.own_clips import OwnPlan
from engines.training.own_data import OwnData, open_data
from engines.training.recipe import PRESETS
from engines.training.rehearsal import RehearsalPlan
from engines.training.run import StreetRun
from engines.training.silence import asked_cells, asked_rows, share_of
from engines.training.street import train_street
from engines.training.views import Shelf, View, wandering, write_view
from streamer.cli import run
from streamer.errors import SightlineError
from streamer.world import KEYPOINTS, LABELS
from tests.fakes.own_data import coco_folder, mot_folder, read_json, write_json

SMOKE = PRESETS["smoke"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are quickest so, above all on a machine with other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`coco` and `mot` data, and `street-tiny.safetensors` to begin with."""
    folder = tmp_path_factory.mktemp("own")
    coco_folder(folder / "coco", 20)
    mot_folder(folder / "mot", 2, 20)
    torch.manual_seed(0)
    save_street(Street(SMOKE.model), folder / "street-tiny.safetensors")
    return folder


def own(folder: Path, kind: str, **options: object) -> OwnData:
    return open_data(f"{kind}:{folder / kind}", folder / "street-tiny.safetensors", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["coco", "mot"])
def test_a_step_s_clips_do_not_depend_on_where_they_began(folder: Path, kind: str) -> None:
    plan = own(folder, kind).plan(SMOKE, 3, 0)
    from_start = list(itertools.islice(plan.batches(), 6))
    for first in (1, 4):
        resumed = next(plan.batches(first))
        for name, array in resumed._asdict().items():
            np.testing.assert_array_equal(array, getattr(from_start[first], name), err_msg=name)
    assert not np.array_equal(from_start[0].images, from_start[1].images)
    other = next(dataclasses.replace(plan, seed=4).batches())
    assert not np.array_equal(other.images, from_start[0].images)
    assert sum((batch.ids >= 0).sum() for batch in from_start) > 20


def test_every_still_picture_is_shown_once_in_a_pass(folder: Path) -> None:
    data = own(folder, "coco")
    plan = dataclasses.replace(data.plan(SMOKE, 0, 0), lanes=1, all_lanes=1, stay=1, frames=1)
    count = data.train.pictures
    shown = {batch.images.tobytes() for batch in itertools.islice(plan.batches(), count)}
    labels = sorted(int((b.labels >= 0).sum()) for b in itertools.islice(plan.batches(), count))
    assert len(shown) == count == 16 and labels[0] > 0
    members = [dataclasses.replace(plan, all_lanes=2, first_lane=i) for i in range(2)]
    both = [next(member.batches()).images.tobytes() for member in members]
    assert both[0] != both[1]


def test_an_identity_moves_little_from_frame_to_frame(folder: Path) -> None:
    for kind in ("coco", "mot"):
        plan = dataclasses.replace(own(folder, kind).plan(SMOKE, 1, 0), frames=4)
        moved = 0
        for batch in itertools.islice(plan.batches(), 4):
            for lane, t in itertools.product(range(plan.lanes), range(plan.frames - 1)):
                for place in np.flatnonzero(batch.ids[t, lane] >= 0):
                    later = np.flatnonzero(batch.ids[t + 1, lane] == batch.ids[t, lane, place])
                    if len(later):
                        step = batch.boxes[t + 1, lane, later[0], :2] - batch.boxes[t, lane, place, :2]
                        assert np.abs(step).max() < 0.25
                        moved += bool(np.abs(step).max() > 0)
        assert moved > 10, kind


def picture(tmp_path: Path, *things: Thing) -> Picture:
    path = tmp_path / "p.png"
    image = np.zeros((40, 80, 3), np.uint8)
    image[10:20, 20:40] = 255
    assert cv2.imwrite(str(path), image)
    return Picture(path, 40, 80, things)


def written(shown: Picture, view: View, places: int = 6) -> ClipBatch:
    plan = OwnPlan(DataSet(LABELS, (), (True,) * 5), 0, 32, 64, 1, frames=1, max_objects=places)
    batch = empty_batch(plan)._replace(ignored=np.zeros((1, 1, 16, 32), np.bool_))
    write_view(batch, (0, 0), shown, view, Shelf(32, 64), False)
    return batch


SQUARE = ((20.0, 10.0, 40.0, 10.0, 40.0, 20.0, 20.0, 20.0),)


def test_a_view_moves_picture_box_mask_and_points_alike(tmp_path: Path) -> None:
    points = tuple((22.0 if n.startswith("left") else 38.0, 15.0, 2.0) for n in KEYPOINTS)
    shown = picture(tmp_path, Thing(0, (20, 10, 40, 20), outline=SQUARE, keypoints=points))
    for view in (View(0.1, 0.1, 0.8, 0.7, False), View(0.1, 0.1, 0.8, 0.7, True), View(0, 0, 1, 1, True)):
        batch = written(shown, view)
        cx, cy, w, h = batch.boxes[0, 0, 0]
        bright = batch.images[0, 0, :, :, 0] > 127
        for cells in (bright, batch.masks[0, 0] == 0):
            rows, columns = cells.shape
            ys, xs = np.nonzero(cells)
            assert (xs.min() + xs.max() + 1) / 2 / columns == pytest.approx(cx, abs=0.03)
            assert (ys.min() + ys.max() + 1) / 2 / rows == pytest.approx(cy, abs=0.04)
            assert (xs.max() - xs.min() + 1) / columns == pytest.approx(w, abs=0.05)
            assert (ys.max() - ys.min() + 1) / rows == pytest.approx(h, abs=0.08)
        left = [n.startswith("left") for n in KEYPOINTS]
        right = [n.startswith("right") for n in KEYPOINTS]
        found = batch.keypoints[0, 0, 0]
        assert (found[:, 2] == 2).all() and found[:, 1] == pytest.approx(cy, abs=1e-5)
        # mirrored, the person's left is where its right was; named anew, it stays on the picture's left
        assert found[left, 0].max() < cx < found[right, 0].min()
    assert MIRRORED_POINTS[KEYPOINTS.index("left_knee")] == KEYPOINTS.index("right_knee")


def test_what_is_hardly_in_view_or_marked_so_is_not_asked_for(tmp_path: Path) -> None:
    shown = picture(
        tmp_path,
        Thing(0, (20, 10, 40, 20), outline=SQUARE, keypoints=((22.0, 15.0, 2.0),) * 13),
        Thing(1, (60, 10, 80, 20)),
        Thing(IGNORED, (0, 30, 20, 40)),
    )
    whole = written(shown, View(0, 0, 1, 1, False))
    assert sorted(whole.labels[0, 0].tolist()) == [EMPTY] * 4 + [0, 1]
    masks = whole.masks[0, 0]
    assert (masks[13:16, 1:7] == UNKNOWN_MASK).all() and masks[1, 1] == NOBODY
    assert whole.ignored is not None and whole.ignored[0, 0].sum() == 8 * 4
    car = int(np.flatnonzero(whole.labels[0, 0] == 1)[0])
    assert (masks[5:7, 25:31] == UNKNOWN_MASK).all() and not (masks == car).any()  # a box without outline
    cut = written(shown, View(0.45, 0, 0.55, 1, False))  # four of the person's twenty columns are in view
    assert cut.labels[0, 0].tolist().count(0) == 0 and cut.ignored is not None
    assert cut.ignored[0, 0, 5:7, 0:3].all()
    part = written(shown, View(0.375, 0, 0.6, 1, False))  # half of them; its points are outside, not unknown
    place = int(np.flatnonzero(part.labels[0, 0] == 0)[0])
    assert (part.keypoints[0, 0, place, :, 2] == 0).all()
    assert (part.keypoints[0, 0, 1 - place, :, 2] == -1).all()
    few = written(shown, View(0, 0, 1, 1, False), places=1)
    assert (few.labels >= 0).sum() == 1 and few.ignored is not None and few.ignored[0, 0].sum() > 8 * 4


def test_views_stay_inside_the_picture() -> None:
    rng = np.random.default_rng(0)
    for view in (v for _ in range(50) for v in wandering(rng, 6)):
        assert view.left >= 0 and view.left + view.width <= 1 + 1e-9
        assert view.top >= 0 and view.top + view.height <= 1 + 1e-9 and min(view.width, view.height) > 0.29


def test_the_share_of_a_box_on_an_area_is_its_share() -> None:
    areas = torch.zeros(1, 8, 16, dtype=torch.bool)
    areas[0, 2:6, 4:8] = True
    boxes = torch.tensor(
        [[[0.375, 0.5, 0.25, 0.5], [0.5, 0.5, 0.25, 0.5], [0.9, 0.1, 0.1, 0.1], [0.0, 0.5, 1, 1]]]
    )
    assert share_of(areas, boxes)[0].tolist() == pytest.approx([1.0, 0.5, 0.0, 16 / 128])


def test_silence_asks_nothing(folder: Path) -> None:
    """Rows and cells on ignored areas, and labels the data never names, give no gradient to the class heads."""
    data = own(folder, "mot")
    batch = next(data.plan(SMOKE, 0, 0).batches())
    assert (
        batch.ignored is not None
        and batch.told is not None
        and batch.told[0].tolist() == list(data.train.told)
    )
    cells = asked_cells(batch)
    assert cells is not None and not cells[:, LABELS.index("dog")].any() and cells[:, 0].any()
    boxes = torch.tensor([0.5, 0.5, 0.5, 0.5]).expand(*batch.labels.shape[:2], 2, 4)
    everywhere = batch._replace(ignored=np.ones_like(batch.ignored))
    places = torch.tensor([-1, 0]).expand(*batch.labels.shape[:2], 2)
    assert asked_rows(everywhere, boxes, places).unique(dim=2)[0, 0].tolist() == [0, 1]
    run = StreetRun(data.fitted(SMOKE), 0)
    nobody = everywhere._replace(labels=np.full_like(batch.labels, EMPTY), ids=np.full_like(batch.ids, EMPTY))
    losses = run._losses(nobody, np.random.default_rng(0))
    assert float(losses["class"].detach()) == 0 and float(losses["heat"].detach()) == 0
    losses = run._losses(batch, np.random.default_rng(0))
    (losses["class"] + losses["heat"]).backward()
    silent = [LABELS.index("bus"), LABELS.index("dog")]
    for tensor in (run.model.dense.heat.weight, run.model.decoder[-1].classify.weight):
        assert tensor.grad is not None
        assert tensor.grad[silent].abs().max() == 0 and tensor.grad[0].abs().max() > 0


def test_labels_carry_over_by_name() -> None:
    torch.manual_seed(1)
    given = Street(SMOKE.model).eval()
    for parameter in given.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    same = Street(dataclasses.replace(SMOKE.model, labels=("dog", "person", "bus", "car", "bicycle"))).eval()
    assert adopt(same, given, "") == []
    images = torch.randint(0, 256, (1, SMOKE.model.height, SMOKE.model.width, 3), dtype=torch.uint8)
    order = [LABELS.index(name) for name in same.config.labels]
    with torch.inference_mode():
        slots = SMOKE.model.track_slots
        tracks = (torch.randn(1, slots, 32), torch.full((1, slots, 4), 0.5), torch.ones(1, slots))
        a, b = given.decode(given.look(images), *tracks)[-1], same.decode(same.look(images), *tracks)[-1]
    torch.testing.assert_close(a.logits[..., order], b.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a.boxes, b.boxes, rtol=1e-4, atol=1e-4)
    other = Street(dataclasses.replace(SMOKE.model, labels=("forklift", "person")))
    fresh = other.dense.heat.weight.detach().clone()
    adopt(other, given, "")
    assert torch.equal(other.dense.heat.weight[1], given.dense.heat.weight[0])
    assert torch.equal(other.dense.heat.weight[0], fresh[0])
    old = given.decoder[0].look.vote.weight.view(32, 4, 9)
    new = other.decoder[0].look.vote.weight.view(32, 4, 6)
    assert torch.equal(new[..., :4], old[..., :4]) and torch.equal(new[..., 5], old[..., 4])


def test_what_is_held_out_is_not_trained_on(folder: Path) -> None:
    for kind, held in (("coco", 4), ("mot", 8)):
        data = own(folder, kind)
        train, kept = ({p.path for p in part.all_pictures()} for part in (data.train, data.held))
        assert not train & kept and len(kept) == held and len(train) + held == 20 * (1 + (kind == "mot"))
        assert own(folder, kind).held == data.held
    last = [p.path.stem for f in own(folder, "mot").held.footage for p in f.pictures]
    assert last == [f"{n:06d}" for n in range(17, 21)] * 2  # the end of each sequence
    assert own(folder, "coco", holdout=0).held.pictures == 0
    one = DataSet(LABELS, (Footage("a", (Picture(Path("a"), 1, 1, ()),)),), (True,) * 5)
    assert split(one, 0.5, 0)[0].pictures == 1


def test_precision_counts_what_fits_and_leaves_out_what_is_unsure(tmp_path: Path) -> None:
    class Knowing(Street):
        """Says the person of `picture`, and another where the data is unsure."""

        def decode(self, scene, *tracks):  # type: ignore[no-untyped-def]
            last = super().decode(scene, *tracks)[-1]
            logits, boxes = torch.full_like(last.logits, -20.0), torch.full_like(last.boxes, 0.5)
            k = self.config.track_slots
            logits[:, k, 0], logits[:, k + 1, 0] = 2.0, 4.0
            boxes[:, k] = torch.tensor([30 / 80, 15 / 40, 20 / 80, 10 / 40])
            boxes[:, k + 1] = torch.tensor([70 / 80, 35 / 40, 15 / 80, 8 / 40])
            return [last._replace(logits=logits, boxes=boxes)]

    model, told = Knowing(SMOKE.model).eval(), [True, True, False, False, False]
    person, crowd = Thing(0, (20, 10, 40, 20)), Thing(IGNORED, (60, 30, 80, 40))
    assert precision_on(model, [picture(tmp_path, person, crowd)], told)["ap50"] == pytest.approx(1.0)
    assert precision_on(model, [picture(tmp_path, person)], told)["ap50"] == pytest.approx(0.5, abs=0.01)


def test_some_lanes_go_on_showing_the_world(folder: Path) -> None:
    recipe = dataclasses.replace(SMOKE, lanes=4, rehearsal=0.25)
    data = own(folder, "mot", labels=("forklift", "dog", "person"), renames={"*": ""})
    plan = data.plan(recipe, 2, 0)
    assert isinstance(plan, RehearsalPlan) and (plan.own.lanes, plan.world.lanes) == (3, 1)
    from_start = list(itertools.islice(plan.batches(), 3))
    for name, array in next(plan.batches(2))._asdict().items():
        np.testing.assert_array_equal(array, getattr(from_start[2], name), err_msg=name)
    batch = from_start[0]
    assert batch.told is not None and batch.ignored is not None and batch.images.shape[1] == 4
    assert batch.told.tolist() == [[False, False, True]] * 3 + [[False, True, True]]
    assert (batch.semantic[:, :3] == NOBODY).all() and (batch.semantic[:, 3] != NOBODY).all()
    world = next(plan.world.batches())
    for old, new in (("person", 2), ("dog", 1), ("car", EMPTY), (None, EMPTY)):
        here = world.labels == (EMPTY if old is None else LABELS.index(old))
        assert (batch.labels[:, 3:][here] == new).all()
    gone = (world.labels >= 0) & (batch.labels[:, 3:] < 0)
    assert gone.any() and (batch.ids[:, 3:][gone] == EMPTY).all()
    for t, place in zip(*np.nonzero(gone[:, 0]), strict=True):
        cells = world.masks[t, 0] == place
        assert batch.ignored[t, 3][cells].all() and (batch.masks[t, 3][cells] == UNKNOWN_MASK).all()
    cells = np.isin(world.masks[0, 0], np.flatnonzero(gone[0, 0]))
    np.testing.assert_array_equal(batch.ignored[0, 3], cells)


@pytest.mark.parametrize("kind", ["coco", "mot"])
def test_a_run_on_own_data_leaves_weights_that_load(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "mot":  # by a team
        monkeypatch.setitem(PRESETS, "smoke", dataclasses.replace(SMOKE, processes=2, action_rounds=0))
    data = own(folder, kind)
    done = train_street("smoke", out=tmp_path, steps=4, data=data)
    assert (
        done.weights.name == "street-tiny.safetensors" and done.before is not None and done.after is not None
    )
    model, start = load_street(done.weights), load_street(folder / "street-tiny.safetensors")
    assert model.config == start.config
    changed = [not torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    assert sum(changed) > 0.5 * len(changed)
    with done.curve.open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 and all(np.isfinite(float(v)) for line in lines for v in line.values())
    assert all(float(line["semantic"]) == float(line["action"]) == 0 for line in lines)
    assert (float(lines[0]["mask"]) > 0, float(lines[0]["keypoints"]) > 0) == ((kind == "coco"),) * 2
    with (tmp_path / "validation.csv").open() as file:
        assert [line["step"] for line in csv.DictReader(file)] == ["0", "1", "2", "3", "4"]
    chart = cv2.imread(str(tmp_path / "curve.png"))
    assert chart.shape[1] == 960 and (chart < 250).any()
    with pytest.raises(SightlineError, match="not those that the run began with"):
        train_street("smoke", out=tmp_path, steps=6, data=own(folder, kind, holdout=0.5), resume=True)


def test_a_run_on_own_data_resumes_to_the_bit(folder: Path, tmp_path: Path) -> None:
    data = own(folder, "coco", labels=("person", "dog", "car", "bus", "bicycle"), holdout=0.1)
    straight = StreetRun(data.fitted(dataclasses.replace(SMOKE, steps=4)), 0)
    straight.begin_with(data.start)
    for batch in itertools.islice(data.plan(straight.recipe, 0, 0).batches(), 4):
        straight.train_step(batch, straight.learning_rate)
    straight.export(tmp_path / "straight.safetensors", "smoke")
    stopped = train_street("smoke", out=tmp_path / "run", steps=4, data=data, stop_after_step=2)
    resumed = train_street("smoke", out=tmp_path / "run", steps=4, data=data, resume=True)
    a, b = (load_street(path).state_dict() for path in (tmp_path / "straight.safetensors", resumed.weights))
    assert all(torch.equal(a[name], b[name]) for name in a)
    with (tmp_path / "run" / "validation.csv").open() as file:
        assert [line["step"] for line in csv.DictReader(file)] == ["0", "1", "2", "3", "4"]
    assert resumed.before == stopped.before
    assert load_street(resumed.weights).config.labels == ("person", "dog", "car", "bus", "bicycle")


def test_a_picture_that_breaks_while_the_run_goes_on_is_one_line(folder: Path, tmp_path: Path) -> None:
    coco = coco_folder(tmp_path / "coco", 2)
    data = open_data(f"coco:{coco}", folder / "street-tiny.safetensors", holdout=0)
    for path in (coco / "images").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SightlineError, match=r"images/00\d\.\w+: the picture cannot be decoded") as caught:
        train_street("smoke", out=tmp_path / "run", steps=2, data=data)
    assert "\n" not in str(caught.value)


def test_what_makes_no_sense_is_refused_in_one_line(folder: Path) -> None:
    start = folder / "street-tiny.safetensors"
    for address, options, said in (
        ("voc:x", {}, "'voc:x' is no data"),
        ("coco:nowhere", {}, "no such folder"),
        (f"coco:{folder / 'coco'}", {"holdout": 1.0}, "1.0 is no share"),
        (f"coco:{folder / 'coco'}", {"labels": ("a", "a")}, "stands twice"),
        (
            f"coco:{folder / 'coco'}",
            {"labels": ("forklift",), "renames": {"*": ""}},
            "no annotation is of a label",
        ),
    ):
        with pytest.raises(SightlineError, match=said) as caught:
            open_data(address, start, **options)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_the_chart_needs_a_curve_and_takes_numbers_of_any_size(tmp_path: Path) -> None:
    curve, out = tmp_path / "curve.csv", tmp_path / "curve.png"
    draw_chart(curve, tmp_path / "none.csv", out)
    assert not out.exists()
    for values in (("1e-6", "3e4"), ("0", "0.5"), ("7", "7")):
        curve.write_text(
            "step,images,minutes,lr,a,total\n" + "".join(f"{i},1,1,1,{v},nan\n" for i, v in enumerate(values))
        )
        draw_chart(curve, tmp_path / "none.csv", out)
        assert cv2.imread(str(out)).shape == (440, 960, 3)


def test_the_command_tells_mistakes_and_results_in_lines(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--start", str(folder / "street-tiny.safetensors"), "--out", str(tmp_path / "run")]
    broken = coco_folder(tmp_path / "coco", 2)
    tree = read_json(broken)
    tree["annotations"][1]["bbox"][2] = -3
    tree["images"][0]["file_name"] = "gone.png"
    write_json(broken, tree)
    assert run(["train", "street", "--data", f"coco:{broken}", *start]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "images[0].file_name: 'gone.png' does not exist" in said[0]
    assert "annotations[1].bbox: its width is -3 — write x, y, width, height" in said[1]
    for extra, line in (
        (["--labels", "a,b"], "--labels, --map, --rehearse: there is no data — add --data"),
        (["--data", f"mot:{folder / 'mot'}", "--map", "person"], "--map: 'person' is no pair of names"),
    ):
        assert run(["train", "street", *extra, *start]) == 1
        assert line in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    mot = [
        "--data",
        f"mot:{folder / 'mot'}",
        "--labels",
        "somebody",
        "--map",
        "pedestrian=somebody",
        "--map",
        "*=",
    ]
    assert run(["train", "street", "--preset", "smoke", "--steps", "1", *mot, *start]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "32 pictures with" in out[0] and "8 with" in out[0] and "held-out pictures: AP 0." in out[-1]
    note = json.loads((tmp_path / "run" / "data.json").read_text())
    assert note["labels"] == ["somebody"] and note["read"][0] == out[0]
