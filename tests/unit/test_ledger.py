import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.ledger import Fate, Ledger
from tests.fakes.core import ref


def test_each_frame_ends_once():
    ledger = Ledger()
    ledger.enter(ref(seq=0))
    with pytest.raises(ValueError, match="door:1:0 entered twice"):
        ledger.enter(ref(seq=0))
    ledger.end(ref(seq=0), Fate.EMITTED)
    with pytest.raises(ValueError, match="not in flight"):
        ledger.end(ref(seq=0), Fate.FAILED, "engine")
    with pytest.raises(ValueError, match="not in flight"):
        ledger.end(ref(seq=1), Fate.EMITTED)
    assert ledger.counts("door").as_dict() == {"in": 1, "in_flight": 0, "emitted": 1}


def test_epochs_are_apart_and_sum_up():
    ledger = Ledger()
    for epoch in (4, 5, 6):
        for seq in range(epoch):
            ledger.enter(ref(epoch=epoch, seq=seq))
            ledger.end(ref(epoch=epoch, seq=seq), Fate.DROPPED, "overflow")
    assert ledger.counts("door", 6).ended == {"dropped:overflow": 6}
    assert ledger.counts("door").entered == 15
    assert ledger.counts("door").balanced
    assert ledger.counts("nobody").as_dict() == {"in": 0, "in_flight": 0}


def test_a_frame_of_an_old_epoch_can_still_end():
    ledger = Ledger()
    ledger.enter(ref(epoch=1, seq=7))
    ledger.enter(ref(epoch=2, seq=0))
    ledger.end(ref(epoch=1, seq=7), Fate.DRAINED)
    ledger.end(ref(epoch=2, seq=0), Fate.EMITTED)
    ledger.enter(ref(epoch=3, seq=0))
    total = ledger.counts("door")
    assert total.ended == {"drained": 1, "emitted": 1} and total.in_flight == 1 and total.balanced


def test_forget_refuses_while_frames_are_in_flight():
    ledger = Ledger()
    ledger.enter(ref())
    with pytest.raises(ValueError, match="in flight"):
        ledger.forget("door")
    ledger.end(ref(), Fate.EMITTED)
    ledger.forget("door")
    assert ledger.streams() == []


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5), st.sampled_from(list(Fate)), st.booleans())))
def test_the_counts_always_balance(steps):
    ledger = Ledger()
    flying = set()
    for epoch, seq, fate, enter in steps:
        key = (epoch, seq)
        if enter and key not in flying:
            ledger.enter(ref(epoch=epoch, seq=seq))
            flying.add(key)
        elif not enter and key in flying:
            ledger.end(ref(epoch=epoch, seq=seq), fate)
            flying.remove(key)
        counts = ledger.counts("door")
        assert counts.balanced and counts.in_flight == len(flying)


def test_threads_do_not_lose_counts():
    ledger = Ledger()

    def work(stream):
        for seq in range(500):
            ledger.enter(ref(stream, seq=seq))
            ledger.end(ref(stream, seq=seq), Fate.EMITTED)

    threads = [threading.Thread(target=work, args=(f"s{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [ledger.counts(s).emitted for s in ledger.streams()] == [500] * 4
