import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from streamer.process import ChildProcess

ROOT = Path(__file__).parent.parent.parent

# Says that it is there by making a file; `stubborn` hears no SIGTERM; `parent` starts a child of its own.
CHILD = """
import signal, subprocess, sys, time
from pathlib import Path
kind, mark = sys.argv[1], Path(sys.argv[2])
if kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if kind == "parent":
    own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    mark.with_suffix(".own").write_text(str(own.pid))
mark.touch()
time.sleep(60)
"""


def until(condition, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not come about")


def gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def child(tmp_path):
    made = []

    def make(kind="plain", name="child"):
        mark = tmp_path / name
        argv = [sys.executable, "-c", CHILD, kind, str(mark)]
        made.append(ChildProcess(name, argv, ready=lambda pid: mark.exists()))
        made[-1].mark = mark
        return made[-1]

    yield make
    for process in made:
        process.stop(0)


def test_it_ends_when_asked(child):
    process = child()
    assert not process.alive() and not process.ready() and process.stop(1)
    process.start()
    until(process.ready)
    assert process.stop(10) and not process.alive()
    assert process.ending() == "it was killed by SIGTERM"


def test_it_is_killed_at_the_deadline(child):
    process = child("stubborn")
    process.start()
    until(process.ready)
    assert not process.stop(0.1) and not process.alive()
    assert process.ending() == "it was killed by SIGKILL"


def test_nothing_that_it_started_is_left(child):
    process = child("parent")
    process.start()
    until(process.ready)
    own = int(process.mark.with_suffix(".own").read_text())
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.alive())
    process.mark.unlink()
    process.start()  # again: what the first run left is ended before
    until(lambda: gone(own))
    until(process.ready)
    second = int(process.mark.with_suffix(".own").read_text())
    process.stop(5)
    until(lambda: gone(second))


def test_it_gets_no_ctrl_c_and_no_input_of_the_terminal(child):
    process = child()
    process.start()
    until(process.ready)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


def test_a_program_that_is_not_there_ends_at_once():
    process = ChildProcess("ghost", ["/nonexistent/program"], ready=lambda pid: True)
    process.start()
    until(lambda: not process.alive())
    assert "code 1" in process.ending()


SUPERVISOR = """
import sys, threading
from pathlib import Path
from streamer.clock import SystemClock
from streamer.process import ChildProcess
from streamer.supervisor import Supervisor, stop_on_signals
child, folder = sys.argv[1], Path(sys.argv[2])
services = []
for kind, name in (("plain", "first"), (sys.argv[3], "second")):
    mark = folder / name
    argv = [sys.executable, "-c", child, kind, str(mark)]
    services.append(ChildProcess(name, argv, ready=lambda pid, mark=mark: mark.exists()))
def ready():
    (folder / "pids").write_text(" ".join(str(s.pid) for s in services))
stop = threading.Event()
stop_on_signals(stop)
sys.exit(Supervisor(services, clock=SystemClock(), drain_deadline_s=2.0, on_ready=ready).run(stop))
"""


@pytest.fixture
def supervised(tmp_path):
    made = []

    def make(kind="plain"):
        argv = [sys.executable, "-c", SUPERVISOR, CHILD, str(tmp_path), kind]
        process = subprocess.Popen(argv, cwd=ROOT, start_new_session=True)
        made.append(process)
        pids = until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().split())
        return process, [int(pid) for pid in pids]

    yield make
    for process in made:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_supervisor_that_is_asked_to_end_leaves_nothing_and_says_zero(supervised, number):
    process, pids = supervised()
    process.send_signal(number)
    assert process.wait(15) == 0
    assert all(gone(pid) for pid in pids)


def test_a_supervisor_that_had_to_kill_says_so(supervised):
    process, pids = supervised("stubborn")
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 3
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("kind", ["plain", "stubborn"])
def test_children_die_with_a_supervisor_that_was_killed(supervised, kind):
    process, pids = supervised(kind)
    assert not any(gone(pid) for pid in pids)
    process.kill()
    process.wait()
    until(lambda: all(gone(pid) for pid in pids))


def test_a_killed_child_is_back_while_the_other_was_never_touched(supervised, tmp_path):
    process, (first, second) = supervised()
    (tmp_path / "second").unlink()
    os.kill(second, signal.SIGKILL)
    until(lambda: (tmp_path / "second").exists())  # the new one is there
    assert gone(second) and not gone(first)
    assert len(psutil.Process(process.pid).children()) == 2
