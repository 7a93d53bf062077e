"""The wire: what is written is read back, matches its schema, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.commands.schema import Subject, schema_text
from streamer.errors import WireError
from streamer.masks import mask_from_rle, rle_from_mask
from streamer.types import (
    Action,
    Detections,
    Event,
    EventKind,
    FrameRef,
    Perception,
    Result,
    Timing,
    Tracks,
    event_id,
)
from streamer.wire import (
    EVENT_JSON_SCHEMA,
    RESULT_JSON_SCHEMA,
    decode_event,
    decode_result,
    encode_event,
    encode_result,
)

VALID_EVENT = jsonschema.Draft202012Validator(EVENT_JSON_SCHEMA)
VALID_RESULT = jsonschema.Draft202012Validator(RESULT_JSON_SCHEMA)
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
LABELS = ("person", "car", "bus")
F32 = st.floats(-1e6, 1e6, width=32)
COUNT = st.integers(0, 2**62)
NAMES = st.text(min_size=1, max_size=12)


@st.composite
def results(draw: st.DrawFn) -> Result:
    n = draw(st.integers(0, 4))

    def column(values: st.SearchStrategy[Any], dtype: Any) -> Any:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)), dtype)

    masks = None
    if draw(st.booleans()):
        grid = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
        seed = draw(st.integers(0, 2**32 - 1))
        pixels = np.random.default_rng(seed).random((n, *grid)) < 0.5
        masks = tuple(rle_from_mask(mask) for mask in pixels)
    boxes = np.array(draw(st.lists(F32, min_size=4 * n, max_size=4 * n)), np.float32).reshape(n, 4)
    found = Detections(boxes, column(F32, np.float32), column(st.integers(0, 2), np.int64), masks)
    tracks = Tracks(found, column(COUNT, np.int64), column(COUNT, np.int64))
    semantic = None
    if draw(st.booleans()):
        shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
        choice = np.array([0, 1, 2, 255], np.uint8)
        semantic = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).choice(choice, shape)
    keypoints = None
    if draw(st.booleans()):
        points = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(0, 99, (n, 2, 3))
        points[np.arange(n) % 2 == 1] = 0  # of a kind that has none
        keypoints = points.astype(np.float32)
    action = st.builds(Action, NAMES, st.floats(0, 1), st.none() | COUNT, COUNT, COUNT)
    times = np.cumsum([0, *(draw(st.integers(0, 10**7)) * 1000 for _ in range(5))]).tolist()
    return Result(
        FrameRef(
            draw(NAMES),
            draw(COUNT),
            draw(COUNT),
            draw(st.integers(-(2**40), 2**40)),
            Fraction(1, 90_000),
            0,
            draw(COUNT),
        ),
        (draw(st.integers(1, 5000)), draw(st.integers(1, 5000))),
        Perception(
            tracks,
            LABELS,
            semantic=semantic,
            semantic_names=("road", "sky", "car") if semantic is not None else (),
            keypoints=keypoints,
            keypoint_names=("head", "left_wrist") if keypoints is not None else (),
            actions=tuple(draw(st.lists(action, max_size=3))),
        ),
        Timing(*times),
        draw(st.dictionaries(NAMES, st.text(max_size=9), max_size=3)),
    )


def event(**changes: Any) -> Event:
    attrs = {"label": "car", "score": 0.5, "box_xyxy": [1.0, 2.0, 3.5, 4.0], "source_hw": [144, 256]}
    made = Event(
        event_id("door", 3, 7, EventKind.APPEAR, 5),
        EventKind.APPEAR,
        "door",
        3,
        7,
        1_700_000_000_000_000_000,
        5,
        attrs,
        {"frames": [1, 2]},
        {"total": 12.5},
        {"model": "street-nano"},
    )
    return replace(made, **changes)


def result(n: int = 2) -> Result:
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:6] = True
    found = Detections(
        np.arange(4 * n, dtype=np.float32).reshape(n, 4),
        np.full(n, 0.25, np.float32),
        np.arange(n) % 3,
        tuple(rle_from_mask(mask) for _ in range(n)),
    )
    payload = Perception(Tracks(found, np.arange(n), np.arange(n)), LABELS)
    ref = FrameRef("door", 3, 7, 100, Fraction(1, 25), 5, 1_700_000_000_000_000_000)
    return Result(ref, (144, 256), payload, Timing(0, 10, 20, 30, 40, 50), {"model": "street-nano"})


@settings(max_examples=40, deadline=None)
@given(results())
def test_a_result_comes_back_as_it_was(sent: Result) -> None:
    data = encode_result(sent)
    VALID_RESULT.validate(orjson.loads(data))
    got = decode_result(data)
    ours, theirs = sent.payload.tracks, got.payload.tracks
    assert got.ref == sent.ref
    assert got.source_hw == sent.source_hw
    assert got.provenance == sent.provenance
    assert np.array_equal(ours.detections.boxes_xyxy, theirs.detections.boxes_xyxy)
    assert np.array_equal(ours.detections.scores, theirs.detections.scores)
    assert [LABELS[i] for i in ours.detections.labels] == [
        got.payload.label_names[i] for i in theirs.detections.labels
    ]
    assert np.array_equal(ours.track_ids, theirs.track_ids)
    assert np.array_equal(ours.ages, theirs.ages)
    assert (ours.detections.masks or None) == theirs.detections.masks
    points, found = sent.payload.keypoints, got.payload.keypoints
    assert (points is None) is (found is None) and got.payload.keypoint_names == sent.payload.keypoint_names
    assert points is None or (found is not None and np.array_equal(points, found))
    drawn, read = sent.payload.semantic, got.payload.semantic
    assert (drawn is None and read is None) or np.array_equal(drawn, read)  # type: ignore[arg-type]
    assert got.payload.semantic_names == sent.payload.semantic_names
    assert got.payload.actions == sent.payload.actions
    assert got.timing == sent.timing
    assert decode_result(encode_result(got)).timing == got.timing


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
free = st.dictionaries(st.text(max_size=6).map("x_".__add__), json_values, max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    stream=NAMES,
    epoch=COUNT,
    seq=COUNT,
    wall_ns=COUNT,
    kind=st.sampled_from(EventKind),
    attrs=free,
    evidence=free,
    track_id=st.none() | COUNT,
    latency_ms=st.dictionaries(NAMES, st.floats(0, 1e6), max_size=3),
)
def test_an_event_comes_back_as_it_was(
    stream: str, epoch: int, seq: int, kind: EventKind, track_id: int | None, **rest: Any
) -> None:
    sent = Event(
        event_id(stream, epoch, seq, kind, track_id), kind, stream, epoch, seq, track_id=track_id, **rest
    )
    data = encode_event(sent)
    VALID_EVENT.validate(orjson.loads(data))
    assert decode_event(data) == sent


def test_a_result_has_exactly_the_published_fields() -> None:
    whole = orjson.loads(encode_result(result(1)))
    assert whole == {
        "schema": "sightline.result/1", "stream": "door", "epoch": 3, "seq": 7, "pts90k": 360_000,
        "wall_ns": 1_700_000_000_000_000_000, "source_hw": [144, 256],
        "objects": [{
            "id": 0, "label": "person", "score": 0.25, "box_xyxy": [0, 1, 2, 3], "age": 0,
            "mask": {"size_hw": [6, 8], "counts": [20, 2, 4, 2, 4, 2, 14]},
        }],
        "timing_ms": {"decode": 0.0, "queue": 0.0, "batch": 0.0, "infer": 0.0, "postprocess": 0.0, "total": 0.0},
        "provenance": {"model": "street-nano"},
    }  # fmt: skip
    mask = decode_result(encode_result(result(1))).payload.tracks.detections.masks
    assert mask is not None and mask_from_rle(mask[0]).sum() == 6


def test_what_is_said_of_the_whole_picture_is_short() -> None:
    sky_over_road = np.repeat(np.array([1, 0], np.uint8), 3)[:, None].repeat(4, axis=1)  # (6, 4)
    sky_over_road[:, 3] = 255
    dance = Action("dance", 0.5, None, 3, 9)
    payload = replace(
        result(1).payload, semantic=sky_over_road, semantic_names=("road", "sky"), actions=(dance,)
    )
    whole = orjson.loads(encode_result(replace(result(1), payload=payload)))
    VALID_RESULT.validate(whole)
    assert whole["semantic"] == {
        "size_hw": [6, 4], "names": ["road", "sky"],
        "values": [1, 0, 1, 0, 1, 0, 255], "counts": [3, 3, 3, 3, 3, 3, 6],
    }  # fmt: skip
    assert whole["actions"] == [
        {"name": "dance", "score": 0.5, "track_id": None, "start_wall_ns": 3, "end_wall_ns": 9}
    ]
    got = decode_result(orjson.dumps(whole)).payload
    assert got.actions == (dance,) and got.semantic is not None and not got.semantic.flags.writeable


def test_a_result_of_an_older_writer_says_nothing_of_the_whole_picture() -> None:
    whole = orjson.loads(encode_result(result()))
    assert not {"semantic", "actions"} & whole.keys()
    VALID_RESULT.validate(whole)
    for more in ({}, {"semantic": None, "actions": None}):
        payload = decode_result(orjson.dumps(whole | more)).payload
        assert (payload.semantic, payload.semantic_names, payload.actions) == (None, (), ())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"semantic": 3}, "result.semantic: not an object"),
        ({"semantic": {"values": [256]}}, "result.semantic.values: not a list of whole numbers, 0 to 255"),
        (
            {"semantic": {"values": [1, 2]}},
            "result.semantic.counts: 2 runs, 1 lengths that sum to 6, not to 2x3",
        ),
        (
            {"semantic": {"counts": [5]}},
            "result.semantic.counts: 1 runs, 1 lengths that sum to 5, not to 2x3",
        ),
        ({"semantic": {"counts": [-6]}}, "result.semantic.counts: not a list of whole numbers"),
        ({"semantic": {"names": [1]}}, "result.semantic.names: not a list of texts"),
        ({"semantic": {"size_hw": [2]}}, "result.semantic.size_hw: not a height and a width"),
        ({"actions": [{"name": "walk", "score": "high"}]}, "result.actions[0].score: not a number"),
        ({"actions": ["walk"]}, "result.actions[0]: not an object but str"),
    ],
)
def test_a_wrong_word_on_the_whole_picture_is_named(more: dict[str, Any], said: str) -> None:
    good = {"size_hw": [2, 3], "names": ["road"], "values": [0], "counts": [6]}
    if isinstance(more.get("semantic"), dict):
        more = {"semantic": good | more["semantic"]}
    whole = orjson.loads(encode_result(result())) | more
    with pytest.raises(WireError) as caught:
        decode_result(orjson.dumps(whole))
    assert said in str(caught.value)
    assert decode_result(orjson.dumps(whole | {"semantic": good, "actions": []})).payload.semantic is not None


def test_newer_fields_are_ignored_and_another_version_is_refused() -> None:
    newer = orjson.loads(encode_event(event())) | {"mood": "calm"}
    assert decode_event(orjson.dumps(newer)) == event()
    newer["schema"] = "sightline.event/2"
    with pytest.raises(WireError, match=r"event\.schema: 'sightline\.event/2' is not 'sightline\.event/1'"):
        decode_event(orjson.dumps(newer))
    with pytest.raises(WireError, match=r"result\.schema"):
        decode_result(encode_event(event()))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["seq"], None, "result.seq: not a whole number, 0 or more"),
        (["seq"], True, "result.seq: not a whole number"),
        (["epoch"], -1, "result.epoch: not a whole number, 0 or more"),
        (["stream"], "", "result.stream: not a text, or empty"),
        (["objects"], {}, "result.objects: not a list"),
        (["objects", 1], 7, "result.objects[1]: not an object but int"),
        (["objects", 1, "score"], "high", "result.objects[1].score: not a number"),
        (["objects", 0, "box_xyxy"], [1, 2, 3], "result.objects[0].box_xyxy: not a list of 4 numbers"),
        (["objects", 0, "mask"], None, "result.objects: some objects have a mask and some have none"),
        (["objects", 1, "mask", "counts"], [1, -1], "result.objects[1].mask.counts: not a list of whole numbers"),
        (["objects", 1, "mask", "counts"], [47], "run lengths sum to 47, not to 6x8"),
        (["objects", 1, "mask", "size_hw"], [0, 8], "result.objects[1].mask.size_hw: not a height and a width"),
        (["timing_ms"], {"decode": 1.0}, "result.timing_ms.queue: missing"),
        (["provenance"], {"model": 1}, "result.provenance: not all of its values are texts"),
        (["source_hw"], [1], "result.source_hw: not a height and a width"),
    ],
)  # fmt: skip
def test_a_wrong_field_of_a_result_is_named(path: list[Any], value: Any, said: str) -> None:
    whole = orjson.loads(encode_result(result()))
    at = whole
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    with pytest.raises(WireError) as caught:
        decode_result(orjson.dumps(whole))
    assert said in str(caught.value)


@pytest.mark.parametrize("name", EVENT_JSON_SCHEMA["required"])
def test_a_missing_field_of_an_event_is_named(name: str) -> None:
    whole = orjson.loads(encode_event(event()))
    del whole[name]
    if name == "track_id":  # absent and null say the same
        assert decode_event(orjson.dumps(whole)).track_id is None
        return
    with pytest.raises(WireError, match=rf"event\.{name}"):
        decode_event(orjson.dumps(whole))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7", b"\xff\xfe", encode_result(result())[:-9]])
def test_bytes_that_are_no_result_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_result(data)
    with pytest.raises(WireError):
        decode_event(data)


def test_what_json_cannot_say_is_refused_at_writing() -> None:
    bad = result()
    boxes = bad.payload.tracks.detections.boxes_xyxy.copy()
    boxes[1, 2] = np.nan
    found = replace(bad.payload.tracks.detections, boxes_xyxy=boxes)
    bad = replace(bad, payload=Perception(replace(bad.payload.tracks, detections=found), LABELS))
    with pytest.raises(WireError, match="result door:3:7: a box or score is not a finite number"):
        encode_result(bad)
    unsure = replace(bad.payload, tracks=result().payload.tracks, actions=(Action("a", np.nan, None, 0, 0),))
    with pytest.raises(WireError, match="result door:3:7: an action's score is not a finite number"):
        encode_result(replace(bad, payload=unsure))
    with pytest.raises(WireError, match="event door:3:7:appear:5"):
        encode_event(event(attrs={"what": object()}))
    with pytest.raises(WireError, match="no kind of event known here"):
        decode_event(encode_event(event()).replace(b'"kind":"appear"', b'"kind":"dance"'))


@pytest.mark.parametrize("subject", [Subject.EVENT, Subject.RESULT])
def test_published_schemas_are_current(subject: Subject) -> None:
    published = (SCHEMAS / f"{subject}.schema.json").read_text("utf-8")
    assert published == schema_text(subject), "run: make schema"
    jsonschema.Draft202012Validator.check_schema(orjson.loads(published))


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    whole = orjson.loads(encode_result(result()))
    whole["objects"][0]["box_xyxy"] = [1, 2, 3]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(whole, RESULT_JSON_SCHEMA)


def test_key_points_stand_by_their_persons() -> None:
    points = np.array([[[1.5, 2, 0.75]], [[0, 0, 0]]], np.float32)
    payload = replace(result(2).payload, keypoints=points, keypoint_names=("head",))
    whole = orjson.loads(encode_result(replace(result(2), payload=payload)))
    VALID_RESULT.validate(whole)
    assert whole["keypoint_names"] == ["head"]
    assert whole["objects"][0]["keypoints"] == [[1.5, 2, 0.75]] and "keypoints" not in whole["objects"][1]
    plain = orjson.loads(encode_result(result(1)))
    assert "keypoint_names" not in plain and "keypoints" not in plain["objects"][0]
    bad = replace(payload, keypoints=np.full((2, 1, 3), np.nan, np.float32))
    with pytest.raises(WireError, match="a key point is not a finite number"):
        encode_result(replace(result(2), payload=bad))


@pytest.mark.parametrize(
    ("names", "points", "says"),
    [
        (3, [], "result.keypoint_names: not a list"),
        ([1], [], "result.keypoint_names: not a list of texts"),
        (["head"], [], "result.objects[0].keypoints: not 1 times x, y and score"),
        (["head"], [[1, 2]], "result.objects[0].keypoints: not 1 times x, y and score"),
        (["head"], [[1, 2, "x"]], "result.objects[0].keypoints: not 1 times x, y and score"),
        (["head"], 7, "result.objects[0].keypoints: not a list"),
    ],
)
def test_key_points_that_are_none_are_refused(names: Any, points: Any, says: str) -> None:
    whole = orjson.loads(encode_result(result(1)))
    whole["keypoint_names"], whole["objects"][0]["keypoints"] = names, points
    with pytest.raises(WireError) as caught:
        decode_result(orjson.dumps(whole))
    assert str(caught.value) == says
