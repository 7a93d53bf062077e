import threading

import orjson
import pytest

from streamer.clock import FakeClock
from streamer.config import EventWishes, StreamConfig
from streamer.errors import StoreError
from streamer.ports import ViewerCounts
from streamer.regions import Line, Zone
from streamer.runner import StreamRunner
from streamer.types import StreamState
from streamer.worker import LEAVE_S, RELOAD_FAILED_S, REPORT_S, Worker
from tests.fakes.streams import HANG, stage

LIVE = [3, HANG]


class Border:
    def __init__(self):
        self.beats, self.forgotten, self.watching, self.watching_vp8 = [], [], set(), set()

    def heartbeat(self, fields):
        self.beats.append(fields)

    def watched(self, streams, codec):
        return (self.watching if codec == "h264" else self.watching_vp8) & set(streams)

    def forget(self, stream):
        self.forgotten.append(stream)

    def counts(self):
        return {"events_waiting": 7}


class Desired:
    def __init__(self, *specs):
        self.broken, self.loads = False, 0
        self.set(*specs)

    def set(self, *specs):
        self.specs = {spec.name: spec for spec in specs}

    def load(self):
        self.loads += 1
        if self.broken:
            raise StoreError("Redis does not answer")
        return self.specs


class Tap:
    groups_given_up = 2

    def __init__(self):
        self.codecs, self.keys, self.closed = set(), [], False

    @property
    def watched(self):
        return "h264" in self.codecs

    wanted = watched

    def offer(self, ref, picture):
        pass

    def offer_packet(self, ref, data, key):
        pass

    def no_packets(self, why):
        pass

    def fields(self):
        return {"viewer_video": "pass-through"}

    def counts(self):
        nothing = ViewerCounts(0, 0, 0, 0, {})
        return {"h264": ViewerCounts(3, 1, 20, 40, {"encoder busy": 5}), "vp8": nothing}

    def set_watched(self, watched, codec):
        self.codecs = self.codecs | {codec} if watched else self.codecs - {codec}

    def request_keyframe(self, codec):
        self.keys.append(codec)

    def close(self):
        self.closed = True


def spec(name="cam", **fields):
    return StreamConfig(name=name, url=f"rtsp://camera/{name}", **fields)


class StillClock(FakeClock):
    """A fake clock for a loop in a thread of its own: a wait is a real one and moves no time.

    With `FakeClock` such a loop would spin, and hours would pass before a stream's thread had its turn.
    """

    def wait(self, event, timeout_s):
        return event.wait(timeout_s)


class Rig:
    def __init__(self, it, *specs, clock=None):
        self.it, self.border, self.desired, self.taps = it, Border(), Desired(*specs), {}
        self.stalled, self.adopted = "", []
        self.worker = Worker(
            desired=self.desired,
            border=self.border,
            runner_for=lambda spec, tap: StreamRunner(spec, it.surroundings, tap=tap),
            tap_for=self.tap_for,
            stalled=lambda: self.stalled,
            publisher=it.publisher,
            ledger=it.ledger,
            metrics=it.metrics,
            clock=clock or it.clock,
            backend="numpy",
            adopted=self.adopted.append,
        )

    def tap_for(self, name):
        self.taps[name] = Tap()
        return self.taps[name]

    def change(self, *specs):
        self.desired.set(*specs)
        self.worker.tell({"op": "streams"})

    def until(self, condition):
        """Tick until it is so; threads do the rest meanwhile."""
        for _ in range(2000):
            self.worker.tick()
            if condition():
                return
            threading.Event().wait(0.005)
        raise AssertionError("it did not come about")

    def answered(self, name, epoch=1):
        return len([r for r in self.it.sink.results if r.ref.stream == name and r.ref.epoch == epoch]) == 3


