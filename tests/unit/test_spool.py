"""The spool: order, bounds, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.errors import StoreError
from streamer.sinks import spool as spool_module
from streamer.sinks.spool import Spool


def records(first: int, last: int) -> list[bytes]:
    return [b"record %d" % i for i in range(first, last)]


def drained(spool: Spool, step: int = 7) -> list[bytes]:
    found: list[bytes] = []
    while batch := spool.peek(step):
        found += batch
        spool.drop(len(batch))
    return found


def test_records_come_in_order_over_many_segments(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=100)
    for i in range(0, 100, 5):
        assert spool.append(records(i, i + 5)) == 5
    assert len(list(tmp_path.glob("*.seg"))) > 5
    assert len(spool) == 100
    assert drained(spool) == records(0, 100)
    assert len(spool) == 0 and spool.size_bytes == 0
    assert not list(tmp_path.glob("*.seg"))
    assert spool.append([b"again"]) == 1 and spool.peek() == [b"again"]


def test_peek_gives_nothing_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(records(0, 10))
    assert spool.peek(3) == spool.peek(3) == records(0, 3)
    spool.drop(2)
    assert spool.peek(3) == records(2, 5)


def test_a_new_process_goes_on_where_the_old_one_was(tmp_path: Path) -> None:
    first = Spool(tmp_path, segment_bytes=60)
    first.append(records(0, 20))
    first.append(records(20, 40))
    first.peek(25)
    first.drop(25)
    first.close()
    second = Spool(tmp_path)
    second.append(records(40, 45))
    assert len(second) == 20
    assert drained(second) == records(25, 45)


def test_what_does_not_fit_is_refused_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=5 * len(b"00000000 record 0\n"))
    assert spool.append(records(0, 3)) == 3
    assert spool.append(records(3, 9)) == 2
    assert spool.refused == 4
    assert spool.append([b"x"]) == 0 and spool.refused == 5
    spool.peek(2)
    spool.drop(2)
    assert spool.append(records(5, 7)) == 2
    assert drained(spool) == records(2, 7)


@pytest.mark.parametrize("cut", range(1, 18))
def test_a_torn_last_line_is_passed_over(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path)
    spool.append(records(0, 4))
    spool.close()
    (segment,) = tmp_path.glob("*.seg")
    os.truncate(segment, segment.stat().st_size - cut)
    again = Spool(tmp_path)
    again.append(records(4, 6))
    assert again.torn == (0 if cut == len(b"00000000 record 0\n") else 1)
    assert drained(again) == records(0, 3) + records(4, 6)


def test_a_changed_byte_costs_one_record(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(records(0, 5))
    spool.close()
    (segment,) = tmp_path.glob("*.seg")
    segment.write_bytes(segment.read_bytes().replace(b"record 2", b"recorf 2"))
    again = Spool(tmp_path)
    assert (again.torn, len(again)) == (1, 4)
    assert drained(again) == records(0, 2) + records(3, 5)


def test_a_full_disk_refuses_and_leaves_the_rest_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.append(records(0, 2))
    real_write = os.write

    def half_then_full(fd: int, data: bytes) -> int:
        if len(data) > 20:
            return real_write(fd, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_module.os, "write", half_then_full)
    assert spool.append(records(2, 4)) == 0
    assert spool.refused == 2
    monkeypatch.undo()
    assert spool.append(records(4, 6)) == 2
    assert drained(spool) == records(0, 2) + records(4, 6)


def test_kill_9_loses_nothing_that_was_taken(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from streamer.sinks.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]), segment_bytes=200)\n"
        "for i in range(10**9):\n"
        "    spool.append([b'record %d' % i]); print(i, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        taken = -1
        for line in child.stdout:
            taken = int(line)
            if taken >= 30:
                break
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split(b"\n")
        taken = max([taken, *(int(line) for line in rest[:-1])])
    spool = Spool(tmp_path)
    found = drained(spool)
    assert found[: taken + 1] == records(0, taken + 1)
    assert len(found) <= taken + 2  # the last may have been written and not yet said


def test_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    monkeypatch.setattr(spool_module, "_LOCK_WAIT_S", 0.02)
    with pytest.raises(StoreError, match="another worker uses this spool"):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the spool cannot be opened") as caught:
        Spool(tmp_path / "file" / "spool")
    assert "\n" not in str(caught.value)
