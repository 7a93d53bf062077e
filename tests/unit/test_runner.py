import threading

import orjson
import pytest

from streamer.config import StreamConfig
from streamer.errors import EngineError, SourceCode, SourceError
from streamer.life import EndCode, Life, Outcome
from streamer.runner import GRACE_S, SLOW_RETRY, StreamRunner
from streamer.types import STREAM_MOVES, StreamState
from tests.fakes.streams import HANG, stage

REMOVED = Outcome(StreamState.ENDED, EndCode.REMOVED, "removed")
LOST = SourceError("the camera went away", code=SourceCode.LOST)
REFUSED = SourceError("refused", code=SourceCode.REFUSED)
NO_VIDEO = SourceError("not a video", code=SourceCode.INVALID, retryable=False)


def runner_of(it, **fields):
    return StreamRunner(
        StreamConfig(name="cam", url="rtsp://user:secret@camera/1", **fields), it.surroundings
    )


def test_a_file_is_analysed_whole_and_ends():
    with stage({"cam": [[20]]}, live=False) as it:
        runner = runner_of(it)
        runner.start()
        assert runner.join(10)
    assert it.states() == ["INITIALISING", "RUNNING", "ENDED"]
    up, down = it.events("up", "down")
    assert (up.id, up.attrs["codec"]) == ("cam:1:0:up:-", "h264")
    assert (down.id, down.attrs["code"]) == ("cam:1:19:down:-", "STREAM_ENDED")
    assert orjson.loads(it.fields()["ledger"]) == {"in": 20, "in_flight": 0, "emitted": 20}
    # Every object leaves before its stream is down.
    kinds = [str(event.kind) for event in it.sink.events]
    assert kinds[0] == "up" and kinds[-1] == "down" and kinds.count("appear") == kinds.count("leave") == 20


def test_a_lost_camera_comes_back_with_the_next_epoch_and_a_fresh_state():
    with stage({"cam": [[5, LOST], [REFUSED], [REFUSED], [5, HANG]]}) as it:
        runner = runner_of(it)
        runner.start()
        it.sink.wait_for(lambda: it.sink.seqs("cam") == [0, 1, 2, 3, 4] * 2)
        runner.stop(REMOVED)
        assert runner.join(10)
    assert it.states() == ["INITIALISING", "RUNNING", "RESTARTING", "RUNNING", "ENDED"]
    assert {result.ref.epoch for result in it.sink.results} == {1, 2}
    firsts = [int(r.payload.tracks.track_ids[0]) for r in it.sink.results if r.ref.seq == 0]
    assert firsts == [1, 1]
    assert [(e.id, e.attrs.get("code")) for e in it.events("up", "down")] == [
        ("cam:1:0:up:-", None),
        ("cam:1:4:down:-", "STREAM_LOST"),
        ("cam:2:0:up:-", None),
        ("cam:2:4:down:-", "STREAM_REMOVED"),
    ]
    assert it.metrics.reconnects.value("cam", "STREAM_REFUSED") == 2


def test_a_camera_that_was_never_there_says_so_once_and_is_tried_on():
    with stage({"cam": [[REFUSED]] * 6 + [[3, HANG]]}) as it:
        runner = runner_of(it)
        runner.start()
        it.sink.wait_for(lambda: len(it.sink.results) == 3)
        runner.stop(REMOVED)
        assert runner.join(10)
    assert it.states() == ["INITIALISING", "RESTARTING", "RUNNING", "ENDED"]
    ids = [e.id for e in it.events("up", "down")]
    assert ids == ["cam:1:0:down:-", "cam:2:0:up:-", "cam:2:2:down:-"]


def test_what_only_a_person_can_mend_is_an_error_that_is_tried_slowly():
    with stage({"cam": [[NO_VIDEO], [NO_VIDEO], [3]]}, live=False) as it:
        runner = runner_of(it)
        began_ns = it.clock.monotonic_ns()
        runner.start()
        assert runner.join(10)
        waited_s = (it.clock.monotonic_ns() - began_ns) / 1e9
    assert it.states() == ["INITIALISING", "ERROR"] * 2 + ["INITIALISING", "RUNNING", "ENDED"]
    assert waited_s >= 2 * SLOW_RETRY.first_s * 0.5
    errors = [f for name, state, f in it.sink.states if state is StreamState.ERROR]
    assert errors[0]["error_code"] == "STREAM_INVALID" and "not a video" in errors[0]["error"]
    assert it.fields()["error_code"] == "STREAM_ENDED"


def test_an_engine_that_cannot_be_had_is_an_error_of_the_stream():
    tries = []

    def no_engine(spec):
        tries.append(spec.model)
        raise EngineError(f"model {spec.model} is unknown", mend="street-nano is known")

    with stage({"cam": [[3]]}) as it:
        object.__setattr__(it.surroundings, "pipeline_for", no_engine)
        runner = runner_of(it, model="nonsense")
        runner.start()
        it.sink.wait_for(lambda: len(tries) > 2)
        runner.stop(REMOVED)
        assert runner.join(10)
        assert it.states()[1] == "ERROR"
    assert it.events("down")[0].attrs["code"] == "ENGINE_UNAVAILABLE"
    assert any("street-nano is known" in f["error"] for _, _, f in it.sink.states)


