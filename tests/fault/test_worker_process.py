"""A real worker process on a real Redis, and what is done to it: killed, stopped, without Redis, with bad streams."""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import orjson
import psutil
import pytest

from streamer.client import Client, calls
from streamer.clock import SystemClock
from streamer.config import StreamConfig
from streamer.process import ChildProcess
from streamer.sinks.redis_server import EmbeddedRedis
from streamer.supervisor import Supervisor
from tests.fakes.clips import write_clip
from tests.fakes.rtsp import rtsp_camera

ROOT = Path(__file__).parent.parent.parent
WORLD = "world://street?seed={seed}&size=128x72&fps=10&people=1"


def until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come about")


class Rig:
    """Redis, a client of it, and a worker under a supervisor that runs on a thread of its own."""

    def __init__(self, redis, data_dir, main="tests.fakes.worker_main"):
        self.redis = redis
        self.client = Client(redis.url)
        environ = {
            **os.environ,
            "REDIS_URL": redis.url,
            "SIGHTLINE_DATA": str(data_dir),
            "PYTHONPATH": str(ROOT),
        }
        argv = [sys.executable, "-m", main, "worker", "--drain-deadline-s", "10"]
        self.process = ChildProcess("worker", argv, ready=self.beats, environ=environ)
        self.stop = threading.Event()
        self.code = None
        self.supervisor = Supervisor(
            [self.process], clock=SystemClock(), drain_deadline_s=20.0, on_ready=lambda: None
        )
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        self.code = self.supervisor.run(self.stop)

    def beats(self, pid):
        return self.client.worker().get("pid") == str(pid)

    def end(self):
        self.stop.set()
        self.thread.join(40)
        return self.code

    def state(self, name):
        return self.client.state(name)

    def results(self, name):
        entries = self.client.run(calls.read_results(name, "0", 1))
        return [orjson.loads(data) for _, data in entries]

    def events(self, name, *kinds):
        """Oldest first."""
        return self.client.list_events(name, limit=1000, kinds=kinds or None)[::-1]

    def epochs(self, name):
        return {result["epoch"] for result in self.results(name)}


@pytest.fixture
def served(tmp_path):
    @contextmanager
    def serve(*streams):
        with EmbeddedRedis(tmp_path / "data") as redis:
            rig = Rig(redis, tmp_path / "data")
            for stream in streams:
                rig.client.add_stream(stream)
            rig.thread.start()
            try:
                yield rig
            finally:
                rig.end()
                assert not rig.process.alive()
                rig.client.close()

    return serve


def world(name, seed=3, **fields):
    return StreamConfig(name=name, url=WORLD.format(seed=seed), **fields)


def test_a_killed_worker_is_back_with_a_new_epoch_and_events_go_on(served):
    with served(world("a"), world("b", seed=4)) as rig:
        until(lambda: all(len(rig.events(name, "appear")) == 2 for name in "ab"))
        first = rig.process.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: all(len(rig.events(name, "appear")) == 4 for name in "ab"))
        assert rig.process.pid != first and rig.supervisor.restarts == {"worker": 1}
        for name in "ab":
            assert {1, 2} <= rig.epochs(name)
            ups = rig.events(name, "up")
            assert [event.epoch for event in ups] == [1, 2]
            ids = [event.id for event in rig.events(name)]
            assert len(ids) == len(set(ids))
        assert rig.end() == 0


def test_a_worker_that_is_asked_to_end_closes_everything(served):
    with served(world("a"), world("b", seed=4)) as rig:
        until(lambda: all(len(rig.results(name)) > 5 for name in "ab"))
        pid = rig.process.pid
        assert rig.end() == 0
        assert not psutil.pid_exists(pid)
        for name in "ab":
            state = rig.state(name)
            assert (state["state"], state["error_code"]) == ("ENDED", "WORKER_STOPPED")
            counts = orjson.loads(state["ledger_total"])
            assert counts.pop("in_flight") == 0 and counts.pop("in") == sum(counts.values())
            kinds = [str(event.kind) for event in rig.events(name)]
            assert kinds.count("appear") == kinds.count("leave") == 2
            assert kinds[0] == "up" and kinds[-1] == "down"