def test_streams_come_and_go_while_the_others_run_on():
    with stage({"a": [LIVE], "b": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.until(lambda: rig.answered("a"))
        rig.change(spec("a"), spec("b"))
        rig.until(lambda: rig.answered("b"))
        assert rig.worker.running == {"a": StreamState.RUNNING, "b": StreamState.RUNNING}
        rig.change(spec("b"))
        rig.until(lambda: rig.border.forgotten == ["a"])
        assert rig.worker.running == {"b": StreamState.RUNNING}
        assert rig.taps["a"].closed and not rig.taps["b"].closed
        assert it.ledger.streams() == ["b"] and it.states("a")[-1] == "ENDED"
        assert 'stream="a"' not in repr(it.metrics.snapshot())
        assert rig.worker.close(10)
    assert [s.epoch for s in it.sources] == [1, 1]  # b was never interrupted
    assert {e.attrs["code"] for e in it.events("down")} == {"STREAM_REMOVED", "WORKER_STOPPED"}


def test_a_changed_stream_starts_anew_with_the_next_epoch():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.until(lambda: rig.answered("a"))
        rig.change(spec("a", max_fps=5))
        rig.until(lambda: rig.answered("a", epoch=2))
        assert rig.worker.running == {"a": StreamState.RUNNING} and rig.border.forgotten == []
        assert rig.worker.close(10)


YARD = Zone(name="yard", points=((0, 0), (1, 0), (1, 1), (0, 1)))


@pytest.mark.parametrize(
    "fields",
    [
        {"zones": (YARD,)},
        {"lines": (Line(name="door", start=(0, 0), end=(1, 1)),)},
        {"events": EventWishes(actions=("fall",))},
    ],
)
def test_what_only_rules_read_changes_while_the_stream_runs_on(fields):
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.until(lambda: rig.answered("a"))
        changed = spec("a", **fields)
        rig.change(changed)
        rig.worker.tick()
        assert rig.adopted == [changed]
        assert orjson.loads(it.fields("a")["zone_objects"]) == {z.name: 0 for z in changed.zones}
        assert list(orjson.loads(it.fields("a")["line_crossings"])) == [line.name for line in changed.lines]
        rig.worker.tick()
        assert rig.adopted == [changed] and not it.sources[0].closed.is_set()
        # with another field it is another connection, and what was adopted goes with it
        rig.change(changed.model_copy(update={"max_fps": 5.0}))
        rig.until(lambda: rig.answered("a", epoch=2))
        assert rig.adopted == [changed] and len(it.sources) == 2
        assert rig.worker.close(10)
    assert it.events("down")[0].attrs["code"] == "STREAM_CHANGED"


def test_zones_of_a_paused_stream_change_and_a_file_that_has_ended_is_not_played_again():
    with stage({"a": [[3]], "b": [LIVE]}, live=False) as it:
        rig = Rig(it, spec("a"), spec("b", paused=True))
        rig.until(lambda: rig.worker.running == {"a": StreamState.ENDED, "b": StreamState.PAUSED})
        rig.change(spec("a", zones=(YARD,)), spec("b", paused=True, zones=(YARD,)))
        rig.worker.tick()
        assert [one.name for one in rig.adopted] == ["a", "b"]
        assert rig.worker.running == {"a": StreamState.ENDED, "b": StreamState.PAUSED}
        assert [orjson.loads(it.fields(name)["zone_objects"]) for name in "ab"] == [{"yard": 0}] * 2
        assert len(it.sources) == 1 and rig.worker.close(10)


def test_pause_and_resume():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.until(lambda: rig.answered("a"))
        rig.change(spec("a", paused=True))
        rig.until(lambda: rig.worker.running == {"a": StreamState.PAUSED})
        assert it.sources[0].closed.is_set() and it.states("a")[-1] == "PAUSED"
        rig.change(spec("a"))
        rig.until(lambda: rig.answered("a", epoch=2))
        assert rig.worker.close(10)


def test_removed_and_wished_for_again_at_once():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.until(lambda: rig.answered("a"))
        rig.change()
        rig.worker.tick()
        rig.change(spec("a"))
        rig.until(lambda: rig.answered("a", epoch=2))
        assert rig.border.forgotten == [] and rig.worker.close(10)


def test_a_wish_that_cannot_be_read_changes_nothing():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.until(lambda: rig.answered("a"))
        rig.desired.broken = True
        rig.worker.tell({"op": "streams"})
        rig.worker.tick()
        assert rig.worker.running == {"a": StreamState.RUNNING}
        rig.desired.broken = False
        rig.desired.set()
        it.clock.advance(RELOAD_FAILED_S)
        rig.until(lambda: rig.worker.running == {})  # without another announcement
        assert rig.worker.close(10)


def test_a_lost_announcement_is_made_up_for():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it)
        rig.worker.tick()
        rig.desired.set(spec("a"))
        rig.worker.tick()
        assert rig.worker.running == {}
        it.clock.advance(5)
        rig.worker.tick()
        assert list(rig.worker.running) == ["a"] and rig.worker.close(10)


def test_viewers_are_served_at_once_and_given_up_when_nobody_watches():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.worker.tick()
        rig.worker.tell({"op": "watch", "stream": "a"})
        rig.worker.tell({"op": "keyframe", "stream": "a"})
        rig.worker.tell({"op": "watch", "stream": "nobody"})
        rig.worker.tell({"op": "nonsense"})
        rig.worker.tick()
        assert rig.taps["a"].codecs == {"h264"} and rig.taps["a"].keys == ["h264"]
        rig.worker.tell({"op": "watch", "stream": "a", "codec": "vp8"})
        rig.worker.tell({"op": "keyframe", "stream": "a", "codec": "vp8"})
        rig.border.watching_vp8 = {"a"}
        rig.worker.tick()
        assert rig.taps["a"].codecs == {"h264", "vp8"} and rig.taps["a"].keys == ["h264", "vp8"]
        it.clock.advance(REPORT_S)
        rig.border.watching, rig.border.watching_vp8 = {"a"}, set()
        rig.worker.tick()
        assert rig.taps["a"].codecs == {"h264"}
        it.clock.advance(REPORT_S)
        rig.border.watching = set()
        rig.worker.tick()
        assert rig.taps["a"].codecs == set() and rig.worker.close(10)


def test_what_viewers_cost_is_in_the_state_and_the_metrics():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.until(lambda: rig.answered("a"))
        it.clock.advance(REPORT_S)
        rig.worker.tick()
        assert it.fields("a")["viewer_video"] == "pass-through"
        metrics, by_codec = it.metrics, ("a", "h264")
        assert metrics.encoders_started.value(*by_codec) == 3
        assert metrics.encoders_running.value(*by_codec) == 1
        assert metrics.viewer_packets.value(*by_codec, "passed") == 20
        assert metrics.viewer_packets.value(*by_codec, "encoded") == 40
        assert metrics.viewer_dropped.value(*by_codec, "encoder busy") == 5
        assert metrics.viewer_groups.value("a") == 2
        assert "vp8" not in repr(metrics.encoders_started.snapshot()), "nobody asked for it"
        assert rig.worker.close(10)


def test_heartbeats_carry_the_metrics_and_stop_when_a_lane_is_stuck():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a"))
        rig.until(lambda: rig.answered("a"))
        it.clock.advance(REPORT_S)
        rig.worker.tick()
        beat = rig.border.beats[-1]
        families = {f["name"]: f["samples"] for f in orjson.loads(beat["metrics"])}
        assert (beat["backend"], beat["streams"]) == ("numpy", "1")
        assert {"labels": {"stream": "a", "end": "emitted"}, "value": 3.0} in families[
            "sightline_frames_total"
        ]
        assert families["sightline_spooled_events"] == [{"labels": {}, "value": 7}]
        beats = len(rig.border.beats)
        rig.stalled = "a lane has been at one batch for 30 s"
        it.clock.advance(REPORT_S)
        rig.worker.tick()
        assert len(rig.border.beats) == beats and rig.worker.close(10)


def test_zones_are_shown_as_long_as_the_stream_has_them():
    with stage({"a": [LIVE]}) as it:
        rig = Rig(it, spec("a", zones=(YARD,)))
        rig.until(lambda: rig.answered("a"))
        it.clock.advance(REPORT_S)
        rig.worker.tick()
        families = {f["name"]: f["samples"] for f in orjson.loads(rig.border.beats[-1]["metrics"])}
        assert families["sightline_zone_objects"] == [{"labels": {"stream": "a", "zone": "yard"}, "value": 0}]
        rig.change(spec("a"))
        it.clock.advance(REPORT_S)
        rig.worker.tick()
        families = {f["name"]: f["samples"] for f in orjson.loads(rig.border.beats[-1]["metrics"])}
        assert families["sightline_zone_objects"] == [] and rig.worker.close(10)


def test_a_stream_that_will_not_end_is_left_behind():
    free = threading.Event()

    def deaf(source):
        assert free.wait(30)

    with stage({"a": [[3, deaf]], "b": [LIVE]}) as it:
        rig = Rig(it, spec("a"), spec("b"))
        rig.until(lambda: rig.answered("a") and rig.answered("b"))
        rig.change(spec("b"))
        rig.worker.tick()
        it.clock.advance(LEAVE_S)
        rig.until(lambda: rig.border.forgotten == ["a"])
        assert rig.worker.running == {"b": StreamState.RUNNING}
        free.set()
        assert rig.worker.close(10)


@pytest.mark.parametrize("count", [0, 3])
def test_run_ends_when_told_to(count):
    names = [f"s{i}" for i in range(count)]
    with stage({name: [LIVE] for name in names}) as it:
        rig = Rig(it, *(spec(name) for name in names), clock=StillClock())
        stop = threading.Event()
        thread = threading.Thread(target=rig.worker.run, args=(stop,))
        thread.start()
        try:
            for name in names:
                it.sink.wait_for(lambda name=name: rig.answered(name), 60)
        finally:
            stop.set()
            rig.worker.wake()
            thread.join(10)
        assert not thread.is_alive() and rig.worker.close(10)
    for name in names:
        assert it.ledger.counts(name).in_flight == 0 and it.states(name)[-1] == "ENDED"
