"""Truth beside the results: it travels with frames, is scored off the publishing thread, and is shown as what it is."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamer.accuracy import Accuracy, EventScore
from streamer.clock import FakeClock
from streamer.config import StreamConfig
from streamer.ledger import Ledger
from streamer.life import Life, state_fields
from streamer.metrics import Metrics, prometheus_text
from streamer.publisher import EpochOver, Publisher, StreamPace
from streamer.rules.presence import Presence
from streamer.scoreboard import REFRESH_S, REST, Scoreboard
from streamer.sources.world import frame_truth
from streamer.types import Event, FrameTruth, Result, StreamState
from streamer.wire import encode_result
from streamer.world import World, WorldConfig
from tests.fakes.core import KeepingSink
from tests.fakes.truths import Story, result_of, truth_of, without_truth
from web.views import stream_view

NUMBERS = Accuracy(
    frames=375,
    seconds=29.92,
    objects=2000,
    ap=0.712345678,
    ap50=0.9,
    hota=0.6,
    deta=0.64,
    assa=0.56,
    switches=3,
    switches_total=12,
    events={"appear": EventScore(10, 8, 9, 6, 4.5), "leave": EventScore(0, 0, 2, 0, None), "fall": None},
    scored_total=5000,
    unscored_total=7,
)


class Counting:
    """A measure that counts; `cost_s` is how long its answer takes on the clock."""

    def __init__(self, clock: FakeClock, cost_s: float = 0.0) -> None:
        self.clock, self.cost_s = clock, cost_s
        self.frames: list[int] = []
        self.events: list[Event] = []
        self.answers = 0

    def add(self, result: Result, truth: FrameTruth, events: Any) -> None:
        assert truth is result.truth
        self.frames.append(truth.number)
        self.events.extend(events)

    def accuracy(self) -> Accuracy:
        self.answers += 1
        self.clock.advance(self.cost_s)
        return replace(NUMBERS, switches_total=len(self.frames), scored_total=len(self.frames))


class Rig:
    def __init__(self, cost_s: float = 0.0, **options: Any) -> None:
        self.clock = FakeClock()
        self.measures: list[Counting] = []
        self.board = Scoreboard(self.make, self.clock, **options)
        self.cost_s = cost_s

    def make(self) -> Counting:
        self.measures.append(Counting(self.clock, self.cost_s))
        return self.measures[-1]

    def score(self, numbers: range, epoch: int = 1, every_s: float = 0.08) -> None:
        for n in numbers:
            self.board.score([(result_of(truth_of(n, [1]), [(7, 1)], epoch=epoch), [])])
            self.clock.advance(every_s)


def test_numbers_are_made_at_once_and_then_every_few_seconds() -> None:
    rig = Rig()
    rig.score(range(1))
    assert rig.board.accuracy("street") is not None and rig.measures[0].answers == 1
    rig.score(range(1, 100))  # 8 seconds in all
    assert rig.measures[0].answers == pytest.approx(8 / REFRESH_S, abs=1)
    assert rig.measures[0].frames == list(range(100))


def test_numbers_that_cost_much_are_made_seldom() -> None:
    cost_s = 2 * REFRESH_S / REST
    rig = Rig(cost_s)
    rig.score(range(200))
    spent = rig.measures[0].answers * cost_s
    assert rig.measures[0].answers > 1 and spent <= 200 * 0.08 / REST + cost_s


def test_totals_go_on_over_epochs_and_numbers_begin_anew() -> None:
    rig = Rig()
    rig.score(range(10))
    rig.board.finish("street", 1)
    assert rig.board.accuracy("street") is None
    rig.score(range(10, 12))  # stragglers of the epoch that is over
    assert rig.board.accuracy("street") is None and rig.measures[0].frames == list(range(10))
    rig.score(range(3), epoch=2)
    told = rig.board.accuracy("street")
    assert told is not None and (told.scored_total, told.switches_total) == (
        11,
        11,
    )  # ten, and the first of the new
    assert [measure.frames for measure in rig.measures] == [list(range(10)), [0, 1, 2]]
    rig.board.forget("street")
    assert rig.board.accuracy("street") is None


def test_what_comes_too_fast_is_counted_and_its_events_are_judged_later() -> None:
    rig, story, hold = Rig(capacity=2), Story(), threading.Event()
    entered = threading.Event()
    first = rig.make
    played = [story.frame([1], [(7, 1)]) for _ in range(8)]

    def slow() -> Counting:
        entered.set()
        assert hold.wait(10)
        return first()

    rig.board._measure_for = slow
    rig.board.see(played[0][0], played[0][2])
    assert entered.wait(10)  # the thread has the first frame and is stuck
    for result, _, events in played[1:]:
        rig.board.see(result, events)
    hold.set()
    wait_for(lambda: rig.measures and rig.measures[0].frames[-1:] == [7])
    assert rig.measures[0].frames == [0, 6, 7]
    assert [str(event.kind) for event in rig.measures[0].events] == [
        "appear"
    ]  # of frame 2, which was left out
    rig.clock.advance(REFRESH_S)
    rig.board.see(*story.frame([1], [(7, 1)])[::2])
    wait_for(lambda: rig.measures[0].frames[-1] == 8 and rig.measures[0].answers == 2)
    told = rig.board.accuracy("street")
    assert told is not None and told.unscored_total == 5
    assert rig.board.close(10)


def wait_for(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not come about")


def test_a_measure_that_fails_is_told_once_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    broken = Counting(rig.clock)
    broken.add = lambda *args: 1 / 0  # type: ignore[assignment,method-assign]
    rig.board._measure_for = lambda: broken
    rig.score(range(3))
    assert rig.board.accuracy("street") is None
    assert sum("cannot be scored" in record.message for record in caplog.records) == 1


def test_without_truth_there_is_no_thread_no_measure_and_no_field() -> None:
    rig = Rig()
    publisher = publisher_of(rig, KeepingSink())
    publisher.publish([without_truth(result_of(truth_of(n, [1]), [(7, 1)])) for n in range(5)])
    assert rig.board._thread is None and rig.measures == []
    pace = publisher.pace("street")
    assert pace.accuracy is None and fields_of(pace)["accuracy"] == ""
    assert rig.board.close(1)


def publisher_of(rig: Rig, sink: KeepingSink) -> Publisher:
    ledger = Ledger()
    publisher = Publisher(
        rules=[Presence(confirm_frames=1)],
        results=sink,
        events=sink,
        ledger=ledger,
        metrics=Metrics(),
        clock=rig.clock,
        scorer=rig.board,
    )
    ledger.end = lambda *args: None  # type: ignore[method-assign,assignment]
    return publisher


def test_the_publisher_hands_over_results_with_their_events_and_the_epochs_end() -> None:
    rig, sink = Rig(), KeepingSink()
    publisher = publisher_of(rig, sink)
    publisher.publish([result_of(truth_of(n, [1]), [(7, 1)]) for n in range(3)])
    wait_for(lambda: publisher.pace("street").accuracy)
    wait_for(lambda: rig.measures[0].frames == [0, 1, 2])
    assert [event.id for event in rig.measures[0].events] == ["street:1:0:appear:7"]
    publisher.publish([EpochOver("street", 1)])
    assert publisher.pace("street").accuracy is None
    assert rig.board.close(10) and len(sink.results) == 3


def test_the_truth_never_leaves_the_process() -> None:
    result = result_of(truth_of(0, [1]), [(7, 1)])
    assert encode_result(result) == encode_result(without_truth(result))


def test_the_worlds_truth_knows_how_much_of_each_is_seen() -> None:
    _, truth = World(WorldConfig(seed=7, height=180, width=320, people=8)).step()
    told = frame_truth(truth)
    assert len(told.ids) > 5
    rows, counts = np.unique(truth.instances, return_counts=True)
    assert {row: int(n) for row, n in enumerate(told.pixels)} == {
        int(row): int(n) for row, n in zip(rows, counts, strict=True) if row >= 0
    }
    assert (told.ids == truth.ids).all() and told.number == truth.frame


# ------------------------------------------------------------------------------------------------- how it is shown


def fields_of(pace: StreamPace) -> dict[str, str]:
    ledger = Ledger()
    return state_fields(
        StreamConfig(name="street", url="world://street?seed=1"),
        Life(StreamState.RUNNING),
        epoch=1,
        info=None,
        model="street-nano",
        backend="openvino",
        pace=pace,
        counts=ledger.counts("street"),
        total=ledger.counts("street"),
        wall_ns=0,
    )


def test_the_state_hash_becomes_the_api_s_view() -> None:
    fields = fields_of(StreamPace(12.5, 10.0, 20.0, 0, NUMBERS))
    config = StreamConfig(name="street", url="world://street?seed=1")
    view = stream_view(config, fields, worker_alive=True, viewers=0, now_ns=0)
    assert view.state.accuracy is not None
    told = view.state.accuracy.model_dump()
    assert told == json.loads(fields["accuracy"])
    assert (told["world"], told["ap"], told["switches"]) == ("synthetic", 0.7123, 3)
    assert (
        told["events"]["appear"] | {"precision": 0.8, "recall": 0.6667, "delay_frames": 4.5}
        == told["events"]["appear"]
    )
    assert told["events"]["leave"]["precision"] is None and told["events"]["fall"] is None
    for broken in ("", "{", '{"frames": 3}'):
        view = stream_view(config, {**fields, "accuracy": broken}, worker_alive=True, viewers=0, now_ns=0)
        assert view.state.accuracy is None


def samples(metrics: Metrics) -> dict[str, float]:
    text = prometheus_text(json.loads(json.dumps(metrics.snapshot())))
    return {
        sample.name + "".join(f"[{v}]" for v in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_sees_what_is_known_and_nothing_else() -> None:
    metrics = Metrics()
    metrics.show_accuracy("gate", None)
    assert samples(metrics) == {}
    metrics.show_accuracy("street", NUMBERS)
    told = samples(metrics)
    assert told["sightline_world_ap50[street][synthetic]"] == 0.9
    assert told["sightline_world_assa[street][synthetic]"] == 0.56
    assert told["sightline_world_id_switches_total[street][synthetic]"] == 12
    assert told["sightline_world_unscored_frames_total[street][synthetic]"] == 7
    assert told["sightline_world_event_precision[street][synthetic][appear]"] == 0.8
    assert told["sightline_world_event_delay_frames[street][synthetic][appear]"] == 4.5
    assert told["sightline_world_event_recall[street][synthetic][leave]"] == 0
    assert not [name for name in told if "fall" in name or ("precision" in name and "leave" in name)]
    metrics.show_accuracy("street", replace(NUMBERS, hota=None))
    assert "sightline_world_hota[street][synthetic]" not in samples(metrics)
    metrics.show_accuracy("street", None)
    assert set(samples(metrics)) == {
        f"sightline_world_{name}_total[street][synthetic]"
        for name in ("id_switches", "scored_frames", "unscored_frames")
    }
    metrics.forget("street")
    assert samples(metrics) == {}
