import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from streamer.clock import SystemClock
from streamer.errors import Closed, EngineError
from streamer.ledger import Ledger
from streamer.metrics import Metrics
from streamer.pipeline import LIVE_CAPACITY, Pipeline
from streamer.publisher import Publisher
from streamer.rules.presence import Presence
from streamer.types import EventKind
from tests.fakes.core import AddingEngine, CountingTask, KeepingSink, StagedEngine, StagedTask, frame


class Rig:
    def __init__(self, engine, task, lanes, rules):
        self.engine, self.sink, self.ledger, self.metrics = engine, KeepingSink(), Ledger(), Metrics()
        self.clock = SystemClock()
        self.publisher = Publisher(
            rules=rules,
            results=self.sink,
            events=self.sink,
            ledger=self.ledger,
            metrics=self.metrics,
            clock=self.clock,
        )
        self.pipeline = Pipeline(
            engine,
            task,
            self.publisher,
            ledger=self.ledger,
            metrics=self.metrics,
            clock=self.clock,
            lanes=lanes,
        )

    def frame(self, stream, seq, epoch=1):
        return frame(stream, epoch, seq, now_ns=self.clock.monotonic_ns())

    def until(self, condition):
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.001)

    def send(self, inlet, stream, seqs, epoch=1):
        for seq in seqs:
            inlet.put(self.frame(stream, seq, epoch))


