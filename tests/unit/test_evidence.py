"""Each event gets its very frame, one clip shows what happened around it, and nothing ever waits."""

from __future__ import annotations

import threading

import numpy as np
import orjson
import pytest

from streamer.clock import FakeClock, SystemClock
from streamer.commands.worker_evidence import Evidence
from streamer.metrics import Metrics, prometheus_text
from streamer.sinks.evidence import IDLE_S, STUCK_S, EvidenceRecorder
from streamer.sinks.evidence_writer import MOST_FOOTAGE, MOST_PICTURES_WAITING, MOST_WAITING
from streamer.sinks.taps import Taps
from streamer.types import EventKind, FrameRef
from tests.fakes.clips import bar_picture
from tests.fakes.evidence import FPS, WALL_NS, Rig, event, number_in, ref, result


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_picture_is_exactly_the_events_frame_however_late_the_event(rig: Rig) -> None:
    rig.play(0, 60)
    ids = rig.tell(event(60), event(41), event(12, EventKind.ACTION))
    assert [number_in(rig.keeper.records[i]["jpg"]) for i in ids] == [10, 41, 12]
    assert rig.metrics.evidence_pictures.value("gate") == 3
    assert rig.lacks("picture") == {}


def test_a_leave_shows_the_frame_that_the_track_was_last_seen_in(rig: Rig) -> None:
    rig.play(0, 60)
    (left,) = rig.tell(event(60, EventKind.LEAVE, last_seq=33))
    assert number_in(rig.keeper.records[left]["jpg"]) == 33


def test_an_event_holds_its_picture_although_the_ring_has_lost_it_when_it_is_written(rig: Rig) -> None:
    rig.play(0, 20)
    happened = event(20)
    rig.recorder.emit_events([happened])
    rig.play(21, 400)
    rig.recorder.work()
    assert number_in(rig.keeper.records[happened.id]["jpg"]) == 20


def test_an_event_that_comes_too_late_is_told_without_a_picture_never_with_another(rig: Rig) -> None:
    rig.play(0, 200)
    (late,) = rig.tell(event(10))
    record = rig.keeper.records[late]
    assert "jpg" not in record and record["no_jpg"] == "gone" and record["no_clip"] == "gone"
    assert rig.lacks("picture") == {"gone": 1} == rig.lacks("clip")
    assert orjson.loads(record["event"])["id"] == late


