"""A result as viewers are told it: true to what can be seen, whichever way it is sent, and small."""

import zlib
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import numpy as np
import orjson
import pytest

from streamer.commands.watching.feed import told
from streamer.commands.watching.truths import PICTURES, truths
from streamer.errors import WireError
from streamer.types import FrameRef, Perception
from streamer.wire.reading import decode_result
from streamer.wire.writing import encode_result
from web.results import ResultMessage

REF = FrameRef("cam", 3, 7, 25_200, Fraction(1, 90_000), 1_000_000_000, 1_796_138_908_731_525_000)


@pytest.fixture(scope="module")
def street() -> list[Perception]:
    return list(islice(truths(), PICTURES))


def stored(said: Perception) -> bytes:
    return encode_result(told(REF, said))


def test_what_is_told_is_what_was_stored_to_the_last_digit_that_can_be_seen(street):
    for said in street:
        data = stored(said)
        shown = decode_result(orjson.dumps(orjson.loads(ResultMessage(data).text)["data"]))
        whole = decode_result(data)
        tracks, exact = shown.payload.tracks, whole.payload.tracks
        assert np.abs(tracks.detections.boxes_xyxy - exact.detections.boxes_xyxy).max() <= 0.00501
        assert np.abs(tracks.detections.scores - exact.detections.scores).max() <= 0.0000501
        points, exact_points = shown.payload.keypoints, whole.payload.keypoints
        assert np.abs(points - exact_points)[..., :2].max() <= 0.0501
        assert np.abs(points - exact_points)[..., 2].max() <= 0.0000501
        assert tracks.detections.masks == exact.detections.masks
        assert (shown.payload.semantic == whole.payload.semantic).all()
        assert [replace(a, score=0) for a in shown.payload.actions] == [
            replace(a, score=0) for a in whole.payload.actions
        ]
        assert (shown.ref, shown.provenance, shown.timing) == (whole.ref, whole.provenance, whole.timing)


def test_each_form_is_made_once(street):
    result = ResultMessage(stored(street[0]))
    assert orjson.loads(result.text)["t"] == "result"
    assert result.deflated is result.deflated and result.text is result.text
    assert (
        result.size(deflated=True) == len(result.deflated) < result.size(deflated=False) == len(result.text)
    )
    assert result.at == (3, 25_200)


def test_compressed_results_are_read_one_by_one_and_as_one_stream_with_any_of_them_missing(street):
    results = [ResultMessage(stored(said)) for said in street]
    lines = [f"{result.text}\n" for result in results]
    alone = [zlib.decompressobj(-15).decompress(result.deflated).decode() for result in results]
    assert alone == lines
    stream = zlib.decompressobj(-15)
    heard = [stream.decompress(result.deflated).decode() for result in results[::3]]
    assert heard == lines[::3] and not stream.eof


def test_a_street_is_a_third_of_what_was_stored(street):
    sizes = [(len(data), len(ResultMessage(data).deflated)) for data in map(stored, street)]
    before, after = map(sum, zip(*sizes, strict=True))
    assert after < before / 3, (before / len(sizes), after / len(sizes))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b"[1]",
        b"{}",
        b'{"epoch":1,"pts90k":"x"}',
        b'{"epoch":1,"pts90k":null}',
    ],
)
def test_what_is_no_result_is_refused_in_a_line(data):
    with pytest.raises(WireError, match=r"^result: cannot be told to viewers \(\w+Error\("):
        ResultMessage(data)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"objects": []},
        {"objects": [{"id": 1}]},
        {"objects": None},
        {"actions": [7]},
        {"objects": [{"score": "x"}]},
    ],
)
def test_what_cannot_be_rounded_is_told_as_it_is(more):
    stored = {"epoch": 0, "pts90k": 0, **more}
    assert orjson.loads(ResultMessage(orjson.dumps(stored)).text)["data"] == stored
