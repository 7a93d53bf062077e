"""The whole run: a model that knows the truth scores one everywhere, each spoilt answer costs its own number alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from engines.evaluation.page import badness, spread, write_page
from engines.evaluation.scores import FLAT, Measures, told
from engines.evaluation.split import Clips, SplitRun, run_split
from streamer.commands.evaluate_tables import show
from streamer.errors import EngineError
from streamer.geometry import cxcywh_from_xyxy
from streamer.masks import rle_from_mask
from streamer.types import Action, Detections, Frame, Perception, Tracks
from streamer.world import ACTIONS, KEYPOINTS, LABELS, SEMANTIC, Truth, World, WorldConfig

HW = (96, 160)
ROWS, STREETS, FRAMES = 40, 3, 20
CONFIGS = [
    WorldConfig(
        1_000_000 + i, *HW, people=6, dogs=1, hour=22.0 if i == 1 else 12.0, theme="brick" if i else "pastel"
    )
    for i in range(STREETS)
]
CLIPS = Clips(labels=ACTIONS, frames=3, stride_s=0.16)
Spoil = Callable[[Perception, Truth], Perception]


@dataclass(frozen=True)
class NoTracks:
    """One slot, and nobody in it: the oracle needs no memory but how old its tracks are."""

    ages: Mapping[int, int]
    valid: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, bool))
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))


class Oracle:
    """A task and an engine in one: both answer with the truth of worlds of the same configuration."""

    labels = LABELS

    def __init__(self, spoil: Spoil = lambda perception, truth: perception) -> None:
        self.spoil = spoil
        self.worlds = {f"street-{i}": World(config) for i, config in enumerate(CONFIGS)}
        self.late_frames = 0  # how much older the worlds are than their streams
        self.truths: list[Truth] = []
        self.batches: list[int] = []

    def initial_state(self) -> NoTracks:
        return NoTracks({})

    def preprocess(self, frames: Sequence[Frame], states: Sequence[Any]) -> dict[str, NDArray[Any]]:
        self.truths = []
        self.batches.append(len(frames))
        for frame in frames:
            picture, truth = self.worlds[frame.ref.stream].step()
            np.testing.assert_array_equal(frame.image, picture)
            assert truth.frame == frame.ref.seq + self.late_frames
            late_s = self.late_frames * frame.ref.time_base
            assert frame.ref.pts * frame.ref.time_base + late_s == pytest.approx(truth.time_s)
            self.truths.append(truth)
        return {"images": np.stack([frame.image for frame in frames])}

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        logits = np.full((len(self.truths), 1 + ROWS, len(LABELS)), -9.0, np.float32)
        boxes = np.full((len(self.truths), 1 + ROWS, 4), 0.5, np.float32)
        scale = np.array([HW[1], HW[0], HW[1], HW[0]], np.float32)
        for b, truth in enumerate(self.truths):
            rows = 1 + np.arange(len(truth.ids))
            logits[b, rows, truth.labels] = 6.0
            boxes[b, rows] = cxcywh_from_xyxy(truth.boxes_xyxy / scale)
        return {"pred_logits": logits, "pred_boxes": boxes}

    def postprocess(
        self, outputs: Mapping[str, NDArray[Any]], frames: Sequence[Frame], states: Sequence[NoTracks]
    ) -> list[tuple[Perception, NoTracks]]:
        answers = []
        for truth, state in zip(self.truths, states, strict=True):
            ages = {int(i): state.ages.get(int(i), -1) + 1 for i in truth.ids}
            answers.append((self.spoil(perfect(truth, ages), truth), NoTracks({**state.ages, **ages})))
        return answers


def perfect(truth: Truth, ages: Mapping[int, int]) -> Perception:
    """The truth as an answer. Masks and class map on the grid of every second pixel, as they are served."""
    grid = truth.instances[::2, ::2]
    detections = Detections(
        truth.boxes_xyxy,
        np.full(len(truth.ids), 0.99, np.float32),
        truth.labels,
        tuple(rle_from_mask(grid == row) for row in range(len(truth.ids))),
    )
    points = truth.keypoints.copy()
    points[..., 2] = points[..., 2] > 1
    return Perception(
        Tracks(detections, truth.ids + 1, np.array([ages[int(i)] for i in truth.ids], np.int64)),
        LABELS,
        semantic=np.ascontiguousarray(truth.semantic[::2, ::2]),
        semantic_names=SEMANTIC,
        keypoints=points,
        keypoint_names=KEYPOINTS,
        actions=tuple(
            Action(ACTIONS[a], 0.9, int(i) + 1, 0, 0)
            for i, a in zip(truth.ids, truth.actions, strict=True)
            if a >= 0
        ),
    )


def measure(oracle: Oracle, **settings: Any) -> SplitRun:
    return run_split(oracle.infer, oracle, CONFIGS, frames=FRAMES, clips=CLIPS, **settings)


def numbers(spoil: Spoil) -> dict[str, Any]:
    return told(Measures(measure(Oracle(spoil))))


@pytest.fixture(scope="module")
def truth_told() -> Measures:
    return Measures(measure(Oracle()))


@pytest.fixture(scope="module")
def whole(truth_told: Measures) -> dict[str, Any]:
    return told(truth_told, unseen_themes=("brick",))


def test_the_truth_scores_one_in_everything(whole: dict[str, Any]) -> None:
    for name in FLAT:
        if name in ("action_top1_shuffled", "hota_bytetrack", "hota_iou"):
            continue
        assert whole[name] == pytest.approx(1.0), name
    assert whole["action_top1_shuffled"] is None  # the oracle has no rings to shuffle
    assert 0.5 < whole["hota_bytetrack"] < 1 and 0.5 < whole["hota_iou"] <= 1
    details = whole["details"]
    assert details["everything"]["hota"] == details["everything"]["mask_miou"] == 1.0
    assert details["everything"]["objects"] > details["clear"]["objects"] > 100
    assert details["actions"]["asked"] > 20 and 0 < details["actions"]["young_share"] < 1
    assert details["calibration"]["ece"] == pytest.approx(0.01)
    assert details["key_points"]["pck05"] == 1.0


def test_conditions_and_classes_part_the_whole(whole: dict[str, Any]) -> None:
    details = whole["details"]
    assert {k: v["streets"] for k, v in details["by_theme"].items()} == {"brick": 2, "pastel": 1}
    assert {k: v["streets"] for k, v in details["by_theme_in_training"].items()} == {"never": 2, "yes": 1}
    assert {k: v["streets"] for k, v in details["by_hour"].items()} == {"day": 2, "night": 1}
    for group in ("by_theme", "by_hour", "by_weather", "by_people"):
        for row in details[group].values():
            assert row["hota"] == row["ap"] == row["semantic_miou"] == pytest.approx(1.0)
    assert set(details["by_class"]) == set(LABELS)
    assert sum(row["objects"] for row in details["by_class"].values()) == details["clear"]["objects"]
    assert details["by_class"]["person"]["hota"] == 1.0
    absent = [row for row in details["by_class"].values() if not row["objects"]]
    assert absent and all(row["hota"] is row["idf1"] is row["mota"] is None for row in absent)


def test_it_can_be_written_and_shown(whole: dict[str, Any]) -> None:
    assert json.loads(json.dumps(whole))["hota"] == 1.0
    assert list(whole)[: len(FLAT)] == list(FLAT)
    console = Console(record=True, width=160)
    how = {"model": "oracle", "split": "heldout", "backend": "none", "precision": "f32"}
    show({**how, **whole}, console)
    shown = console.export_text()
    for words in ("HOTA", "ByteTrack", "person", "brick", "night", "never", "PCK@0.1", "left elbow"):
        assert words in shown, words


def test_streets_in_turns_give_the_numbers_of_streets_side_by_side(truth_told: Measures) -> None:
    oracle = Oracle()
    seen: list[tuple[int, int]] = []
    run = measure(oracle, most=2, watch=lambda done, total: seen.append((done, total)))
    assert set(oracle.batches) == {1, 2} and seen[-1] == (STREETS * FRAMES, STREETS * FRAMES)
    assert Measures(run).flat() == truth_told.flat()


def test_swapped_identities_cost_hota_but_no_detection(whole: dict[str, Any]) -> None:
    def swap(answer: Perception, truth: Truth) -> Perception:
        ids = answer.tracks.track_ids + 1000 * (truth.frame // 5)
        return replace(answer, tracks=replace(answer.tracks, track_ids=ids), actions=())

    spoilt = numbers(swap)
    assert spoilt["ap50"] == whole["ap50"] and spoilt["details"]["clear"]["deta"] == 1.0
    assert spoilt["hota"] < 0.6 and spoilt["idf1"] < 0.4 and spoilt["details"]["clear"]["switches"] > 10
    # thrown away is the identity, not the box: the baselines see the same and do the same
    assert spoilt["hota_bytetrack"] == whole["hota_bytetrack"] and spoilt["hota_iou"] == whole["hota_iou"]


def test_each_head_costs_its_own_number(whole: dict[str, Any]) -> None:
    def blunder(answer: Perception, truth: Truth) -> Perception:
        assert answer.semantic is not None and answer.keypoints is not None
        roads = np.where(
            answer.semantic == SEMANTIC.index("building"), SEMANTIC.index("road"), answer.semantic
        )
        points = answer.keypoints.copy()
        points[:, :6, 0] += 200
        return replace(
            answer,
            semantic=roads.astype(np.uint8),
            keypoints=points,
            actions=tuple(replace(a, name=ACTIONS[0]) for a in answer.actions),
        )

    spoilt = numbers(blunder)
    for name in ("ap50", "hota", "mask_miou", "idf1"):
        assert spoilt[name] == whole[name]
    ious = spoilt["details"]["semantic"]["iou_by_class"]
    assert ious["building"] == 0.0 and ious["road"] < 1 and ious["sky"] == 1.0
    assert 0.4 < spoilt["pck10"] < 0.7
    by_point = spoilt["details"]["key_points"]["pck10_by_point"]
    assert by_point["head"] == 0.0 and by_point["right_ankle"] == 1.0
    assert spoilt["action_top1"] < 1 and spoilt["details"]["actions"]["by_class"][ACTIONS[0]] == 1.0


def test_absent_heads_have_no_number() -> None:
    def boxes_only(answer: Perception, truth: Truth) -> Perception:
        plain = replace(answer.tracks.detections, masks=None)
        return replace(
            answer, tracks=replace(answer.tracks, detections=plain), semantic=None, keypoints=None, actions=()
        )

    oracle = Oracle(boxes_only)
    run = run_split(oracle.infer, oracle, CONFIGS, frames=FRAMES)
    spoilt = told(Measures(run))
    for name in ("mask_miou", "semantic_miou", "pck10", "action_top1", "action_top1_shuffled"):
        assert spoilt[name] is None, name
    for name in ("semantic", "key_points", "actions", "order", "falls"):
        assert spoilt["details"][name] is None, name
    assert spoilt["hota"] == 1.0
    show({"model": "m", "split": "s", "backend": "b", "precision": "p", **spoilt}, Console(record=True))


def test_a_model_of_other_things_is_refused() -> None:
    oracle = Oracle()
    oracle.labels = ("cat", "dog")  # type: ignore[misc]
    with pytest.raises(EngineError, match="it finds cat, dog"):
        measure(oracle)


def test_the_page_shows_what_went_worst(tmp_path: Path) -> None:
    def spoil(answer: Perception, truth: Truth) -> Perception:
        assert answer.semantic is not None
        n = len(truth.ids)
        keep = np.arange(n) < (n - 1 if truth.frame == 7 else n)  # in frame 7 the nearest object is missed
        found = answer.tracks.detections
        assert found.masks is not None
        plain = Detections(
            found.boxes_xyxy[keep], found.scores[keep], found.labels[keep],
            tuple(m for m, k in zip(found.masks, keep, strict=True) if k),
        )  # fmt: skip
        assert answer.keypoints is not None
        return replace(
            answer,
            tracks=Tracks(plain, answer.tracks.track_ids[keep], answer.tracks.ages[keep]),
            keypoints=answer.keypoints[keep],
            semantic=np.zeros_like(answer.semantic) if truth.frame == 3 else answer.semantic,
        )

    measures = Measures(measure(Oracle(spoil)))
    bad = badness(measures)
    assert {s.frame for _, s in bad["semantic"]} == {3} and not bad["false"] and not bad["switches"]
    assert all(s.frame == 7 for _, s in bad["misses"]) and bad["misses"]
    written = write_page(tmp_path / "page", measures, told(measures), "worst & best")
    files = sorted(p.name for p in (tmp_path / "page").glob("*.png"))
    text = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert written == len(files) >= 2 and all(f'src="{name}"' in text for name in files)
    assert "worst &amp; best" in text and "http" not in text
    picture = cv2.imread(str(tmp_path / "page" / "street00-frame0003.png"))
    assert picture is not None and picture.shape[1] > 2 * 600  # truth and answer side by side, enlarged


def test_the_same_scene_is_shown_once(truth_told: Measures) -> None:
    rows = [(1.0, seen) for seen in truth_told.run.frames]
    chosen = spread(rows, 9)
    assert {(s.street, s.frame) for _, s in chosen} == {(i, f) for i in range(STREETS) for f in (0, 12)}