@contextmanager
def running(engine=None, task=None, lanes=1, rules=()):
    rig = Rig(engine or AddingEngine(), task or CountingTask(), lanes, rules)
    before = threading.active_count()
    rig.publisher.start()
    rig.pipeline.start()
    try:
        yield rig
    finally:
        assert rig.pipeline.close(10)
        assert rig.publisher.close(10)
        assert threading.active_count() == before


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("kind", ["stateful", "stateless", "staged"])
def test_files_have_every_frame_answered_in_order_with_their_own_state(lanes, kind):
    names = ["a", "b", "c"]
    stateful = kind != "stateless"
    staged = kind == "staged"
    engine, task = (
        (StagedEngine(), StagedTask()) if staged else (AddingEngine(), CountingTask(stateful=stateful))
    )
    with running(engine, task, lanes=lanes) as rig:
        inlets = {name: rig.pipeline.attach(name, 1, live=False) for name in names}
        threads = [threading.Thread(target=rig.send, args=(inlets[name], name, range(50))) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        for inlet in inlets.values():
            assert inlet.finish(10)
        rig.sink.wait_for(lambda: len(rig.sink.results) == 150)
    for name in names:
        assert rig.sink.seqs(name) == list(range(50))
        assert rig.ledger.counts(name).as_dict() == {"in": 50, "in_flight": 0, "emitted": 50}
        if stateful:  # the state grows by one with each frame and is nobody else's
            ids = [int(r.payload.tracks.track_ids[0]) for r in rig.sink.results if r.ref.stream == name]
            assert ids == list(range(1, 51))
    if not staged:
        assert sum(rig.engine.batches) == 150


def test_streams_share_a_batch():
    gate = threading.Event()
    with running(AddingEngine(lambda inputs: gate.wait(10) and None)) as rig:
        inlets = [rig.pipeline.attach(name, 1, live=False) for name in "abcd"]
        rig.send(inlets[0], "a", [0])
        for name, inlet in zip("abcd", inlets, strict=True):
            rig.send(inlet, name, [1, 2])
        gate.set()
        for inlet in inlets:
            assert inlet.finish(10)
    assert max(rig.engine.batches) >= 3


def test_a_live_source_drops_its_oldest_and_the_ledger_says_so():
    gate, held = threading.Event(), threading.Event()
    with running(AddingEngine(hold(gate, held))) as rig:
        inlet = rig.pipeline.attach("cam", 1, live=True)
        rig.send(inlet, "cam", [0])
        assert held.wait(10)  # the lane holds frame 0
        rig.send(inlet, "cam", range(1, 10))
        gate.set()
        assert inlet.finish(10)
        rig.sink.wait_for(lambda: len(rig.sink.results) == 1 + LIVE_CAPACITY)
    assert rig.sink.seqs("cam") == [0, 8, 9]
    counts = rig.ledger.counts("cam")
    assert counts.ended == {"emitted": 3, "dropped:overflow": 7} and counts.balanced


def test_an_engine_error_costs_its_batch_and_no_more():
    def fail_third(inputs):
        if 2 in inputs["counts"]:
            raise EngineError("out of memory")

    with running(AddingEngine(fail_third)) as rig:
        a = rig.pipeline.attach("a", 1, live=False)
        rig.send(a, "a", range(3))
        b = rig.pipeline.attach("b", 1, live=False)
        assert a.finish(10)
        rig.send(b, "b", range(2))
        assert b.finish(10)
        rig.sink.wait_for(lambda: len(rig.sink.results) == 4)
    assert rig.ledger.counts("a").ended == {"emitted": 2, "failed:EngineError": 1}
    assert rig.ledger.counts("b").ended == {"emitted": 2}
    assert rig.metrics.errors.value("engine") == 1


def test_a_new_epoch_starts_with_the_initial_state():
    with running() as rig:
        for epoch in (1, 2):
            inlet = rig.pipeline.attach("a", epoch, live=False)
            rig.send(inlet, "a", range(3), epoch)
            assert inlet.finish(10)
        rig.sink.wait_for(lambda: len(rig.sink.results) == 6)
    assert [int(r.payload.tracks.track_ids[0]) for r in rig.sink.results] == [1, 2, 3, 1, 2, 3]


def test_a_stopped_stream_drains_what_waits_and_puts_no_more():
    gate, held = threading.Event(), threading.Event()
    with running(AddingEngine(hold(gate, held))) as rig:
        inlet = rig.pipeline.attach("a", 1, live=False)
        rig.send(inlet, "a", range(3))
        assert held.wait(10)
        assert not inlet.finish(0.01)  # the engine hangs on the first
        with pytest.raises(Closed):
            inlet.put(rig.frame("a", 9))
        gate.set()
        rig.sink.wait_for(lambda: len(rig.sink.results) == 1)
    assert rig.ledger.counts("a").ended == {"emitted": 1, "drained": 3}


def hold(gate, held):
    """Work for an engine: say that it has begun, and wait until let go."""

    def before(inputs):
        held.set()
        assert gate.wait(10)

    return before


def test_leaves_come_after_all_results_of_the_epoch():
    class SameTrack(CountingTask):
        def postprocess(self, outputs, frames, states):
            answers = super().postprocess({"counts": np.full(len(frames), 7)}, frames, states)
            return answers

    with running(task=SameTrack(), rules=[Presence(confirm_frames=2)]) as rig:
        inlet = rig.pipeline.attach("a", 3, live=False)
        rig.send(inlet, "a", range(4), epoch=3)
        assert inlet.finish(10)
        rig.sink.wait_for(lambda: len(rig.sink.events) == 2)
    assert [e.id for e in rig.sink.events] == ["a:3:1:appear:7", "a:3:3:leave:7"]
    assert rig.metrics.events.value("a", EventKind.APPEAR) == 1


def test_a_broken_rule_or_sink_stops_nobody():
    class Broken:
        def initial_state(self):
            return None

        def step(self, state, result):
            raise KeyError("zone")

        def finish(self, state):
            raise KeyError("zone")

    with running(rules=[Broken(), Presence(confirm_frames=1)]) as rig:
        original = rig.sink.emit_results
        rig.sink.emit_results = lambda results: (_ for _ in ()).throw(OSError("disk full"))
        inlet = rig.pipeline.attach("a", 1, live=False)
        rig.send(inlet, "a", [0])
        rig.sink.wait_for(lambda: len(rig.sink.events) == 1)
        rig.sink.emit_results = original
        rig.send(inlet, "a", [1])
        assert inlet.finish(10)
        rig.sink.wait_for(lambda: len(rig.sink.events) == 4)
    assert rig.metrics.errors.value("rule") == 3
    assert rig.sink.seqs("a") == [1]


def test_the_pace_of_a_stream():
    with running() as rig:
        assert rig.publisher.pace("a").fps == 0
        inlet = rig.pipeline.attach("a", 1, live=False)
        rig.send(inlet, "a", range(30))
        assert inlet.finish(10)
        rig.sink.wait_for(lambda: len(rig.sink.results) == 30)
    pace = rig.publisher.pace("a")
    assert pace.fps > 5 and 0 < pace.latency_p50_ms <= pace.latency_p95_ms
    age_ns = rig.clock.monotonic_ns() - rig.sink.results[-1].ref.captured_ns
    assert pace.last_frame_wall_ns == pytest.approx(rig.clock.wall_ns() - age_ns, abs=1e8)


def test_one_stream_keeps_two_lanes_busy_when_the_engine_is_staged():
    both = threading.Barrier(2)

    def meet(inputs):
        both.wait(10)  # a look and a follow at once, or this breaks

    with running(StagedEngine(meet_after(2, meet), meet), StagedTask(), lanes=2) as rig:
        inlet = rig.pipeline.attach("a", 1, live=True)  # live: looked at one by one
        # Frame 1 is looked at while frame 0 is followed; then frame 2's look meets frame 1's follow.
        for seq in range(3):
            rig.send(inlet, "a", [seq])
            rig.sink.wait_for(lambda seq=seq: len(rig.sink.results) >= seq)
        both.abort()
        inlet.finish(10)
    assert rig.sink.seqs("a")[:2] == [0, 1]


def meet_after(nth, action):
    calls = iter(range(1, 1000))
    return lambda inputs: action(inputs) if next(calls) >= nth else None


@pytest.mark.parametrize("stage", ["look", "follow"])
def test_a_stage_that_fails_costs_its_frames_and_no_more(stage):
    def fail_second(inputs):
        firsts = inputs["images"][:, 0, 0, 0] if "images" in inputs else inputs["seen"]
        if 1 in firsts:
            raise EngineError("out of memory")

    engine = StagedEngine(**{f"{stage}_before": fail_second})
    with running(engine, StagedTask(), lanes=2) as rig:
        inlet = rig.pipeline.attach("a", 1, live=False)
        for seq in range(4):  # one at a time, so that none shares its batch
            rig.send(inlet, "a", [seq])
            rig.until(lambda: not rig.ledger.counts("a").in_flight)
        assert inlet.finish(10)
    assert rig.sink.seqs("a") == [0, 2, 3]
    assert rig.ledger.counts("a").ended == {"emitted": 3, "failed:EngineError": 1}


def test_a_staged_stream_that_is_stopped_short_still_balances():
    gate = threading.Event()
    held = threading.Event()
    with running(StagedEngine(follow_before=hold(gate, held)), StagedTask(), lanes=2) as rig:
        inlet = rig.pipeline.attach("a", 1, live=False)
        rig.send(inlet, "a", range(5))
        assert held.wait(10)
        assert not inlet.finish(0.01)
        gate.set()
        rig.sink.wait_for(lambda: len(rig.sink.results) == 1)
    counts = rig.ledger.counts("a")
    assert counts.ended == {"emitted": 1, "drained": 4} and counts.balanced
