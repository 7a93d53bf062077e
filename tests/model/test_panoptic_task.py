"""The panoptic task: equal to the published postprocess where that is right, and its laws on masks made by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engines.models.coco_labels import COCO_PANOPTIC, THINGS
from engines.tasks.panoptic import PanopticRules, PanopticTask
from engines.tasks.pictures import grown
from streamer.masks import mask_from_rle
from streamer.types import Detections, Fit, Frame, FrameRef, Perception, Tracks
from tests.golden.make_detr import CONTENT_HW, panoptic_case

GOLDEN = Path(__file__).parent.parent / "golden" / "detr.npz"
HW, LABELS, ROAD, SKY = (32, 32), ("person", "car", "road", "sky"), 2, 3
TASK = PanopticTask(
    things=2,
    labels=LABELS,
    input_hw=HW,
    fit=Fit.PAD,
    boxes_of="content",
    input_names=("images", "content_hw"),
)
Answer = dict[str, NDArray[Any]]


def frame(source_hw: tuple[int, int] = (64, 64), input_hw: tuple[int, int] = HW) -> Frame:
    ref = FrameRef("s", 1, 0, 0, Fraction(1, 25), 0, 0)
    return Frame(ref, np.zeros((*input_hw, 3), np.uint8), source_hw, 0)


def answer(*masks: tuple[int, float, tuple[int, int, int, int]], queries: int = 6) -> Answer:
    """Masks of (label, score, y0 x0 y1 x1 in cells of 4 pixels), in the order of their queries, turned around."""
    logits = np.full((queries, len(LABELS) + 1), -20.0, np.float32)
    logits[:, -1] = 0.0
    maps = np.full((queries, 8, 8), -8.0, np.float32)
    for i, (label, score, (y0, x0, y1, x1)) in enumerate(masks):
        logits[i, label] = np.log(score / (1 - score))
        maps[i, y0:y1, x0:x1] = 8.0 - i
    chosen = np.arange(queries)[
        ::-1
    ]  # the graph gives them in the order of their scores, not of their queries
    boxes = np.tile(np.array([0.5, 0.5, 0.4, 0.4], np.float32), (queries, 1))
    found = {"pred_logits": logits, "pred_boxes": boxes, "pred_masks": maps[chosen], "mask_queries": chosen}
    return {name: array[None] for name, array in found.items()}


def perceive(one: Answer, by: PanopticTask = TASK, seen_in: Frame | None = None) -> Perception:
    [(perception, _)] = by.postprocess(one, [seen_in or frame()], [by.initial_state()])
    return perception


def names(perception: Perception) -> list[str]:
    assert perception.semantic is not None
    return sorted(perception.semantic_names[i] for i in np.unique(perception.semantic))


def test_the_published_postprocess_makes_the_same_map() -> None:
    case = {**panoptic_case(), "mask_queries": np.arange(12)[None]}
    by = PanopticTask(
        things=THINGS,
        rules=PanopticRules(mask=0.0),
        labels=COCO_PANOPTIC,
        input_hw=CONTENT_HW[0],
        fit=Fit.PAD,
    )
    seen = perceive(case, by, frame(CONTENT_HW[0], CONTENT_HW[0]))
    with np.load(GOLDEN) as file:
        segments, classes = file["panoptic/segments"], file["panoptic/classes"]
    assert seen.semantic is not None
    assert len(classes) == 8  # of nine sure masks one is too small
    assert np.array_equal(seen.semantic, classes[segments] + 1)
    things = [i for i, label in enumerate(classes) if label < THINGS]
    found = seen.tracks.detections
    assert found.masks is not None
    assert sorted(found.labels.tolist()) == sorted(classes[things].tolist())
    wanted = {(segments == i).tobytes() for i in things}
    assert {np.ascontiguousarray(mask_from_rle(mask)).tobytes() for mask in found.masks} == wanted


def test_maps_grow_as_torch_grows_them_and_only_the_content_is_kept() -> None:
    maps = np.random.default_rng(0).standard_normal((3, 9, 7)).astype(np.float32)
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], size=(33, 26), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(grown(maps, (33, 26), (20, 26)), whole[0, :, :20].numpy(), atol=1e-5)
    assert grown(maps[:0], (33, 26), (20, 26)).shape == (0, 20, 26)


def test_things_are_objects_and_stuff_is_a_class() -> None:
    one = answer((0, 0.9, (0, 0, 4, 4)), (1, 0.95, (4, 4, 8, 8)), (ROAD, 0.9, (0, 4, 4, 8)))
    seen = perceive(one)
    found = seen.tracks.detections
    assert [LABELS[i] for i in found.labels] == ["car", "person"]  # the surest first
    assert found.masks is not None and found.masks[0].size_hw == HW
    assert names(seen) == ["car", "person", "road", "unlabelled"]
    cars = mask_from_rle(found.masks[0])
    assert seen.semantic is not None
    assert np.array_equal(cars, seen.semantic == 1 + LABELS.index("car"))
    assert cars[20:, 20:].all() and not cars[:12].any()
    np.testing.assert_allclose(found.boxes_xyxy[0], [0.3 * 64, 0.3 * 64, 0.7 * 64, 0.7 * 64], rtol=1e-5)
    assert seen.tracks.track_ids.tolist() == [-1, -1]


def test_masks_of_the_same_stuff_become_one_and_keep_their_pixels_when_another_is_dropped() -> None:
    halves = [(ROAD, 0.9, (0, 0, 8, 4)), (ROAD, 0.9, (0, 4, 8, 8))]
    crumbs = answer(*halves, (SKY, 0.9, (0, 0, 0, 0)))  # a mask that wins no pixel
    assert names(perceive(crumbs)) == ["road"]
    two = answer((0, 0.9, (0, 0, 8, 4)), (0, 0.9, (0, 4, 8, 8)))
    assert len(perceive(two).tracks) == 2  # things of one class stay apart


def test_the_unsure_and_what_no_mask_wants_stay_unlabelled() -> None:
    assert names(perceive(answer((0, 0.84, (0, 0, 8, 8))))) == ["unlabelled"]
    half = answer((SKY, 0.9, (0, 0, 4, 8)))
    assert names(perceive(half)) == ["sky", "unlabelled"]
    everywhere = PanopticTask(
        things=2, rules=PanopticRules(mask=0.0), labels=LABELS, input_hw=HW, fit=Fit.PAD
    )
    assert names(perceive(half, everywhere)) == ["sky"]
    nothing = perceive(answer())
    assert len(nothing.tracks) == 0 and names(nothing) == ["unlabelled"]


def test_the_map_covers_the_source_and_not_the_padding() -> None:
    seen = perceive(answer((SKY, 0.9, (0, 0, 8, 8))), seen_in=frame(source_hw=(100, 200)))
    assert seen.semantic is not None
    assert seen.semantic.shape == (16, 32)
    told = TASK.preprocess([frame(source_hw=(100, 200))], [None])
    assert told["content_hw"].tolist() == [[16, 32]]


def test_the_order_in_the_batch_does_not_matter_and_rows_never_meet() -> None:
    answers = [answer((0, 0.9, (0, 0, 4, 4))), answer(), answer((ROAD, 0.9, (0, 0, 8, 8)))]
    frames = [frame(), frame((100, 200)), frame((200, 100))]
    single = [perceive(a, seen_in=f) for a, f in zip(answers, frames, strict=True)]
    for order in ([0, 1, 2], [2, 0, 1]):
        batch = {name: np.concatenate([answers[i][name] for i in order]) for name in answers[0]}
        together = TASK.postprocess(batch, [frames[i] for i in order], [None] * 3)
        for i, (seen, _) in zip(order, together, strict=True):
            assert seen.semantic is not None and single[i].semantic is not None
            assert np.array_equal(seen.semantic, single[i].semantic)
            assert seen.tracks.detections.masks == single[i].tracks.detections.masks


def test_an_associator_names_the_things_and_masks_go_with_them() -> None:
    class Second:
        """Keeps the second object it is shown."""

        lowest = 0.1

        def initial_state(self) -> int:
            return 4

        def associate(self, detections: Detections, state: int) -> tuple[Tracks, int]:
            assert detections.masks is not None
            kept = Detections(
                detections.boxes_xyxy[1:2],
                detections.scores[1:2],
                detections.labels[1:2],
                detections.masks[1:2],
            )
            return Tracks(kept, np.array([state]), np.array([0])), state + 1

    by = PanopticTask(things=2, labels=LABELS, input_hw=HW, fit=Fit.PAD, associator=Second())
    assert by.stateful and not TASK.stateful
    one = answer((0, 0.9, (0, 0, 4, 4)), (1, 0.95, (4, 4, 8, 8)))
    [(seen, state)] = by.postprocess(one, [frame()], [by.initial_state()])
    assert (seen.tracks.track_ids.tolist(), seen.tracks.detections.labels.tolist(), state) == ([4], [0], 5)
    assert names(seen) == ["car", "person", "unlabelled"]


@pytest.mark.parametrize("smallest", [0, 300])
def test_segments_of_a_few_pixels_are_dropped_and_others_get_theirs(smallest: int) -> None:
    by = PanopticTask(
        things=2, rules=PanopticRules(smallest=smallest), labels=LABELS, input_hw=HW, fit=Fit.PAD
    )
    one = answer(
        (0, 0.9, (0, 0, 4, 4)), (SKY, 0.9, (0, 0, 8, 8))
    )  # the person's 16 x 16 pixels lie before the sky
    seen = perceive(one, by)
    assert len(seen.tracks) == (1 if smallest == 0 else 0)
    assert names(seen) == (["person", "sky"] if smallest == 0 else ["sky"])
