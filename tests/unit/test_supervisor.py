import threading

import pytest

from streamer.clock import FakeClock
from streamer.errors import StoreError
from streamer.process import Heart
from streamer.supervisor import POLL_S, RESTART, ExitCode, Supervisor


class Part:
    """A service that does what the test says; `log` is shared, so that the order shows."""

    def __init__(self, name, log, clock, *, ready_after=0):
        self.name, self.log, self.clock = name, log, clock
        self.ready_after, self.looks = ready_after, 0
        self.up, self.stuck, self.stops_in_time = False, False, True
        self.starts, self.fails = [], []
        self.stop_seconds = 0.0
        self.given_s = None

    def start(self):
        self.log.append(f"start {self.name}")
        self.starts.append(self.clock.monotonic_ns() / 1e9)
        if self.fails:
            raise self.fails.pop(0)
        self.up, self.stuck, self.looks = True, False, 0

    def alive(self):
        return self.up

    def ready(self):
        self.looks += 1
        return self.up and self.looks > self.ready_after

    def stalled(self):
        return self.stuck

    def ending(self):
        return "it ended with code 2"

    def stop(self, deadline_s):
        self.log.append(f"stop {self.name}")
        self.given_s = deadline_s
        self.clock.advance(min(self.stop_seconds, deadline_s))
        self.up = False
        return self.stop_seconds <= deadline_s

    def kill(self):
        self.log.append(f"kill {self.name}")
        self.up = False


class Script:
    """A clock whose waiting lets the test act: `at(seconds, action)`; stops at the end."""

    def __init__(self, seconds):
        self.clock, self.end_s, self.actions = FakeClock(start_ns=0), seconds, []

    def at(self, seconds, action):
        self.actions.append((seconds, action))
        self.actions.sort(key=lambda item: item[0])

    def monotonic_ns(self):
        return self.clock.monotonic_ns()

    def wall_ns(self):
        return self.clock.wall_ns()

    def advance(self, seconds):
        self.clock.advance(seconds)

    def wait(self, event, timeout_s):
        self.clock.wait(event, timeout_s)
        now_s = self.clock.monotonic_ns() / 1e9
        while self.actions and self.actions[0][0] <= now_s:
            self.actions.pop(0)[1]()
        if now_s >= self.end_s:
            event.set()
        return event.is_set()


def parts(script, **ready_after):
    log = []
    return [
        Part(name, log, script, ready_after=ready_after.get(name, 0)) for name in ("redis", "worker", "web")
    ]


def run(script, services, **kw):
    supervisor = Supervisor(services, clock=script, **({"drain_deadline_s": 6.0} | kw))
    return supervisor.run(threading.Event()), supervisor


def test_parts_start_in_order_each_when_the_one_before_is_ready_and_end_in_reverse():
    script = Script(5)
    services = parts(script, redis=4, worker=6)
    said = []
    code, supervisor = run(script, services, on_ready=lambda: said.append(script.monotonic_ns() / 1e9))
    assert code is ExitCode.STOPPED
    assert services[0].log == [
        *(f"start {n}" for n in ("redis", "worker", "web")),
        "stop web",
        "stop worker",
        "stop redis",
    ]
    starts = [part.starts[0] for part in services]
    assert starts == pytest.approx([0, 4 * POLL_S, 10 * POLL_S])
    assert said == pytest.approx([10 * POLL_S]) and supervisor.restarts == {"redis": 0, "worker": 0, "web": 0}


def test_a_part_that_dies_is_started_again_alone_and_at_once():
    script = Script(10)
    services = parts(script)
    worker = services[1]
    script.at(3, lambda: setattr(worker, "up", False))
    code, supervisor = run(script, services)
    assert code is ExitCode.STOPPED and supervisor.restarts == {"redis": 0, "worker": 1, "web": 0}
    assert worker.starts[1] - 3 <= RESTART.first_s + 2 * POLL_S + 0.01