def test_secrets_are_not_in_the_state_and_an_unexpected_error_does_not_end_the_stream():
    with stage({"cam": [[RuntimeError("bug")], [2, HANG]]}) as it:
        runner = runner_of(it)
        runner.start()
        it.sink.wait_for(lambda: len(it.sink.results) == 2)
        runner.stop(REMOVED)
        assert runner.join(10)
    assert all("secret" not in orjson.dumps(fields).decode() for _, _, fields in it.sink.states)
    assert it.events("down")[0].attrs["code"] == "INTERNAL_ERROR"


@pytest.mark.parametrize("script", [[HANG], [2, HANG]])
def test_a_source_that_hangs_is_ended_by_the_watchdog(script):
    with stage({"cam": [script, [4, HANG]]}) as it:
        runner = runner_of(it)
        runner.start()
        it.sink.wait_for(lambda: len(it.sink.results) == len(script[:-1]) * 2)
        first = it.sources[0]
        while not first.closed.wait(0.005):
            it.clock.advance(1.0)
            assert runner.watch()
        it.sink.wait_for(lambda: len(it.sink.results) >= 4)
        runner.stop(REMOVED)
        assert runner.join(10)
    assert it.events("down")[0].attrs["code"] == "STREAM_TIMEOUT"


def test_a_thread_lost_inside_its_source_is_given_up_and_heard_no_more():
    free = threading.Event()

    def deaf(source):
        assert free.wait(20)
        raise LOST

    with stage({"cam": [[2, deaf]]}) as it:
        runner = runner_of(it)
        runner.start()
        it.sink.wait_for(lambda: len(it.sink.results) == 2 and it.states() == ["INITIALISING", "RUNNING"])
        it.clock.advance(runner.spec.read_timeout_s + GRACE_S + 0.1)
        assert runner.watch()
        it.clock.advance(GRACE_S + 0.1)
        assert not runner.watch()
        it.sink.wait_for(lambda: bool(it.events("down")))
        said = len(it.sink.states)
        free.set()
        assert runner.join(10)
        runner.report()
        assert len(it.sink.states) == said
    assert it.states() == ["INITIALISING", "RUNNING", "RESTARTING"]
    assert [e.attrs["code"] for e in it.events("down")] == ["STREAM_TIMEOUT"]


def test_a_slow_stream_by_choice_does_not_look_hung():
    with stage({"cam": [[1, HANG]]}) as it:
        runner = runner_of(it, max_fps=0.02)  # one picture in 50 s
        runner.start()
        it.sink.wait_for(lambda: len(it.sink.results) == 1)
        it.clock.advance(60)
        assert runner.watch() and not it.sources[0].closed.is_set()
        runner.stop(REMOVED)
        assert runner.join(10)


def test_stop_ends_a_stream_that_waits_to_try_again_and_one_that_opens():
    with stage({"cam": [[HANG]]}) as it:
        runner = runner_of(it)
        runner.start()
        runner.stop(Outcome(StreamState.PAUSED, EndCode.PAUSED, "paused"))
        assert runner.join(10)
        assert it.states()[-1] == "PAUSED" and not it.events("up", "down")


def test_a_paused_stream_says_so_without_a_thread():
    with stage({"cam": [[3]]}) as it:
        runner = runner_of(it, paused=True)
        runner.park()
        assert it.states() == ["PAUSED"] and not runner.alive and not it.sources


def test_the_reports_say_how_the_stream_does():
    with stage({"cam": [[30, HANG]]}) as it:
        runner = runner_of(it)
        runner.start()
        it.sink.wait_for(lambda: it.sink.seqs("cam")[-1:] == [29])
        it.clock.advance(1)
        runner.report()
        fields = it.fields()
        runner.stop(REMOVED)
        assert runner.join(10)
    assert fields["url"] == "rtsp://***@camera/1"
    assert (fields["width"], fields["height"], fields["codec"]) == ("60", "40", "h264")
    assert (fields["epoch"], fields["model"], fields["backend"]) == ("1", "adder", "numpy")
    assert float(fields["fps"]) > 0 and float(fields["latency_p95_ms"]) >= 0
    last = it.sink.results[-1].ref
    age_ns = it.clock.monotonic_ns() - last.captured_ns  # by this host's clock, whatever the camera's says
    assert int(fields["last_frame_wall_ns"]) == it.clock.wall_ns() - age_ns != last.wall_ns


def test_a_state_moves_only_along_the_legal_moves():
    for start in StreamState:
        for target in StreamState:
            life = Life(start)
            if target is start or target in STREAM_MOVES[start]:
                life.move(target, "code", "why")
                assert (life.state, life.code, life.message) == (target, "code", "why")
            else:
                with pytest.raises(ValueError, match=f"from {start} to {target}"):
                    life.move(target)
