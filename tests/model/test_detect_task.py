"""The detect task on answers made by hand: how scores and boxes are read, batches, and an associator's part in it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.tasks.detect import DetectRules, DetectTask
from engines.tasks.pictures import content_hw
from engines.zoo import task_for
from streamer.errors import EngineError
from streamer.ports import EngineSpec, TensorSpec
from streamer.types import Detections, Fit, Frame, FrameRef, Perception, Tracks

HW, LABELS = (64, 64), ("N/A", "person", "car")
LEFT, RIGHT, WHOLE = (0.2, 0.5, 0.2, 0.4), (0.7, 0.5, 0.2, 0.4), (0.5, 0.5, 1.0, 1.0)
Row = tuple[int, float, tuple[float, float, float, float]]  # label, score, box cxcywh in 0..1
Answer = dict[str, NDArray[Any]]


def task(**changes: Any) -> DetectTask:
    return DetectTask(**{"labels": LABELS, "input_hw": HW, "fit": Fit.PAD, "boxes_of": "content"} | changes)


def frame(stream: str = "s", source_hw: tuple[int, int] = (320, 640)) -> Frame:
    return Frame(
        FrameRef(stream, 1, 0, 0, Fraction(1, 25), 0, 0), np.full((*HW, 3), 7, np.uint8), source_hw, 0
    )


def answer(*rows: Row, queries: int = 6, nothing: bool = True) -> Answer:
    """One frame's answer: `rows` first, then queries that see nothing. With `nothing` a last class, as DETR has it."""
    logits = np.zeros((1, queries, len(LABELS) + nothing), np.float32)
    logits[...] = -20.0
    boxes = np.tile(np.array([0.5, 0.5, 0.1, 0.1], np.float32), (1, queries, 1))
    if nothing:
        logits[..., -1] = 0.0
    for i, (label, score, box) in enumerate(rows):
        logits[0, i, label] = np.log(score / (1 - score))
        boxes[0, i] = box
    return {"pred_logits": logits, "pred_boxes": boxes}


def stacked(*answers: Answer) -> Answer:
    return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


def detect(one: Answer, by: DetectTask | None = None, seen_in: Frame | None = None) -> Perception:
    [(perception, _)] = (by or task()).postprocess(one, [seen_in or frame()], [None])
    return perception


def same(a: Perception, b: Perception) -> bool:
    left, right = a.tracks.detections, b.tracks.detections
    return all(
        np.array_equal(getattr(left, n), getattr(right, n)) for n in ("boxes_xyxy", "scores", "labels")
    )


@pytest.mark.parametrize(("scores", "nothing"), [("softmax", True), ("sigmoid", False)])
def test_both_kinds_of_score_are_read_and_the_surest_comes_first(scores: str, nothing: bool) -> None:
    one = answer((1, 0.6, LEFT), (2, 0.9, RIGHT), (1, 0.4, LEFT), nothing=nothing)
    seen = detect(one, task(scores=scores)).tracks
    assert seen.detections.labels.tolist() == [2, 1]
    np.testing.assert_allclose(seen.detections.scores, [0.9, 0.6], atol=1e-6)
    assert seen.track_ids.tolist() == [-1, -1]
    assert seen.ages.tolist() == [0, 0]


def test_nothing_is_not_an_object_however_sure() -> None:
    assert len(detect(answer()).tracks) == 0


def test_boxes_of_the_content_lie_in_the_source_wherever_it_lies_in_the_picture() -> None:
    tall, wide = frame(source_hw=(640, 320)), frame(source_hw=(320, 640))
    assert content_hw(wide, HW, Fit.PAD) == (32, 64)
    for seen_in in (tall, wide):
        h, w = seen_in.source_hw
        found = detect(answer((1, 0.9, LEFT)), seen_in=seen_in).tracks.detections.boxes_xyxy
        np.testing.assert_allclose(found, [[0.1 * w, 0.3 * h, 0.3 * w, 0.7 * h]], rtol=1e-5)


def test_boxes_of_the_picture_are_freed_of_its_padding() -> None:
    by = task(boxes_of="picture")
    found = detect(answer((1, 0.9, (0.5, 0.25, 0.5, 0.5))), by).tracks.detections.boxes_xyxy
    np.testing.assert_allclose(found, [[160, 0, 480, 320]], rtol=1e-5)  # the source fills the upper half
    below = answer((1, 0.9, (0.5, 0.8, 0.5, 0.2)))
    assert len(detect(below, by).tracks) == 0  # it sees padding


def test_a_box_without_an_area_is_no_object() -> None:
    one = answer((1, 0.9, (0.5, 0.5, 0.0, 0.2)), (1, 0.9, (np.nan, 0.5, 0.1, 0.1)), (1, 0.9, LEFT))
    assert len(detect(one).tracks) == 1