def test_streams_come_and_go_at_run_time(served):
    with served(world("a")) as rig:
        until(lambda: rig.results("a"))
        rig.client.add_stream(world("b", seed=4))
        until(lambda: rig.results("b"))
        rig.client.remove_stream("b")
        until(lambda: not rig.state("b"))
        assert [str(event.kind) for event in rig.events("b")][-1] == "down"
        assert rig.events("b", "down")[0].attrs["code"] == "STREAM_REMOVED"
        assert rig.state("a")["state"] == "RUNNING" and rig.epochs("a") == {1}
        assert rig.end() == 0


def test_a_bad_stream_hurts_no_other(served, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 50)
    bad = [
        StreamConfig(name="refused", url="rtsp://127.0.0.1:1/none"),
        StreamConfig(name="text", url=str(text)),
        StreamConfig(name="absent", url=str(tmp_path / "absent.mp4")),
    ]
    with served(world("good"), *bad) as rig:
        until(lambda: all(rig.state(s.name).get("error_code") for s in bad))
        until(lambda: len(rig.results("good")) > 20)
        assert rig.state("refused")["state"] == "RESTARTING"
        assert rig.state("refused")["error_code"] == "STREAM_REFUSED"
        assert rig.state("text")["state"] == "ERROR" and rig.state("text")["error_code"] == "STREAM_INVALID"
        assert (
            rig.state("absent")["state"] == "ERROR"
            and rig.state("absent")["error_code"] == "STREAM_NOT_FOUND"
        )
        assert rig.state("good")["state"] == "RUNNING" and rig.epochs("good") == {1}
        assert [e.attrs["code"] for e in rig.events("refused", "down")] == ["STREAM_REFUSED"]
        assert rig.end() == 0


def test_a_camera_that_was_killed_is_back_within_ten_seconds_of_its_return(served, tmp_path):
    clip = write_clip(tmp_path / "minute.mp4", 1500)
    with rtsp_camera(clip) as door:
        streams = [
            StreamConfig(name="door", url=door.url),
            StreamConfig(name="yard", url=str(clip), realtime=True),
        ]
        with served(*streams) as rig:
            until(lambda: len(rig.results("door")) > 20 and len(rig.results("yard")) > 20)
            door.kill()
            until(lambda: rig.state("door")["state"] == "RESTARTING")
            before = int(rig.state("yard")["last_frame_wall_ns"])
            door.start()
            back = time.monotonic()
            until(lambda: 2 in rig.epochs("door"), timeout_s=10)
            assert time.monotonic() - back < 10 and rig.epochs("door") <= {1, 2}
            assert [str(e.kind) for e in rig.events("door", "up", "down")] == ["up", "down", "up"]
            # The other stream never noticed: one epoch, still running, and every frame of it was answered, in order.
            until(lambda: int(rig.state("yard")["last_frame_wall_ns"]) > before)
            assert rig.epochs("yard") == {1} and rig.state("yard")["state"] == "RUNNING"
            counts = orjson.loads(rig.state("yard")["ledger_total"])
            assert counts["emitted"] > 20 and set(counts) == {"in", "in_flight", "emitted"}
            seqs = [result["seq"] for result in rig.results("yard")]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            assert rig.end() == 0


def test_no_event_is_lost_while_redis_is_away(served, tmp_path):
    spool = tmp_path / "data" / "spool"

    def spooled():
        return b"".join(path.read_bytes() for path in sorted(spool.rglob("*")) if path.is_file())

    camera = rtsp_camera(write_clip(tmp_path / "minute.mp4", 1500))
    with camera as door, served(world("a"), StreamConfig(name="door", url=door.url)) as rig:
        until(lambda: all(len(rig.events(name, "appear")) == 2 for name in ("a", "door")))
        pid = rig.process.pid
        rig.redis.stop()
        door.kill()
        # Its `down` is the last thing that happens to the camera, and Redis cannot take it.
        until(lambda: b"door:1:" in spooled() and b":down:" in spooled())
        rig.redis.start()
        until(lambda: rig.events("door", "down"))
        kinds = [str(event.kind) for event in rig.events("door")]
        assert kinds == ["up", "appear", "appear", "leave", "leave", "down"]
        last = [None]

        def going_on():
            seqs = [result["seq"] for result in rig.results("a")]
            last[0], before = (seqs or [0])[-1], last[0]
            return before is not None and last[0] > before

        until(going_on)
        assert rig.process.pid == pid and rig.supervisor.restarts == {"worker": 0}
        assert rig.end() == 0
        kinds = [str(event.kind) for event in rig.events("a")]
        assert kinds == ["up", "appear", "appear", "leave", "leave", "down"]