def test_one_that_dies_again_and_again_is_tried_ever_more_slowly_and_forgiven_later():
    script = Script(200)
    services = parts(script)
    worker = services[1]
    for second in range(1, 61):
        script.at(second, lambda: setattr(worker, "up", False))
    script.at(150, lambda: setattr(worker, "up", False))
    run(script, services)
    pauses = [b - a for a, b in zip(worker.starts, worker.starts[1:], strict=False) if b < 60]
    assert len(worker.starts) < 25 and max(pauses) > 5 * min(pauses)
    assert worker.starts[-1] - 150 < 0.5  # it was well in between


def test_a_stalled_part_is_killed_and_started_again():
    script = Script(5)
    services = parts(script)
    script.at(2, lambda: setattr(services[1], "stuck", True))
    _, supervisor = run(script, services)
    assert services[0].log[3:5] == ["kill worker", "start worker"] and supervisor.restarts["worker"] == 1


def test_one_that_does_not_become_ready_again_is_killed_and_tried_again():
    script = Script(30)
    services = parts(script)
    worker = services[1]

    def die():
        worker.up, worker.ready_after = False, 10_000

    script.at(2, die)
    run(script, services, ready_timeout_s=5)
    assert 3 <= len(worker.starts) <= 6 and "kill worker" in worker.log


def test_a_part_that_ends_before_it_was_ever_ready_ends_all():
    script = Script(60)
    services = parts(script, web=10_000)
    script.at(1, lambda: setattr(services[2], "up", False))
    code, _ = run(script, services)
    assert code is ExitCode.NOT_STARTED and script.monotonic_ns() < 2e9
    assert services[0].log[-3:] == ["stop web", "stop worker", "stop redis"]


def test_a_part_that_is_never_ready_ends_all_after_the_timeout():
    script = Script(600)
    services = parts(script, worker=10**6)
    code, _ = run(script, services, ready_timeout_s=20)
    assert code is ExitCode.NOT_STARTED and 20e9 < script.monotonic_ns() < 21e9
    assert "start web" not in services[0].log


def test_what_cannot_start_at_all_is_said_and_ends_what_was_started():
    script = Script(10)
    services = parts(script)
    services[1].fails = [StoreError("no room", mend="make some")]
    with pytest.raises(StoreError, match="no room"):
        run(script, services)
    assert services[0].log == ["start redis", "start worker", "stop worker", "stop redis"]


def test_a_restart_that_fails_is_tried_again():
    script = Script(20)
    services = parts(script)
    redis = services[0]

    def die():
        redis.up, redis.fails = False, [StoreError("busy"), StoreError("busy")]

    script.at(2, die)
    _, supervisor = run(script, services)
    assert supervisor.restarts["redis"] == 3 and redis.alive() is False and len(redis.starts) == 4


def test_stopping_while_parts_start_is_a_clean_end():
    script = Script(1)
    services = parts(script, worker=10**6)
    code, _ = run(script, services)
    assert code is ExitCode.STOPPED
    assert services[0].log == ["start redis", "start worker", "stop worker", "stop redis"]


def test_the_deadline_is_shared_so_that_a_slow_part_leaves_time_for_the_rest():
    script = Script(1)
    services = parts(script)
    services[2].stop_seconds = 100
    code, _ = run(script, services, drain_deadline_s=6.0)
    assert code is ExitCode.KILLED
    assert [part.given_s for part in services] == pytest.approx([4.0, 2.0, 2.0])


def test_only_silence_that_was_listened_to_counts():
    clock = FakeClock()
    beat = [1]
    heart = Heart(lambda: beat[0], clock, patience_s=10)

    def later(seconds):
        clock.advance(seconds)
        return heart.beats()

    assert heart.beats() and later(9)
    assert not later(2)
    beat[0] = 2
    assert later(1) and later(9)
    beat[0] = None  # the border is away: nobody is blamed, however long
    assert later(100)
    beat[0] = 2  # back, with an old beat: the patience begins anew
    assert later(1) and later(9) and not later(2)
    heart.reset()
    assert heart.beats()