def test_the_order_in_the_batch_does_not_matter_and_rows_never_meet() -> None:
    answers = [answer((1, 0.9, LEFT)), answer(), answer((2, 0.7, RIGHT), (1, 0.8, WHOLE))]
    frames = [frame("a"), frame("b", (640, 320)), frame("c", (100, 100))]
    single = [detect(a, seen_in=f) for a, f in zip(answers, frames, strict=True)]
    for order in ([0, 1, 2], [2, 0, 1]):
        together = task().postprocess(
            stacked(*(answers[i] for i in order)), [frames[i] for i in order], [None] * 3
        )
        assert all(same(perception, single[i]) for i, (perception, _) in zip(order, together, strict=True))
    more = answer((1, 0.9, LEFT), queries=30)  # queries that see nothing change nothing
    assert same(detect(more), single[0])


def test_frames_are_packed_with_what_the_graph_asks_for() -> None:
    frames = [frame("a"), frame("b", (640, 320))]
    plain = task().preprocess(frames, [None, None])
    assert set(plain) == {"images"}
    assert plain["images"].shape == (2, *HW, 3)
    told = task(input_names=("images", "content_hw")).preprocess(frames, [None, None])
    assert told["content_hw"].tolist() == [[32, 64], [64, 32]]
    assert told["content_hw"].dtype == np.int32
    with pytest.raises(EngineError, match="is not"):
        odd = Frame(frames[0].ref, np.zeros((8, 8, 3), np.uint8), (8, 8), 0)
        task().preprocess([odd], [None])
    with pytest.raises(ValueError):
        task().preprocess(frames, [None])


class Counting:
    """An associator that numbers what it is shown, from 1, in each stream by itself."""

    lowest = 0.1

    def initial_state(self) -> int:
        return 0

    def associate(self, detections: Detections, state: int) -> tuple[Tracks, int]:
        ids = np.arange(len(detections)) + state + 1
        return Tracks(detections, ids, np.zeros(len(ids), np.int64)), state + len(ids)


def test_an_associator_sees_the_half_sure_too_and_each_stream_has_its_own() -> None:
    by = task(associator=Counting(), rules=DetectRules(threshold=0.5))
    assert by.stateful and not task().stateful
    one = answer((1, 0.9, LEFT), (2, 0.2, RIGHT), (1, 0.05, WHOLE))
    states = [by.initial_state(), 10]
    (first, a), (second, b) = by.postprocess(stacked(one, one), [frame("a"), frame("b")], states)
    assert (first.tracks.track_ids.tolist(), a) == ([1, 2], 2)
    assert (second.tracks.track_ids.tolist(), b) == ([11, 12], 12)
    (first, a), (second, b) = by.postprocess(
        stacked(one, one), [frame("a"), frame("b")], [by.initial_state(), b]
    )
    assert (first.tracks.track_ids.tolist(), second.tracks.track_ids.tolist()) == ([1, 2], [13, 14])


def spec(**meta: Any) -> EngineSpec:
    f32, u8 = np.dtype(np.float32), np.dtype(np.uint8)
    config = {"fit": "pad", "scores": "softmax", "boxes_of": "content"}
    return EngineSpec(
        name="x", backend="onnx", precision="f32", device="", digest="", max_batch_size=8,
        inputs=(TensorSpec("images", (-1, *HW, 3), u8), TensorSpec("content_hw", (-1, 2), f32)),
        outputs=(TensorSpec("pred_logits", (-1, 6, 4), f32), TensorSpec("pred_boxes", (-1, 6, 4), f32)),
        meta={"task": "detect", "labels": list(LABELS), "config": config, "detect": {"threshold": 0.65}} | meta,
    )  # fmt: skip


def test_an_engine_says_how_it_is_to_be_read() -> None:
    made = task_for(spec())
    assert isinstance(made, DetectTask)
    assert (made.fit, made.input_hw, made.rules.threshold) == (Fit.PAD, HW, 0.65)
    assert set(made.preprocess([frame()], [None])) == {"images", "content_hw"}
    assert made.stateful  # every detector follows
    alone = DetectTask.from_spec(spec())
    assert len(detect(answer((1, 0.6, LEFT), (1, 0.7, RIGHT)), alone).tracks) == 1


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"detect": {"treshold": 0.5}}, "unknown rule 'treshold'"),
        ({"labels": []}, "no labels"),
        ({"config": {"scores": "hinge"}}, "scores 'hinge'"),
    ],
)
def test_a_card_that_cannot_be_read_is_one_line(meta: dict[str, Any], said: str) -> None:
    with pytest.raises(EngineError, match=said) as caught:
        task_for(spec(**meta))
    assert "\n" not in str(caught.value)
