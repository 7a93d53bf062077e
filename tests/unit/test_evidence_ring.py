"""The ring holds what events may still ask for, and never more than its bounds; small pictures are true and alone."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from streamer.sinks.evidence_picture import JPEG_QUALITY, MAX_SIDE, WHOLE_BYTES, Shrinker, jpeg, small_hw
from streamer.sinks.evidence_ring import BACK_S, MOST_BYTES, MOST_S, PictureRing
from streamer.sinks.evidence_trails import MOST_SIGHTINGS, MOST_TRACKS, Trails
from tests.fakes.clips import bar_index, bar_picture
from tests.fakes.evidence import picture_in, ref, result, small

NOBODY: frozenset[int] = frozenset()


def seqs(ring: PictureRing, until: int, epoch: int = 1) -> list[int]:
    return [seq for seq in range(until) if ring.find(epoch, seq) is not None]


def test_what_is_judged_goes_when_it_is_too_old_for_a_clip() -> None:
    ring = PictureRing()
    for seq in range(101):
        ring.put(small(seq))
        ring.judged(1, seq / 25, NOBODY)
    assert seqs(ring, 101) == list(range(100 - int(BACK_S * 25) - 1, 101))
    assert ring.bytes == len(ring) * 256 * 96 * 3 // 2


def test_a_file_that_is_read_ahead_of_its_results_keeps_what_they_may_ask_for() -> None:
    ring = PictureRing()
    ring.judged(1, 0.0, NOBODY)
    for seq in range(100):  # four seconds ahead
        ring.put(small(seq))
    assert seqs(ring, 100) == list(range(100))
    for seq in range(100, 300):  # but not for ever
        ring.put(small(seq))
    assert len(ring) == pytest.approx(MOST_S * 25, abs=1) and ring.find(1, 299) is not None


def test_a_fast_camera_is_thinned_where_it_was_judged_and_last_sightings_are_spared() -> None:
    one = small(0, fps=60).bytes
    ring = PictureRing(most_bytes=70 * one)
    for seq in range(240):
        ring.put(small(seq, fps=60))
        ring.judged(1, (seq - 12) / 60, frozenset({171, 173}))
        assert ring.bytes <= 70 * one
    kept = seqs(ring, 240)
    assert kept[-12:] == list(range(228, 240)), "what waits for its result is all there"
    assert {171, 173} <= set(kept)
    steps = np.diff(kept)
    assert steps.max() <= 4, "never less than a clip needs"
    assert ring.thinned > 0 and ring.crowded_out == 0
    assert kept[0] <= 239 - 120, "two seconds are there all the same"


def test_memory_is_bounded_whatever_nobody_answers() -> None:
    wide = np.zeros((640, 640, 3), np.uint8)
    ring = PictureRing()
    picture = small(0, picture=wide)
    for seq in range(140):
        ring.put(small(seq, fps=1000, picture=wide))
        assert ring.bytes <= MOST_BYTES
    assert len(ring) == MOST_BYTES // picture.bytes and ring.crowded_out == 140 - len(ring)
    counted = PictureRing(most_pictures=10)
    for seq in range(30):
        counted.put(small(seq, fps=1000))
    assert seqs(counted, 30) == list(range(20, 30))


def test_a_picture_takes_the_place_of_one_of_its_number() -> None:
    ring = PictureRing()
    for seq in (1, 2, 2, 3):
        ring.put(small(seq))
    assert len(ring) == 3 and ring.bytes == 3 * small(0).bytes


def test_pictures_of_the_connection_before_go_with_the_first_result_of_the_new_one() -> None:
    ring = PictureRing()
    for seq in range(50):
        ring.put(small(seq))
        ring.judged(1, seq / 25, NOBODY)
    for seq in range(3):
        ring.put(small(seq, epoch=2))
    assert ring.find(1, 49) is not None and ring.has_epoch(1)
    ring.judged(2, 0.0, NOBODY)
    ring.put(small(3, epoch=2))
    assert not ring.has_epoch(1) and seqs(ring, 10, epoch=2) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ((360, 640), (360, 640)),
        ((1080, 1920), (360, 640)),
        ((2160, 3840), (360, 640)),
        ((1920, 1080), (640, 360)),
        ((99, 101), (100, 100)),
        ((96, 256), (96, 256)),
        ((20, 4000), (4, 640)),
    ],
)
def test_sizes_are_even_and_bounded(source: tuple[int, int], kept: tuple[int, int]) -> None:
    assert small_hw(source) == kept and max(kept) <= MAX_SIDE
    rgb = np.full((*source, 3), (200, 40, 30), np.uint8)
    decoded = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
    for picture in (rgb, decoded):
        made = Shrinker().small(ref(0), picture)
        assert made.hw == kept and made.frame.format.name == "yuv420p"
        shown = picture_in(jpeg(made))
        assert shown.shape == (*kept, 3)
        middle = shown[kept[0] // 2, kept[1] // 2].astype(int)
        assert np.abs(middle - (200, 40, 30)).max() <= 12, middle


def test_colours_of_high_definition_stay_as_they_were() -> None:
    rgb = np.full((1080, 1920, 3), (200, 40, 30), np.uint8)
    for format in ("yuv420p", "yuvj420p", "yuv422p10le"):
        decoded = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format=format, dst_colorspace=Colorspace.ITU709
        )
        decoded.colorspace = Colorspace.ITU709
        shown = picture_in(jpeg(Shrinker().small(ref(0), decoded)))
        assert np.abs(shown[100, 100].astype(int) - (200, 40, 30)).max() <= 8, (format, shown[100, 100])


def test_a_picture_that_nobody_looks_at_is_never_made_small_unless_it_is_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, int]] = []

    def small(picture: av.VideoFrame, reformatter: Any) -> av.VideoFrame:
        made.append((picture.height, picture.width))
        return of_size(*small_hw(made[-1]))

    def of_size(height: int, width: int) -> av.VideoFrame:
        return av.VideoFrame(width, height, "yuv420p")

    monkeypatch.setattr("streamer.sinks.evidence_picture._small", small)
    shrinker, ring = Shrinker(), PictureRing()
    for seq in range(20):
        ring.put(shrinker.small(ref(seq), of_size(432, 768)))
    assert made == [] and ring.bytes == 20 * 768 * 432 * 3 // 2 <= 20 * WHOLE_BYTES
    kept = ring.find(1, 19)
    assert kept is not None and kept.hw == (360, 640) and made == []
    assert kept.frame is kept.frame and (kept.frame.height, kept.frame.width) == kept.hw
    assert made == [(432, 768)]  # once, however often it is looked at
    shrinker.small(ref(20), of_size(720, 1280))
    shrinker.small(ref(21), av.VideoFrame(320, 240, "yuv422p"))
    assert made == [(432, 768), (720, 1280), (240, 320)]


def test_a_small_picture_that_is_looked_at_shares_nothing_with_the_decoders_own() -> None:
    def own(picture: np.ndarray[Any, Any]) -> Any:
        return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")

    decoded = own(bar_picture(7))
    kept = Shrinker().small(ref(7), decoded)
    assert kept.frame is not decoded
    decoded.pts = 12345
    for plane, other in zip(decoded.planes, own(bar_picture(30)).planes, strict=True):
        plane.update(bytes(other))
    assert kept.frame.pts != 12345
    assert bar_index(picture_in(jpeg(kept))) == 7
    assert JPEG_QUALITY == 80


def test_trails_are_bounded_in_tracks_and_sightings() -> None:
    trails = Trails()
    for seq in range(400):
        trails.add(result(seq, {7: 1.0, 1000 + seq: 2.0}))
    assert len(trails.path(1, 7, 399)) == 251 <= MOST_SIGHTINGS
    trails.add(result(400, {i: 1.0 for i in range(MOST_TRACKS + 50)}))
    known = sum(bool(trails.path(1, i, 400)) for i in range(2000))
    assert known == MOST_TRACKS
    assert trails.last_seqs() == {400}
    trails.add(result(0, {7: 9.0}, epoch=2))
    assert [one.box_xyxy[0] for one in trails.path(2, 7, 0)] == [9.0]
    assert trails.path(1, 300, 400), "events of the epoch before may still come"
    trails.add(result(0, {7: 9.0}, epoch=3))
    assert not trails.path(1, 300, 400)