def test_the_path_is_the_tracks_last_ten_seconds(rig: Rig) -> None:
    rig.play(0, 299)
    rig.recorder.emit_results([result(300, {7: 8.0, 9: 100.0})])
    mine, other, nobodys = rig.tell(event(299), event(300, track=9), event(300, EventKind.ACTION, track=3))
    path = orjson.loads(rig.keeper.records[mine]["path"])
    assert [one["wall_ns"] for one in path] == [WALL_NS + seq * 10**9 // FPS for seq in range(49, 300)]
    assert path[-1] == {
        "wall_ns": WALL_NS + 299 * 10**9 // FPS,
        "box_xyxy": [196, 10, 236, 30],
        "score": 0.5,
    }
    assert [one["box_xyxy"][0] for one in orjson.loads(rig.keeper.records[other]["path"])] == [100]
    assert orjson.loads(rig.keeper.records[nobodys]["path"]) == []


def test_fifty_events_in_one_frame_are_fifty_records_and_one_clip(rig: Rig) -> None:
    rig.play(0, 60)
    ids = rig.tell(*(event(60, track=i) for i in range(50)))
    rig.play(61, 120)
    rig.recorder.work()
    assert {number_in(rig.keeper.records[i]["jpg"]) for i in ids} == {10}
    assert list(rig.keeper.clips) == [ids[0]]
    assert {rig.keeper.records[i].get("clip_of") for i in ids} == {None, ids[0]}
    assert rig.metrics.evidence_pictures.value("gate") == 50 and rig.metrics.evidence_clips.value("gate") == 1


def test_one_clip_in_five_seconds_and_events_within_its_span_refer_to_it(rig: Rig) -> None:
    rig.play(0, 60)
    (first,) = rig.tell(event(60))
    rig.play(61, 110)
    inside, at_its_end = rig.tell(event(80), event(110))
    rig.play(111, 180)
    (soon,) = rig.tell(event(180))  # 4.8 s after the first, and not in its span
    rig.play(181, 186)
    (second,) = rig.tell(event(186))
    rig.play(187, 240)
    rig.recorder.work()
    records = rig.keeper.records
    assert records[inside]["clip_of"] == records[at_its_end]["clip_of"] == first
    assert records[soon]["no_clip"] == "soon"
    assert list(rig.keeper.clips) == [first, second]
    assert rig.lacks("clip") == {"soon": 1}
    span = orjson.loads(rig.keeper.clips[first]["clip_span"])
    assert [(wall_ns - WALL_NS) * FPS // 10**9 for wall_ns in span] == [10, 110]


def test_a_lost_stream_leaves_the_clip_as_far_as_it_came_and_its_last_picture(rig: Rig) -> None:
    rig.play(0, 60)
    (seen,) = rig.tell(event(60))
    rig.play(61, 75)
    (down,) = rig.tell(event(75, EventKind.DOWN, None))
    assert rig.keeper.records[down]["clip_of"] == seen and seen in rig.keeper.clips
    assert number_in(rig.keeper.records[down]["jpg"]) == 25
    assert orjson.loads(rig.keeper.records[down]["path"]) == []


def test_a_stream_that_never_came_up_has_nothing_to_see(rig: Rig) -> None:
    rig.tell(event(0, EventKind.DOWN, None))
    assert rig.keeper.records == {} and rig.lacks("picture") == {}


def test_a_reconnect_keeps_epochs_apart(rig: Rig) -> None:
    rig.play(0, 60)
    rig.tell(event(60))
    rig.play(0, 5, epoch=2, picture=np.full((96, 256, 3), 128, np.uint8), answer=False)
    # The last events of the first connection come when pictures of the second are there already.
    old, up = rig.tell(event(60, EventKind.LEAVE, last_seq=58), event(0, EventKind.UP, None, epoch=2))
    assert number_in(rig.keeper.records[old]["jpg"]) == 8
    assert rig.keeper.records[up]["no_clip"] == "none" and "jpg" in rig.keeper.records[up]
    assert len(rig.keeper.clips) == 1
    rig.play(6, 40, epoch=2)
    (new,) = rig.tell(event(40, epoch=2))
    assert number_in(rig.keeper.records[new]["jpg"]) == 40
    assert orjson.loads(rig.keeper.records[new]["path"])[0]["box_xyxy"][0] == 24


def test_a_change_of_the_pictures_size_ends_a_clip_and_loses_no_picture(rig: Rig) -> None:
    rig.play(0, 60)
    (before,) = rig.tell(event(60))
    rig.play(61, 70, picture=np.full((360, 640, 3), 90, np.uint8))
    (after,) = rig.tell(event(70))
    assert before in rig.keeper.clips and "jpg" in rig.keeper.records[after]


def test_a_pause_gives_the_memory_back(rig: Rig) -> None:
    rig.play(0, 60)
    (seen,) = rig.tell(event(60))
    rig.recorder.work()
    rig.clock.advance(1)
    rig.recorder.work()
    text = prometheus_text(rig.metrics.snapshot())
    assert 'sightline_evidence_ring_bytes{stream="gate"} ' in text
    rig.clock.advance(STUCK_S)
    rig.recorder.work()
    assert seen in rig.keeper.clips, "a clip whose pictures stay away is made of those there are"
    rig.clock.advance(IDLE_S)
    rig.recorder.work()
    assert "sightline_evidence_ring_bytes" not in prometheus_text(rig.metrics.snapshot())
    rig.play(61, 62)
    (again,) = rig.tell(event(62))
    assert number_in(rig.keeper.records[again]["jpg"]) == 12


def test_redis_away_is_counted_and_what_was_left_is_trimmed_when_it_is_back(rig: Rig) -> None:
    rig.keeper.away = True
    rig.play(0, 60)
    rig.tell(event(60))
    rig.play(61, 115)
    rig.recorder.work()
    assert rig.lacks("picture") == {"redis": 1} == rig.lacks("clip")
    rig.keeper.away = False
    rig.clock.advance(1)
    rig.recorder.work()
    tries = len(rig.keeper.trimmed)
    rig.clock.advance(1)
    rig.recorder.work()
    assert len(rig.keeper.trimmed) == tries, "once it worked it is done"


def test_more_than_can_wait_is_refused_and_counted(rig: Rig) -> None:
    rig.play(0, 60)
    rig.recorder.emit_events([event(60, track=i) for i in range(MOST_WAITING + 10)])
    rig.recorder.work()
    assert len(rig.keeper.records) == MOST_WAITING
    shown = [record for record in rig.keeper.records.values() if "jpg" in record]
    assert len(shown) == MOST_PICTURES_WAITING
    assert rig.lacks("picture") == {"busy": MOST_WAITING + 10 - MOST_PICTURES_WAITING}
    told = [record for record in rig.keeper.records.values() if record.get("no_jpg") == "busy"]
    assert len(told) == MOST_WAITING - MOST_PICTURES_WAITING


def test_footage_of_too_many_streams_is_given_up_and_told(rig: Rig) -> None:
    names = [f"s{i}" for i in range(MOST_FOOTAGE + 2)]
    for seq in range(10):
        for name in names:
            rig.recorder.offer(ref(seq, name), bar_picture(seq))
    happened = [event(9, stream=name) for name in names]
    rig.tell(*happened)
    for name in names:  # all are complete before the encoder had time for one
        rig.recorder.offer(ref(9 + 3 * FPS, name), bar_picture(0))
    rig.recorder.work()
    assert len(rig.keeper.clips) == MOST_FOOTAGE
    assert [rig.keeper.records[one.id].get("no_clip") for one in happened[-2:]] == ["busy", "busy"]
    assert rig.lacks("clip") == {"busy": 2}


def test_a_picture_that_cannot_be_read_costs_nobody_anything(rig: Rig) -> None:
    rig.recorder.offer(ref(0), "not a picture")
    rig.recorder.emit_events([event(0)])
    rig.recorder.work()
    assert rig.lacks("frame") == {"failed": 1} and rig.lacks("picture") == {"gone": 1}


@pytest.mark.parametrize(("pictures", "clips"), [(5, 0), (0, 5)])
def test_each_of_the_two_can_be_off(pictures: int, clips: int) -> None:
    rig = Rig(pictures, clips)
    rig.play(0, 60)
    (seen,) = rig.tell(event(60))
    rig.play(61, 115)
    rig.recorder.work()
    record = rig.keeper.records[seen]
    assert ("jpg" in record) == (pictures > 0) and (seen in rig.keeper.clips) == (clips > 0)
    assert "no_jpg" not in record and rig.lacks("picture") == {} == rig.lacks("clip")


def test_both_off_means_no_ring_and_no_thread() -> None:
    class Sink:
        pass

    sink, tap, before = Sink(), object(), threading.active_count()
    off = Evidence("redis://nowhere", 0, 0, sink=sink, clock=SystemClock(), metrics=Metrics())  # type: ignore[arg-type]
    off.open()
    assert off.results is sink and off.events is sink
    assert off.beside(tap) is tap  # type: ignore[comparison-overlap]
    assert threading.active_count() == before
    assert off.close(1)


def test_viewers_and_evidence_each_take_what_they_want() -> None:
    class Viewers:
        wanted = False

        def __init__(self) -> None:
            self.taken: list[object] = []

        def offer(self, ref: FrameRef, picture: object) -> None:
            self.taken.append(picture)

        def offer_packet(self, ref: FrameRef, data: bytes, key: bool) -> None:
            self.taken.append(data)

        def no_packets(self, why: str) -> None:
            self.taken.append(why)

        def fields(self) -> dict[str, str]:
            return {"viewer_video": "encoded"}

    rig, viewers = Rig(), Viewers()
    tap = Taps(viewers, rig.recorder)
    assert tap.wanted
    tap.offer(ref(0), bar_picture(0))
    viewers.wanted = True
    second = bar_picture(1)
    tap.offer(ref(1), second)
    tap.offer_packet(ref(2), b"packet", True)
    tap.no_packets("hevc")
    assert viewers.taken[0] is second and viewers.taken[1:] == [b"packet", "hevc"]
    assert tap.fields() == {"viewer_video": "encoded"}
    ids = rig.tell(event(0), event(1))
    assert [number_in(rig.keeper.records[i]["jpg"]) for i in ids] == [0, 1]


def test_the_thread_writes_what_waits_before_it_ends() -> None:
    rig = Rig()
    rig.recorder = EvidenceRecorder(rig.keeper, pictures=5, clips=5, clock=SystemClock(), metrics=rig.metrics)
    rig.clock = FakeClock()
    rig.recorder.start()
    rig.play(0, 30)
    happened = event(30)
    rig.recorder.emit_events([happened])
    assert rig.recorder.close(20)
    assert number_in(rig.keeper.records[happened.id]["jpg"]) == 30
    assert happened.id in rig.keeper.clips
